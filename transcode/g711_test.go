package transcode

import (
	"math"
	"testing"
)

// muLawValue and aLawValue are the decoders of G.711 as formulas.
func muLawValue(code byte) int {
	code = ^code
	v := (int(code&0x0f)<<3 + 0x84) << (code >> 4 & 7)
	v -= 0x84
	if code&0x80 != 0 {
		return -v
	}
	return v
}

func aLawValue(code byte) int {
	code ^= 0x55
	v := int(code&0x0f)<<4 + 8
	if seg := int(code >> 4 & 7); seg > 0 {
		v = (v + 0x100) << (seg - 1)
	}
	if code&0x80 != 0 {
		return v
	}
	return -v
}

var reference = map[Law]func(byte) int{MuLaw: muLawValue, ALaw: aLawValue}

func TestDecodeEqualsFormula(t *testing.T) {
	for law, value := range reference {
		for i := range 256 {
			got := law.Decode(nil, []byte{byte(i)})
			if len(got) != 1 || int(got[0]) != value(byte(i)) {
				t.Errorf("%v code %#02x: got %v, want %d", law, i, got, value(byte(i)))
			}
		}
	}
}

// An encoder may round at the decision thresholds as it likes; what it may not
// do is miss by more than the width of the step.
func TestEncodeWithinOneStep(t *testing.T) {
	for law, value := range reference {
		worse := 0
		for s := math.MinInt16; s <= math.MaxInt16; s++ {
			code := law.Encode(nil, []int16{int16(s)})[0]
			miss, least := abs(value(code)-s), math.MaxInt
			for c := range 256 {
				least = min(least, abs(value(byte(c))-s))
			}
			if miss > least {
				worse++
			}
			step := 4 + abs(s)/16 // the steps of a segment are 1/16 to 1/32 of its values
			if miss > least+step {
				t.Fatalf("%v of %d: decodes %d away, the nearest code is %d away", law, s, miss, least)
			}
		}
		if worse > 1<<16/20 {
			t.Errorf("%v: %d of 65536 samples do not take the nearest code", law, worse)
		}
	}
}

func abs(x int) int {
	if x < 0 {
		return -x
	}
	return x
}

func TestEncodeDecodeIsStable(t *testing.T) {
	for _, law := range []Law{MuLaw, ALaw} {
		for i := range 256 {
			s := law.Decode(nil, []byte{byte(i)})
			again := law.Decode(nil, law.Encode(nil, s))
			if again[0] != s[0] {
				t.Errorf("%v code %#02x: %d becomes %d", law, i, s[0], again[0])
			}
		}
	}
}

func TestConvertEqualsDecodeEncode(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, laws := range [][2]Law{{MuLaw, ALaw}, {ALaw, MuLaw}} {
		from, to := laws[0], laws[1]
		want := to.Encode(nil, from.Decode(nil, all))
		got := Convert([]byte{1, 2}, all, from, to)
		if string(got[:2]) != "\x01\x02" || string(got[2:]) != string(want) {
			t.Errorf("%v to %v: differs from decode and encode", from, to)
		}
		inPlace := append([]byte(nil), all...)
		if got := Convert(inPlace[:0], inPlace, from, to); string(got) != string(want) {
			t.Errorf("%v to %v in place: differs", from, to)
		}
		if got := Convert(nil, all, from, from); string(got) != string(all) {
			t.Errorf("%v to itself changes the payload", from)
		}
	}
}

func TestSilence(t *testing.T) {
	for _, law := range []Law{MuLaw, ALaw} {
		if s := law.Decode(nil, []byte{law.Silence()})[0]; abs(int(s)) > 8 {
			t.Errorf("%v silence decodes to %d", law, s)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	payload := make([]byte, 160)
	samples := make([]int16, 160)
	tone, noise := NewTone(1000, -10), NewNoise(1)
	noise.Set(NoiseParams{Level: 50, Order: 2, Reflection: [MaxNoiseOrder]float64{0.3, -0.2}})
	for name, f := range map[string]func(){
		"decode":  func() { samples = MuLaw.Decode(samples[:0], payload) },
		"encode":  func() { payload = ALaw.Encode(payload[:0], samples) },
		"convert": func() { payload = Convert(payload[:0], payload, MuLaw, ALaw) },
		"tone":    func() { samples = tone.Append(samples[:0], 160) },
		"noise":   func() { samples = noise.Append(samples[:0], 160) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations per frame, want 0", name, n)
		}
	}
}

func BenchmarkConvert(b *testing.B) {
	p := make([]byte, 160)
	b.ReportAllocs()
	b.SetBytes(160)
	for b.Loop() {
		p = Convert(p[:0], p, MuLaw, ALaw)
	}
}
