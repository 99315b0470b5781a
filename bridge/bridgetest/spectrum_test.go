package bridgetest

import (
	"math"
	"math/rand/v2"
	"testing"

	"riptide/transcode"
)

func tone(hz float64, seconds float64) []int16 {
	return transcode.NewTone(hz, -10).Append(nil, int(seconds*8000))
}

func mix(a, b []int16, gain float64) []int16 {
	out := append([]int16(nil), a...)
	for i := range out {
		out[i] += int16(gain * float64(b[i%len(b)]))
	}
	return out
}

func noise(n int, peak float64) []int16 {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]int16, n)
	for i := range out {
		out[i] = int16((r.Float64()*2 - 1) * peak)
	}
	return out
}

func TestToneLevel(t *testing.T) {
	throughG711 := func(s []int16, law transcode.Law) []int16 { return law.Decode(nil, law.Encode(nil, s)) }
	for _, c := range []struct {
		name    string
		in      []int16
		hz      float64
		low, up float64 // of OverRest
	}{
		{"clean", tone(1000, 1), 1000, 60, 200},
		{"between bins", tone(603.1, 1), 603.1, 60, 200},
		{"µ-law", throughG711(tone(440, 1), transcode.MuLaw), 440, 30, 50},
		{"A-law", throughG711(tone(880, 1), transcode.ALaw), 880, 30, 50},
		{"two tones 20 dB apart", mix(tone(440, 1), tone(1500, 1), 0.1), 440, 19, 21},
		{"in noise", mix(tone(700, 1), noise(8000, 7000), 1), 700, 0, 20},
		{"silence around", append(append(make([]int16, 8000), throughG711(tone(520, 1), transcode.MuLaw)...), make([]int16, 8000)...), 520, 25, 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ToneLevel(c.in, 8000)
			if math.Abs(got.Hz-c.hz) > 2 || got.OverRest < c.low || got.OverRest > c.up {
				t.Errorf("got %v, want %v Hz with %v to %v dB", got, c.hz, c.low, c.up)
			}
		})
	}
}

func TestNothingHeard(t *testing.T) {
	for name, in := range map[string][]int16{
		"nothing": nil, "short": tone(440, 0.1), "silence": make([]int16, 8000), "noise": noise(8000, 5000),
	} {
		if got := ToneLevel(in, 8000); got.Is(got.Hz) {
			t.Errorf("%s: heard %v", name, got)
		}
	}
}

func TestToneAt(t *testing.T) {
	s := Analyse(mix(tone(440, 1), tone(1500, 1), 0.1), 8000)
	if weak, absent := s.At(1500), s.At(2500); weak.OverRest < -22 || absent.OverRest > weak.OverRest-20 {
		t.Errorf("weak %v, absent %v", weak, absent)
	}
}

func TestFindFaults(t *testing.T) {
	clean := tone(440, 2)
	jump := append(tone(440, 1), tone(440, 1.001)[8:]...) // 8 samples cut out: 0.44 of a turn
	hole := append([]int16(nil), clean...)
	clear(hole[8000:8160])
	for _, c := range []struct {
		name string
		in   []int16
		want []FaultKind
	}{
		{"clean", clean, nil},
		{"through G.711", transcode.ALaw.Decode(nil, transcode.ALaw.Encode(nil, clean)), nil},
		{"silence around", append(append(make([]int16, 4000), clean...), make([]int16, 4000)...), nil},
		{"silence only", make([]int16, 8000), nil},
		{"nothing", nil, nil},
		{"a frame lost", hole, []FaultKind{Gap}},
		{"a jump", jump, []FaultKind{Click}},
	} {
		got := FindFaults(c.in, 8000)
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
			continue
		}
		for i, f := range got {
			if f.Kind != c.want[i] || math.Abs(f.At.Seconds()-1) > 0.01 {
				t.Errorf("%s: %v, want a %s at 1 s", c.name, f, c.want[i])
			}
		}
	}
}
