package transcode

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// sound is a key with every property chosen.
func sound(key byte, ms int, shift, low, high float64) []int16 {
	for i := range len(keypad) {
		if keypad[i] == key {
			a, b := NewTone(rows[i/4]*shift, low), NewTone(columns[i%4]*shift, high)
			n := ms * SampleRate / 1000
			out := a.Append(nil, n)
			for j, s := range b.Append(nil, n) {
				out[j] += s
			}
			return out
		}
	}
	return nil
}

// hears runs samples through G.711, in packets of 20 ms, and writes what was
// heard.
func hears(law Law, samples []int16) string {
	var k Keys
	var out []byte
	for len(samples) > 0 {
		n := min(160, len(samples))
		if p, _ := k.Take(law.Decode(nil, law.Encode(nil, samples[:n]))); p != 0 {
			out = append(out, p)
		}
		samples = samples[n:]
	}
	return string(out)
}

func TestKeysAreHeardOnce(t *testing.T) {
	t.Parallel()
	pause := make([]int16, 50*8)
	for _, c := range []struct {
		name            string
		ms              int
		shift           float64
		low, high       float64
		noise, loudness float64
	}{
		{"as we make them", 100, 1, rowLevel, columnLevel, 0, 0},
		{"the shortest", 40, 1, -9, -7, 0, 0},
		{"seconds long", 2000, 1, -9, -7, 0, 0},
		{"faint", 60, 1, -27, -27, 0, 0},
		{"loud", 60, 1, -3, -3, 0, 0},
		{"frequencies 1.5 % high", 60, 1.015, -9, -9, 0, 0},
		{"frequencies 1.5 % low", 60, 0.985, -9, -9, 0, 0},
		{"column 7 dB stronger", 60, 1, -16, -9, 0, 0},
		{"row 3 dB stronger", 60, 1, -9, -12, 0, 0},
		{"a line with noise", 60, 1, -10, -10, -28, 0},
	} {
		for _, law := range []Law{MuLaw, ALaw} {
			t.Run(fmt.Sprintf("%s, %v", c.name, law), func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(1, 2))
				var line []int16
				for i := range len(keypad) {
					for range 2 {
						line = append(line, make([]int16, r.IntN(blockSize))...) // any alignment
						line = append(append(line, sound(keypad[i], c.ms, c.shift, c.low, c.high)...), pause...)
					}
				}
				if c.noise != 0 {
					peak := zeroDBm0Peak / math.Sqrt2 * math.Pow(10, c.noise/20)
					for i := range line {
						line[i] = clip(float64(line[i]) + r.NormFloat64()*peak)
					}
				}
				want := ""
				for i := range len(keypad) {
					want += keypad[i:i+1] + keypad[i:i+1]
				}
				if got := hears(law, line); got != want {
					t.Errorf("heard %q, want %q", got, want)
				}
			})
		}
	}
}

func TestOtherSoundsAreNoKeys(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	noise := make([]int16, 10*SampleRate)
	for i := range noise {
		noise[i] = clip(r.NormFloat64() * 4000)
	}
	// A voice: harmonics of a pitch that wanders, through formants that do too.
	voice := make([]int16, 60*SampleRate)
	var phase float64
	for i := range voice {
		at := float64(i) / SampleRate
		pitch := 140 + 60*math.Sin(at*2.1) + 25*math.Sin(at*13)
		phase += 2 * math.Pi * pitch / SampleRate
		first, second := 500+300*math.Sin(at*5), 1500+600*math.Sin(at*3.3)
		var x float64
		for h := 1.0; h*pitch < 3400; h++ {
			hz := h * pitch
			gain := math.Exp(-(hz-first)*(hz-first)/4e4) + 0.6*math.Exp(-(hz-second)*(hz-second)/6e4) + 0.05
			x += gain * math.Sin(h*phase)
		}
		voice[i] = clip(4000 * x)
	}
	for name, samples := range map[string][]int16{
		"silence":           make([]int16, SampleRate),
		"noise":             noise,
		"a voice":           voice,
		"one tone":          NewTone(770, -6).Append(nil, SampleRate),
		"dial tone":         NewTone(425, -6).Append(nil, SampleRate),
		"fax":               NewTone(1100, -6).Append(nil, SampleRate),
		"too faint":         sound('5', 500, 1, -45, -45),
		"too short":         append(sound('5', 12, 1, -9, -7), make([]int16, 800)...),
		"column too loud":   sound('5', 500, 1, -24, -9),
		"row too loud":      sound('5', 500, 1, -6, -16),
		"wrong frequencies": sound('5', 500, 1.045, -9, -9),
	} {
		if got := hears(MuLaw, samples); got != "" {
			t.Errorf("%s: heard %q", name, got)
		}
	}
}

func TestKeyAndBack(t *testing.T) {
	t.Parallel()
	for i := range len(keypad) {
		k, ok := NewKey(keypad[i])
		if !ok {
			t.Fatalf("no key %c", keypad[i])
		}
		var line []int16
		for range 5 {
			line = k.Append(line, 160)
		}
		if got := hears(ALaw, line); got != keypad[i:i+1] {
			t.Errorf("%c is heard as %q", keypad[i], got)
		}
	}
	if _, ok := NewKey('x'); ok {
		t.Error("x is a key")
	}
}

func BenchmarkKeys(b *testing.B) {
	samples := sound('5', 20, 1, -9, -7)
	var k Keys
	b.ReportAllocs()
	for b.Loop() {
		k.Take(samples)
	}
}
