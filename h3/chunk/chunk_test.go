package chunk

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestExtensionsAreSkipped(t *testing.T) {
	c := audio()
	b := c.Append(nil)
	envelope, pkg, err := split(b)
	if err != nil {
		t.Fatal(err)
	}
	ext := unhex(t, grease(20))
	long := append([]byte{Version}, appendVarint(nil, uint64(len(envelope)+len(ext)))...)
	long = append(append(append(append(long, envelope...), ext...), pkg...), ext...)
	got, err := Parse(long)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, want %+v", got, c)
	}
}

// What belongs to the ends of a call is the same on every hop; what belongs to a
// hop, nobody vouches for.
func TestAuthenticatedIsTheEnds(t *testing.T) {
	end := with(func(c *Chunk) {
		c.PayloadType, c.Marker, c.Video = 144, true, layers(0)
		seal(c, 9)
	})
	want := end.AppendAuthenticated(nil)
	for name, f := range map[string]func(*Chunk){
		"truncation":  func(c *Chunk) { c.Seq.Len, c.Timestamp.Len, c.Clock.Len = 1, 2, 4 },
		"source":      func(c *Chunk) { c.Source = 77 },
		"sink":        func(c *Chunk) { c.Sink = 77 },
		"audio level": func(c *Chunk) { c.Video.Has |= 1 << TagAudioLevel; c.Video.AudioLevel = 5 },
	} {
		hop := *end
		f(&hop)
		if got := hop.AppendAuthenticated(nil); !bytes.Equal(got, want) {
			t.Errorf("%s changes the associated data:\n%x\n%x", name, got, want)
		}
	}
	for name, f := range map[string]func(*Chunk){
		"number":          func(c *Chunk) { c.Seq.Value++ },
		"timestamp":       func(c *Chunk) { c.Timestamp.Value++ },
		"payload type":    func(c *Chunk) { c.PayloadType++ },
		"clock":           func(c *Chunk) { c.Clock.Value++ },
		"no clock":        func(c *Chunk) { c.Clock = Number{} },
		"marker":          func(c *Chunk) { c.Marker = false },
		"key id":          func(c *Chunk) { c.KeyID++ },
		"reference frame": func(c *Chunk) { c.Video.ReferenceFrame++ },
		"spatial layer":   func(c *Chunk) { c.Video.SpatialLayer++ },
		"temporal layer":  func(c *Chunk) { c.Video.TemporalLayer++ },
		"no layer":        func(c *Chunk) { c.Video.Has = 0 },
	} {
		forged := *end
		f(&forged)
		if bytes.Equal(forged.AppendAuthenticated(nil), want) {
			t.Errorf("%s is not in the associated data", name)
		}
	}
}

func TestPackage(t *testing.T) {
	c := audio()
	pkg := c.AppendPackage(nil)
	if got, err := ParsePackage(append(pkg, 33, 1, 0)); err != nil || !bytes.Equal(got, c.Media) {
		t.Errorf("got %x, %v", got, err)
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "cut": pkg[:len(pkg)-1], "an acknowledgement": {byte(TagAck), 0}, "a body beside media": append(c.AppendPackage(nil), byte(TagBody), 0),
		"a source": {byte(TagSource), 1, 1}, "an unknown tag": append(c.AppendPackage(nil), 19, 0),
	} {
		if got, err := ParsePackage(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %x, %v", name, got, err)
		}
	}
}

func TestLimits(t *testing.T) {
	c := audio()
	c.Media = nil
	room := MaxChunk - c.Size() - 3 // the media's length takes 4 bytes instead of 1
	c.Media = make([]byte, room)
	if b := c.Append(nil); len(b) != MaxChunk {
		t.Fatalf("test is wrong: %d bytes", len(b))
	} else if _, err := Parse(b); err != nil {
		t.Errorf("%d bytes: %v", len(b), err)
	}
	c.Media = make([]byte, room+1)
	if _, err := Parse(c.Append(nil)); err == nil {
		t.Errorf("%d bytes were accepted", MaxChunk+1)
	}
}

func TestNear(t *testing.T) {
	for _, tc := range []struct {
		expected, sent uint64
		n              uint8
	}{
		{1, 1, 1}, {1, 0, 1}, {100, 228, 1}, {256, 255, 1}, {255, 256, 1}, {300, 173, 1}, {1000, 1100, 1},
		{0xa82f30ea + 1, 0xa82f9b32, 2}, // RFC 9000 appendix A.3
		{65535, 65536, 2}, {65536, 65535, 2}, {70000, 40000, 2}, {1 << 40, 1<<40 + 30000, 2},
		{1 << 32, 1<<32 - 1, 4}, {1600000000000, 1600002000000, 4},
		{MaxNumber, MaxNumber - 5, 1}, {7, 1 << 50, 8},
	} {
		n := FullNumber(tc.sent)
		if tc.n < Full {
			n = Truncated(tc.sent, tc.n)
		}
		if got := n.Near(tc.expected); got != tc.sent {
			t.Errorf("%#x in %d bytes near %#x = %#x, want %#x", n.Value, tc.n, tc.expected, got, tc.sent)
		}
	}
}

func TestAckLimits(t *testing.T) {
	ranges := func(n int) []Range {
		var out []Range
		for i := range n {
			out = append(out, Range{uint64(3 * (n - i)), uint64(3*(n-i) + 1)})
		}
		return out
	}
	a := Ack{Source: 1, Sink: 1, Ranges: ranges(MaxRanges)}
	b := a.Append(nil)
	if got, err := ParseAck(b, nil); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("got %+v, %v", got, err)
	}
	for n := range b {
		if _, err := ParseAck(b[:n], nil); err == nil {
			t.Errorf("the first %d bytes of %d were accepted", n, len(b))
		}
	}
	a.Ranges = ranges(MaxRanges + 1)
	if _, err := ParseAck(a.Append(nil), nil); err == nil {
		t.Errorf("%d ranges were accepted", MaxRanges+1)
	}
	for name, s := range map[string]string{
		"range below 0":     "00 01 01 05 00 00 06",
		"gap below 0":       "00 01 01 05 00 01 02 02 00",
		"bytes behind":      "00 01 01 05 00 00 02 00",
		"direction 2":       "02 01 01 05 00 00 02",
		"source 0":          "00 00 01 05 00 00 02",
		"sink 256":          "00 01 4100 05 00 00 02",
		"count over limit":  "00 01 01 05 00 20 02",
		"gap beyond varint": "00 01 01 05 00 01 02 ffffffffffffffff 00",
	} {
		if got, err := ParseAck(unhex(t, s), nil); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestBody(t *testing.T) {
	c := audio()
	body := c.AppendSized(c.AppendSized(nil))
	n := 0
	for rest := body; len(rest) > 0; n++ {
		one, r, err := Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(one); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("got %+v, %v", got, err)
		}
		rest = r
	}
	if n != 2 {
		t.Errorf("%d chunks", n)
	}
	for name, b := range map[string][]byte{"cut": body[:len(body)/2-1], "empty chunk": {0}, "cut length": {0x40}} {
		if got, _, err := Next(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %x, %v", name, got, err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	c := audio()
	c.Media = make([]byte, 160)
	ack := Ack{Source: 1, Sink: 1, Ranges: []Range{{5, 9}, {1, 2}}}
	wire, ackWire := c.Append(nil), ack.Append(nil)
	sealed := audio()
	seal(&sealed, 9)
	sealedWire := sealed.Append(nil)
	buf, ranges := make([]byte, 0, 2048), make([]Range, 0, MaxRanges)
	for name, f := range map[string]func(){
		"append":    func() { buf = c.AppendSized(buf[:0]) },
		"parse":     func() { _, _ = Parse(wire) },
		"rubbish":   func() { _, _ = Parse(wire[:9]) },
		"ack":       func() { buf = ack.Append(buf[:0]) },
		"parse ack": func() { _, _ = ParseAck(ackWire, ranges) },
		"sealed":    func() { _, _ = Parse(sealedWire); buf = sealed.AppendSized(buf[:0]) },
		"data":      func() { buf = sealed.AppendAuthenticated(buf[:0]) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	c := audio()
	c.Media = make([]byte, 160)
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		buf = c.Append(buf[:0])
	}
}

func BenchmarkParse(b *testing.B) {
	c := audio()
	c.Media = make([]byte, 160)
	wire := c.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(wire); err != nil {
			b.Fatal(err)
		}
	}
}
