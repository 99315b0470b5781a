package transcode

import (
	"math"
	"slices"
)

// Levels. A sine of 0 dBm0 has this peak: G.711's µ-law overloads at +3.17 dBm0
// with a peak of 32124 (A-law: +3.14 dBm0 with 32256, 0.07 dB apart).
const zeroDBm0Peak = 22301

// fullScale is the overload point of RFC 3389's dBov, as RMS: a square wave
// that touches both ends of the range.
const fullScale = 32768

// Tone is a sine generator. Its phase runs on from frame to frame, so that
// frames put end to end have no click.
type Tone struct {
	step, phase float64 // radians per sample
	peak        float64
}

// NewTone makes a generator of hz at a level in dBm0. Frequencies outside
// (0, 4000) Hz and levels above +3.17 dBm0 are brought to the nearest that the
// signal can carry.
func NewTone(hz, dBm0 float64) *Tone {
	hz = min(max(hz, 1), SampleRate/2-1)
	dBm0 = min(dBm0, 3.17)
	return &Tone{
		step: 2 * math.Pi * hz / SampleRate,
		peak: zeroDBm0Peak * math.Pow(10, dBm0/20),
	}
}

// Append appends the next n samples to dst.
func (t *Tone) Append(dst []int16, n int) []int16 {
	dst = slices.Grow(dst, n)
	for range n {
		dst = append(dst, int16(math.Round(t.peak*math.Sin(t.phase))))
		// Kept within one turn: the sine of a large argument loses precision.
		if t.phase += t.step; t.phase >= 2*math.Pi {
			t.phase -= 2 * math.Pi
		}
	}
	return dst
}

// LevelDBm0 measures samples: the power of a sine that is as strong.
// Digital silence gives -100.
func LevelDBm0(samples []int16) float64 {
	if len(samples) == 0 {
		return -100
	}
	var sum float64
	for _, s := range samples {
		sum += float64(s) * float64(s)
	}
	rms := math.Sqrt(sum / float64(len(samples)))
	return max(-100, 20*math.Log10(rms*math.Sqrt2/zeroDBm0Peak+1e-12))
}

// levelDBov measures samples as RFC 3389 section 3.1 does: 0 is overload, 127
// silence.
func levelDBov(samples []int16) int {
	overload := 20 * math.Log10(fullScale*math.Sqrt2/zeroDBm0Peak) // in dBm0
	return int(math.Round(min(max(overload-LevelDBm0(samples), 0), 127)))
}
