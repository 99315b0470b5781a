package transcode

import (
	"errors"
	"math"
	"testing"
)

func TestToneLevelAndFrequency(t *testing.T) {
	for _, c := range []struct{ hz, level float64 }{{440, -10}, {1000, 0}, {1004, -16}, {3400, 3}, {50, -30}} {
		s := NewTone(c.hz, c.level).Append(nil, SampleRate)
		if got := LevelDBm0(s); math.Abs(got-c.level) > 0.1 {
			t.Errorf("%v Hz at %v dBm0: level %.2f", c.hz, c.level, got)
		}
		rises := 0
		for i := 1; i < len(s); i++ {
			if s[i-1] < 0 && s[i] >= 0 {
				rises++
			}
		}
		if math.Abs(float64(rises)-c.hz) > 1 {
			t.Errorf("%v Hz: crosses nought upwards %d times in a second", c.hz, rises)
		}
	}
}

func TestTonePhaseRunsOn(t *testing.T) {
	whole := NewTone(697, -10).Append(nil, 16000)
	framed := NewTone(697, -10)
	var got []int16
	for len(got) < len(whole) {
		got = framed.Append(got, 160)
	}
	for i := range whole {
		if got[i] != whole[i] {
			t.Fatalf("sample %d: %d in frames, %d at once", i, got[i], whole[i])
		}
	}
}

func TestToneLimits(t *testing.T) {
	for _, hz := range []float64{-5, 0, 4000, 1e9, math.Inf(1)} {
		for _, s := range NewTone(hz, 40).Append(nil, 200) {
			if s == math.MinInt16 {
				t.Fatalf("%v Hz overflows", hz)
			}
		}
	}
}

func TestLevelOfSilence(t *testing.T) {
	if got := LevelDBm0(make([]int16, 100)); got != -100 {
		t.Errorf("silence: %v", got)
	}
	if got := LevelDBm0(nil); got != -100 {
		t.Errorf("nothing: %v", got)
	}
}

func rms(s []int16) float64 {
	var sum float64
	for _, v := range s {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(s)))
}

func TestNoiseLevel(t *testing.T) {
	shapes := map[string]NoiseParams{
		"white":  {},
		"hiss":   {Order: 1, Reflection: [MaxNoiseOrder]float64{0.6}},
		"rumble": {Order: 3, Reflection: [MaxNoiseOrder]float64{-0.8, 0.3, 0.1}},
	}
	for name, p := range shapes {
		for _, level := range []int{30, 45, 60} {
			p.Level = level
			g := NewNoise(7)
			g.Set(p)
			got := -20 * math.Log10(rms(g.Append(nil, 4*SampleRate))/fullScale)
			if math.Abs(got-float64(level)) > 1 {
				t.Errorf("%s at -%d dBov: measured -%.1f", name, level, got)
			}
		}
	}
}

// One coefficient of k makes neighbours correlate by -k.
func TestNoiseSpectrum(t *testing.T) {
	for _, k := range []float64{-0.7, 0, 0.5} {
		g := NewNoise(3)
		g.Set(NoiseParams{Level: 30, Order: 1, Reflection: [MaxNoiseOrder]float64{k}})
		s := g.Append(nil, 4*SampleRate)
		var num, den float64
		for i := 1; i < len(s); i++ {
			num += float64(s[i]) * float64(s[i-1])
			den += float64(s[i]) * float64(s[i])
		}
		if got := num / den; math.Abs(got+k) > 0.05 {
			t.Errorf("k=%v: neighbours correlate by %.3f, want %v", k, got, -k)
		}
	}
}

func TestNoiseSilence(t *testing.T) {
	var zero Noise
	g := NewNoise(1)
	g.Set(NoiseParams{Level: 127})
	for i, s := range append(zero.Append(nil, 200), g.Append(nil, 200)...) {
		if s != 0 {
			t.Fatalf("sample %d is %d", i, s)
		}
	}
}

func TestParseNoise(t *testing.T) {
	long := make([]byte, maxNoisePayload)
	for _, c := range []struct {
		name    string
		in      []byte
		level   int
		order   int
		wantErr bool
	}{
		{"empty", nil, 0, 0, true},
		{"level only", []byte{64}, 64, 0, false},
		{"reserved bit", []byte{0x80 | 40}, 40, 0, false},
		{"order 10", make([]byte, 11), 0, 10, false},
		{"order 11 is shortened", make([]byte, 12), 0, 10, false},
		{"at the limit", long, 0, 10, false},
		{"past the limit", append(long, 0), 0, 0, true},
	} {
		p, err := ParseNoise(c.in)
		if (err != nil) != c.wantErr || err != nil && !errors.Is(err, ErrNoise) {
			t.Errorf("%s: error %v", c.name, err)
		}
		if p.Level != c.level || p.Order != c.order {
			t.Errorf("%s: level %d order %d", c.name, p.Level, p.Order)
		}
	}
}

func FuzzParseNoise(f *testing.F) {
	f.Add([]byte{64})
	f.Add([]byte{30, 0, 255, 127, 254, 1})
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := ParseNoise(in)
		if err != nil {
			return
		}
		for _, k := range p.Reflection {
			if k <= -1 || k >= 1 {
				t.Fatalf("unstable coefficient %v", k)
			}
		}
		again, err := ParseNoise(p.Append(nil))
		if err != nil || again != p {
			t.Fatalf("%+v becomes %+v, %v", p, again, err)
		}
		g := NewNoise(1)
		g.Set(p)
		g.Append(nil, 64)
		for _, b := range g.back {
			if math.IsNaN(b) || math.IsInf(b, 0) {
				t.Fatalf("%+v blows up", p)
			}
		}
	})
}
