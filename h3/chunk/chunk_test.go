package chunk

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the vectors anew")

const vectorsFile = "../../testdata/chunk/vectors.json"

// vector is one entry of the vectors file: a chunk, and what it holds.
type vector struct {
	Name  string `json:"name"`
	Hex   string `json:"hex"`
	Chunk *Chunk `json:"chunk,omitempty"`
	Ack   *Ack   `json:"ack,omitempty"`
	Error string `json:"error,omitempty"` // why it is to be rejected
}

func audio() Chunk {
	return Chunk{
		Seq: FullNumber(1), Timestamp: FullNumber(1600000000123), PayloadType: 0,
		Source: 1, Sink: 1, Clock: FullNumber(160), Media: []byte{0xff, 0x7f, 0x00},
	}
}

func with(f func(*Chunk)) *Chunk {
	c := audio()
	f(&c)
	return &c
}

func goodVectors() []vector {
	ack := Ack{Direction: ServerToClient, Source: 1, Sink: 1, Delay: 1500, Ranges: []Range{{10, 12}, {5, 8}, {3, 3}}}
	return []vector{
		{Name: "PCMU, all numbers full", Chunk: with(func(c *Chunk) {})},
		{Name: "PCMU, numbers truncated", Chunk: with(func(c *Chunk) {
			c.Seq, c.Timestamp, c.Clock = Truncated(0x12345, 2), Truncated(1600000000143, 2), Truncated(320, 4)
		})},
		{Name: "one-byte sequence number", Chunk: with(func(c *Chunk) { c.Seq = Truncated(0x1ff, 1) })},
		{Name: "greatest sequence number", Chunk: with(func(c *Chunk) { c.Seq = FullNumber(MaxNumber) })},
		{Name: "PCMA with marker, source 2 to sink 255", Chunk: with(func(c *Chunk) { c.PayloadType, c.Marker, c.Source, c.Sink = 8, true, 2, 255 })},
		{Name: "comfort noise", Chunk: with(func(c *Chunk) { c.PayloadType, c.Media = 13, []byte{0x3f} })},
		{Name: "telephone-event 5, end", Chunk: with(func(c *Chunk) { c.PayloadType, c.Media = 129, []byte{5, 0x8a, 0x03, 0x20} })},
		{Name: "keep-alive: empty media", Chunk: with(func(c *Chunk) { c.Media = []byte{} })},
		{Name: "no media clock", Chunk: with(func(c *Chunk) { c.Clock = Number{} })},
		{Name: "H264 with every optional field", Chunk: with(func(c *Chunk) {
			c.PayloadType, c.Media = 144, bytes.Repeat([]byte{7}, 100)
			c.Video = Video{1<<TagReferenceFrame | 1<<TagSpatialLayer | 1<<TagTemporalLayer | 1<<TagAudioLevel | 1<<TagKeyID, 16384, 1, 2, 127, 99}
		})},
		{Name: "acknowledgement of 3, 5 to 8 and 10 to 12", Chunk: &Chunk{Control: true, Ack: ack.Append(nil)}, Ack: &ack},
		{Name: "another control type", Chunk: &Chunk{Control: true, ControlType: 7}},
	}
}

// badVectors are made by hand: nothing of ours writes them.
func badVectors() []vector {
	const (
		head = "0101 01 " // seq 1, one byte
		ts   = "0201 01 " // timestamp
		pt   = "0301 00 "
		ss   = "0601 01 0701 01 "
		env  = head + ts + pt + ss // 15 bytes
		pkg  = "0401 ff"
	)
	return []vector{
		{Name: "nothing", Hex: "", Error: "ends within a field"},
		{Name: "version 2", Hex: "02 0f " + env + pkg, Error: "unknown version"},
		{Name: "envelope beyond the end", Hex: "01 20 " + env + pkg, Error: "ends within"},
		{Name: "envelope of 513 bytes", Hex: "01 4201 " + strings.Repeat("00", 600), Error: "envelope longer"},
		{Name: "tag twice", Hex: "01 12 " + head + head + ts + pt + ss + pkg, Error: "one twice"},
		{Name: "tags out of order", Hex: "01 0f " + ts + head + pt + ss + pkg, Error: "out of order"},
		{Name: "tag 0", Hex: "01 12 000100" + env + pkg, Error: "unknown core tag"},
		{Name: "reserved tag 16", Hex: "01 12 " + env + "100100" + pkg, Error: "unknown core tag"},
		{Name: "unknown core tag 31", Hex: "01 12 " + env + "1f0100" + pkg, Error: "unknown core tag"},
		{Name: "unknown core tag in the package", Hex: "01 0f " + env + pkg + "1f0100", Error: "unknown core tag"},
		{Name: "media in the envelope", Hex: "01 12 " + head + ts + pt + "0401ff" + ss + pkg, Error: "wrong part"},
		{Name: "source in the package", Hex: "01 0f " + env + pkg + "060101", Error: "wrong part"},
		{Name: "no sequence number", Hex: "01 0c " + ts + pt + ss + pkg, Error: "missing"},
		{Name: "no timestamp", Hex: "01 0c " + head + pt + ss + pkg, Error: "missing"},
		{Name: "no payload type", Hex: "01 0c " + head + ts + ss + pkg, Error: "missing"},
		{Name: "no source", Hex: "01 0c " + head + ts + pt + "070101" + pkg, Error: "missing"},
		{Name: "no media", Hex: "01 0f " + env, Error: "missing"},
		{Name: "sequence number of 3 bytes", Hex: "01 11 0103010101" + ts + pt + ss + pkg, Error: "wrong length"},
		{Name: "sequence number over 62 bits", Hex: "01 16 01084000000000000000" + ts + pt + ss + pkg, Error: "out of range"},
		{Name: "source 0", Hex: "01 0f " + head + ts + pt + "060100 070101" + pkg, Error: "out of range"},
		{Name: "source of 2 bytes", Hex: "01 10 " + head + ts + pt + "06020001 070101" + pkg, Error: "wrong length"},
		{Name: "marker 2", Hex: "01 12 " + env + "0f0102" + pkg, Error: "out of range"},
		{Name: "payload type longer than its varint", Hex: "01 10 " + head + ts + "03020000" + ss + pkg, Error: "wrong length"},
		{Name: "acknowledgement without a body", Hex: "01 03 050101 0c0100", Error: "missing"},
		{Name: "control with media", Hex: "01 03 050101 0401ff 0c0100 1100", Error: "missing"},
		{Name: "33 tags", Hex: "01 407e " + env + grease(28) + pkg, Error: "more tags"},
	}
}

// grease is n extension tags, as hex.
func grease(n int) string {
	var b []byte
	for i := range n {
		b = append(appendVarint(b, uint64(33+31*i)), 1, 0)
	}
	return hex.EncodeToString(b)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	var want []vector
	for _, v := range goodVectors() {
		v.Hex = hex.EncodeToString(v.Chunk.Append(nil))
		want = append(want, v)
	}
	for _, v := range badVectors() {
		v.Hex = hex.EncodeToString(unhex(t, v.Hex))
		want = append(want, v)
	}
	data, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(vectorsFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(stored), data) {
		t.Error("what this code writes is not what the vectors say; if the format was meant to change, run with -update")
	}
	var vectors []vector
	if err := json.Unmarshal(stored, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
}

func (v vector) check(t *testing.T) {
	b := unhex(t, v.Hex)
	got, err := Parse(b)
	if v.Error != "" {
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), v.Error) {
			t.Fatalf("got %+v, %v; want an error with %q", got, err, v.Error)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, *v.Chunk) {
		t.Errorf("got %+v, want %+v", got, *v.Chunk)
	}
	if n := got.Size(); n != len(b) {
		t.Errorf("Size() = %d, want %d", n, len(b))
	}
	if again := got.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("written again: %x", again)
	}
	if v.Ack != nil {
		if ack, err := ParseAck(got.Ack, nil); err != nil || !reflect.DeepEqual(ack, *v.Ack) {
			t.Errorf("acknowledgement %+v, %v", ack, err)
		}
	}
	for n := range b {
		if got, err := Parse(b[:n]); err == nil && !(got.Control && got.ControlType != ControlAck) {
			t.Errorf("the first %d bytes of %d were accepted", n, len(b))
		}
	}
}

func TestExtensionsAreSkipped(t *testing.T) {
	c := audio()
	b := c.Append(nil)
	envelope, _, pkg, err := Split(b, 0)
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

func TestSplitKnowsTheAuthTag(t *testing.T) {
	c := audio()
	b := c.Append(nil)
	envelope, _, pkg, _ := Split(b, 0)
	sealed := append([]byte{Version, byte(len(envelope))}, envelope...)
	sealed = append(append(sealed, "0123456789abcdef"...), pkg...)
	e, auth, p, err := Split(sealed, 16)
	if err != nil || !bytes.Equal(e, envelope) || string(auth) != "0123456789abcdef" || !bytes.Equal(p, pkg) {
		t.Errorf("got %x, %q, %x, %v", e, auth, p, err)
	}
	if _, _, _, err := Split(sealed[:2+len(envelope)+15], 16); err == nil {
		t.Error("a cut auth tag was accepted")
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
	buf, ranges := make([]byte, 0, 2048), make([]Range, 0, MaxRanges)
	for name, f := range map[string]func(){
		"append":    func() { buf = c.AppendSized(buf[:0]) },
		"parse":     func() { _, _ = Parse(wire) },
		"rubbish":   func() { _, _ = Parse(wire[:9]) },
		"ack":       func() { buf = ack.Append(buf[:0]) },
		"parse ack": func() { _, _ = ParseAck(ackWire, ranges) },
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

func FuzzParse(f *testing.F) {
	for _, v := range goodVectors() {
		f.Add(v.Chunk.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		wire := c.Append(nil)
		if len(wire) != c.Size() {
			t.Fatalf("%d bytes, Size says %d", len(wire), c.Size())
		}
		if c.Control && c.ControlType == ControlAck {
			_, _ = ParseAck(c.Ack, nil)
		}
		again, err := Parse(wire)
		if err != nil {
			t.Fatalf("%x written as %x: %v", b, wire, err)
		}
		if !bytes.Equal(again.Append(nil), wire) {
			t.Fatalf("%x came back as %+v", b, again)
		}
	})
}

func FuzzParseAck(f *testing.F) {
	f.Add((&Ack{Source: 1, Sink: 1, Delay: 77, Ranges: []Range{{5, 9}, {1, 2}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAck(b, nil)
		if err != nil {
			return
		}
		again, err := ParseAck(a.Append(nil), nil)
		if err != nil || !reflect.DeepEqual(a, again) {
			t.Fatalf("%+v came back as %+v, %v", a, again, err)
		}
	})
}

func FuzzBody(f *testing.F) {
	c := audio()
	f.Add(c.AppendSized(c.AppendSized(nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			one, rest, err := Next(b)
			if err != nil {
				return
			}
			if len(one) == 0 || len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			_, _ = Parse(one)
			b = rest
		}
	})
}
