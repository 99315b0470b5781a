package transcode

import (
	"math"
	"testing"

	"github.com/thesyncim/gopus"
)

func opusPair(tb testing.TB) (Encoder, Decoder) {
	tb.Helper()
	e, err := NewOpusEncoder(0)
	if err != nil {
		tb.Fatal(err)
	}
	d, err := NewOpusDecoder()
	if err != nil {
		tb.Fatal(err)
	}
	return e, d
}

// level is the part of samples that a tone of hz has, in dB under the whole.
func toneShare(s []int16, hz float64) float64 {
	var sin, cos, all float64
	for i, v := range s {
		w := 2 * math.Pi * hz * float64(i) / SampleRate
		sin += float64(v) * math.Sin(w)
		cos += float64(v) * math.Cos(w)
		all += float64(v) * float64(v)
	}
	return 10 * math.Log10(2*(sin*sin+cos*cos)/float64(len(s))/(all+1))
}

func TestOpusCarriesATone(t *testing.T) {
	for _, size := range []int{80, 160, 320, 480} {
		enc, dec := opusPair(t)
		tone := NewTone(440, -10)
		var heard []int16
		for range 2 * SampleRate / size {
			payload, err := enc.Encode(nil, tone.Append(nil, size))
			if err != nil {
				t.Fatal(err)
			}
			if heard, err = dec.Decode(heard, payload); err != nil {
				t.Fatal(err)
			}
		}
		if want := 2 * SampleRate / size * size; len(heard) != want {
			t.Fatalf("%d samples at a time: %d came out, want %d", size, len(heard), want)
		}
		heard = heard[SampleRate:]
		if share, level := toneShare(heard, 440), LevelDBm0(heard); share < -1 || math.Abs(level+10) > 1.5 {
			t.Errorf("%d samples at a time: the tone is %.1f dB of it, at %.1f dBm0", size, share, level)
		}
	}
}

// voice is something that a codec takes for speech: harmonics of a pitch, louder
// and softer.
type voice struct{ phase float64 }

func (v *voice) Append(dst []int16, n int) []int16 {
	for range n {
		v.phase += 2 * math.Pi * 120 / SampleRate
		sum := 0.0
		for h := 1.0; h < 12; h++ {
			sum += math.Sin(v.phase*h) / h * 2500
		}
		dst = append(dst, int16(sum*(0.6+0.4*math.Sin(v.phase/40))))
	}
	return dst
}

// What was lost is continued, not silent, and is heard from the copy in the
// packet behind it where there is one.
func TestOpusConceals(t *testing.T) {
	enc, dec := opusPair(t)
	var v voice
	var packets [][]byte
	for range 60 {
		p, err := enc.Encode(nil, v.Append(nil, 160))
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, p)
	}
	copied := 0
	for i := 10; i < len(packets)-3; i++ {
		if gopus.PacketHasLBRR(packets[i+3]) {
			copied = i
		}
	}
	if copied == 0 {
		t.Fatal("no packet has a copy of the one before it")
	}
	var err error
	var heard []int16
	for _, p := range packets[:copied+1] {
		if heard, err = dec.Decode(heard[:0], p); err != nil {
			t.Fatal(err)
		}
	}
	gap := dec.Conceal(nil, 320, packets[copied+3])
	if len(gap) != 320 || LevelDBm0(gap[:160]) < LevelDBm0(heard)-6 || LevelDBm0(gap[160:]) < LevelDBm0(heard)-6 {
		t.Errorf("%d samples at %.1f and %.1f dBm0, the last packet before had %.1f", len(gap), LevelDBm0(gap[:160]), LevelDBm0(gap[160:]), LevelDBm0(heard))
	}
	if got := dec.Conceal(nil, 7, []byte{0}); len(got) != 7 {
		t.Errorf("odd gap: %d samples", len(got))
	}
	fresh, err := NewOpusDecoder()
	if err != nil {
		t.Fatal(err)
	}
	if got := fresh.Conceal(nil, 160, packets[0]); len(got) != 160 || LevelDBm0(got) != -100 {
		t.Errorf("a gap before anything was heard: %d samples at %.1f dBm0", len(got), LevelDBm0(got))
	}
}

func TestOpusRefuses(t *testing.T) {
	enc, dec := opusPair(t)
	for _, size := range []int{0, 1, 100, 161, 2000} {
		if p, err := enc.Encode([]byte{7}, make([]int16, size)); err == nil || len(p) != 1 {
			t.Errorf("%d samples encoded: %v", size, err)
		}
	}
	for _, p := range [][]byte{nil, {0xff}, make([]byte, 1401)} {
		if s, err := dec.Decode([]int16{7}, p); err == nil || len(s) != 1 {
			t.Errorf("%d bytes decoded: %v", len(p), err)
		}
	}
}

func TestConcealG711(t *testing.T) {
	d := ALaw.NewDecoder()
	if got := d.Conceal(nil, 80, nil); LevelDBm0(got) != -100 {
		t.Errorf("before anything: %.1f dBm0", LevelDBm0(got))
	}
	e := ALaw.NewEncoder()
	payload, err := e.Encode(nil, NewTone(400, -10).Append(nil, 160))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(nil, payload); err != nil {
		t.Fatal(err)
	}
	got := d.Conceal(nil, 960, nil)
	if len(got) != 960 || LevelDBm0(got[:80]) < -13 || LevelDBm0(got[480:]) != -100 {
		t.Errorf("%d samples, first %.1f, last %.1f dBm0", len(got), LevelDBm0(got[:80]), LevelDBm0(got[480:]))
	}
}

// FuzzOpus: no packet panics the decoder or makes it say more than 120 ms, and
// what comes after it is heard.
func FuzzOpus(f *testing.F) {
	enc, err := NewOpusEncoder(0)
	if err != nil {
		f.Fatal(err)
	}
	good, err := enc.Encode(nil, NewTone(300, -10).Append(nil, 160))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0x0b, 0xe8})
	f.Add([]byte{0xff, 0xff, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		dec, err := NewOpusDecoder()
		if err != nil {
			t.Fatal(err)
		}
		s, _ := dec.Decode(nil, b)
		s = dec.Conceal(s, 160, b)
		if len(s) > maxOpusSamples+160 || len(s) < 160 {
			t.Fatalf("%d samples", len(s))
		}
		if s, err = dec.Decode(nil, good); err != nil || len(s) != 160 {
			t.Fatalf("after it: %d samples, %v", len(s), err)
		}
	})
}

// The decoder allocates nothing; the encoder once, inside the codec, for the copy
// that it puts into the next packet.
func TestOpusAllocations(t *testing.T) {
	enc, dec := opusPair(t)
	samples := NewTone(440, -10).Append(nil, 160)
	payload, out := make([]byte, 0, 1500), make([]int16, 0, 2000)
	var err error
	for range 10 {
		if payload, err = enc.Encode(payload[:0], samples); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		limit float64
		f     func()
	}{
		"encode": {1, func() { payload, _ = enc.Encode(payload[:0], samples) }},
		"decode": {0, func() { out, _ = dec.Decode(out[:0], payload) }},
	} {
		if n := testing.AllocsPerRun(100, c.f); n > c.limit {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkOpusEncode(b *testing.B) {
	enc, _ := opusPair(b)
	samples, payload := NewTone(440, -10).Append(nil, 160), make([]byte, 0, 1500)
	b.ReportAllocs()
	for b.Loop() {
		payload, _ = enc.Encode(payload[:0], samples)
	}
}

func BenchmarkOpusDecode(b *testing.B) {
	enc, dec := opusPair(b)
	payload, err := enc.Encode(nil, NewTone(440, -10).Append(nil, 160))
	if err != nil {
		b.Fatal(err)
	}
	out := make([]int16, 0, 2000)
	b.ReportAllocs()
	for b.Loop() {
		out, _ = dec.Decode(out[:0], payload)
	}
}
