package bridgetest

import (
	"fmt"
	"math"
	"math/cmplx"

	"riptide/transcode"
)

// Tone is one frequency in a recording.
type Tone struct {
	Hz       float64
	OverRest float64 // dB by which it stands over everything else together
	Level    float64 // dBm0 of the whole recording
}

func (t Tone) String() string {
	return fmt.Sprintf("%.1f Hz, %.1f dB over the rest, %.1f dBm0", t.Hz, t.OverRest, t.Level)
}

// Pure is by how many dB a tone must stand over the rest to count as heard: what
// G.711 leaves of a tone is about 37 dB over its own quantising noise.
const Pure = 25

// Is tells whether t is the tone of hz, purely.
func (t Tone) Is(hz float64) bool {
	return math.Abs(t.Hz-hz) <= max(10, hz/50) && t.OverRest > Pure
}

// Spectrum is the power of a recording by frequency, averaged over all of it, so
// that neither silence around a tone nor a gap in it hides the tone.
type Spectrum struct {
	power []float64 // by bin, up to half the rate
	width float64   // Hz per bin
	level float64
}

const (
	block = 1024 // samples per transform: 128 ms at 8000 Hz
	lobe  = 4    // bins on each side of a peak that the window smears it over
)

// Analyse transforms a recording of the given rate in Hz. One that is shorter
// than 1024 samples gives an empty spectrum, in which nothing is heard.
func Analyse(samples []int16, rate int) Spectrum {
	s := Spectrum{
		power: make([]float64, block/2),
		width: float64(rate) / block,
		level: transcode.LevelDBm0(samples),
	}
	buf := make([]complex128, block)
	for at := 0; at+block <= len(samples); at += block / 2 {
		for i := range buf {
			buf[i] = complex(float64(samples[at+i])*window(i), 0)
		}
		fft(buf)
		for i := range s.power {
			m := cmplx.Abs(buf[i])
			s.power[i] += m * m
		}
	}
	return s
}

// ToneLevel is the strongest tone of a recording.
func ToneLevel(samples []int16, rate int) Tone { return Analyse(samples, rate).Dominant() }

// Dominant is the strongest tone. Without any signal its OverRest is -Inf.
func (s Spectrum) Dominant() Tone {
	peak := lobe + 1 // what is below is the window's image of a direct current
	for i := peak; i < len(s.power); i++ {
		if s.power[i] > s.power[peak] {
			peak = i
		}
	}
	return Tone{Hz: s.interpolate(peak), OverRest: s.overRest(peak), Level: s.level}
}

// At is the tone of hz, strong or not.
func (s Spectrum) At(hz float64) Tone {
	bin := int(math.Round(hz / s.width))
	bin = min(max(bin, lobe+1), len(s.power)-1)
	return Tone{Hz: hz, OverRest: s.overRest(bin), Level: s.level}
}

func (s Spectrum) overRest(peak int) float64 {
	var tone, rest float64
	for i := lobe + 1; i < len(s.power); i++ {
		if i >= peak-lobe && i <= peak+lobe {
			tone += s.power[i]
		} else {
			rest += s.power[i]
		}
	}
	if tone == 0 {
		return math.Inf(-1)
	}
	return 10 * math.Log10(tone/max(rest, tone*1e-12))
}

// interpolate finds the peak between bins by a parabola through the logarithms.
func (s Spectrum) interpolate(peak int) float64 {
	if peak+1 >= len(s.power) || s.power[peak-1] == 0 || s.power[peak+1] == 0 {
		return float64(peak) * s.width
	}
	a, b, c := math.Log(s.power[peak-1]), math.Log(s.power[peak]), math.Log(s.power[peak+1])
	if curve := a - 2*b + c; curve != 0 {
		return (float64(peak) + (a-c)/(2*curve)) * s.width
	}
	return float64(peak) * s.width
}

// window is the four-term Blackman-Harris window: its side lobes are 92 dB down,
// below anything 16 bit samples can hold.
func window(i int) float64 {
	x := 2 * math.Pi * float64(i) / block
	return 0.35875 - 0.48829*math.Cos(x) + 0.14128*math.Cos(2*x) - 0.01168*math.Cos(3*x)
}

// fft transforms x, whose length is a power of two, in place.
func fft(x []complex128) {
	n := len(x)
	for i, j := 1, 0; i < n; i++ {
		bit := n >> 1
		for ; j&bit != 0; bit >>= 1 {
			j ^= bit
		}
		j ^= bit
		if i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	for size := 2; size <= n; size *= 2 {
		turn := cmplx.Rect(1, -2*math.Pi/float64(size))
		for at := 0; at < n; at += size {
			w := complex(1, 0)
			for i := at; i < at+size/2; i++ {
				even, odd := x[i], x[i+size/2]*w
				x[i], x[i+size/2] = even+odd, even-odd
				w *= turn
			}
		}
	}
}
