package bridgetest

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// FaultKind names what is wrong at a place of a recording.
type FaultKind string

const (
	Gap   FaultKind = "gap"   // the tone is missing
	Click FaultKind = "click" // the wave jumps
)

// Fault is one place of a recording that an ear would mind.
type Fault struct {
	Kind   FaultKind
	At     time.Duration // from the start of the recording
	Length time.Duration
}

func (f Fault) String() string {
	return fmt.Sprintf("%s of %v at %v", f.Kind, f.Length, f.At)
}

const (
	gapWindow = 200 // the n-th part of a second over which power is judged: 5 ms
	gapDrop   = 20  // dB below the recording's usual power
	clickRise = 0.2 // share of the tone's peak by which a sample may miss its place
)

// FindFaults finds gaps and clicks in the recording of a steady tone. Silence
// before the tone begins and after it ends is neither.
func FindFaults(samples []int16, rate int) []Fault {
	first, last := soundingPart(samples, rate)
	if first >= last {
		return nil
	}
	gaps := findGaps(samples, rate, first, last)
	return append(gaps, findClicks(samples, rate, first, last, gaps)...)
}

func powers(samples []int16, size int) []float64 {
	p := make([]float64, len(samples)/size)
	for i := range p {
		for _, s := range samples[i*size : (i+1)*size] {
			p[i] += float64(s) * float64(s) / float64(size)
		}
	}
	return p
}

// threshold is the power below which the tone counts as missing, taken from the
// loudest tenth: that is sound however little of the recording is.
func threshold(p []float64) float64 {
	sorted := slices.Sorted(slices.Values(p))
	return sorted[len(sorted)*9/10] / math.Pow(10, gapDrop/10)
}

// soundingPart is the range of samples from the first sound to the last.
func soundingPart(samples []int16, rate int) (first, last int) {
	size := rate / gapWindow
	p := powers(samples, size)
	if len(p) == 0 {
		return 0, 0
	}
	limit := threshold(p)
	if limit == 0 {
		return 0, 0
	}
	loud := func(x float64) bool { return x >= limit }
	from := slices.IndexFunc(p, loud)
	slices.Reverse(p)
	to := len(p) - slices.IndexFunc(p, loud)
	return from * size, to * size
}

func findGaps(samples []int16, rate, first, last int) []Fault {
	size := rate / gapWindow
	p := powers(samples[first:last], size)
	limit := threshold(p)
	var gaps []Fault
	for i := 0; i < len(p); i++ {
		from := i
		for i < len(p) && p[i] < limit {
			i++
		}
		if i > from {
			gaps = append(gaps, Fault{Gap, span(first+from*size, rate), span((i-from)*size, rate)})
		}
	}
	return gaps
}

// findClicks predicts each sample of a tone from the two before it; what misses
// the prediction by a fifth of the peak is a jump of the wave. One jump disturbs
// the three predictions around it, and counts once.
func findClicks(samples []int16, rate, first, last int, gaps []Fault) []Fault {
	tone := ToneLevel(samples[first:last], rate)
	factor := 2 * math.Cos(2*math.Pi*tone.Hz/float64(rate))
	p := powers(samples[first:last], rate/gapWindow)
	limit := clickRise * math.Sqrt(threshold(p)*math.Pow(10, gapDrop/10)*2)

	edge := rate / gapWindow // where tone and silence meet, that is no click
	var clicks []Fault
	quiet := first
	for i := first + edge; i < last-edge; i++ {
		miss := float64(samples[i]) - factor*float64(samples[i-1]) + float64(samples[i-2])
		if math.Abs(miss) <= limit || i < quiet || nearGap(gaps, span(i, rate)) {
			continue
		}
		clicks = append(clicks, Fault{Click, span(i, rate), span(1, rate)})
		quiet = i + edge
	}
	return clicks
}

func nearGap(gaps []Fault, at time.Duration) bool {
	const edge = time.Second / gapWindow
	return slices.ContainsFunc(gaps, func(g Fault) bool {
		return at >= g.At-edge && at <= g.At+g.Length+edge
	})
}

func span(samples, rate int) time.Duration {
	return time.Duration(samples) * time.Second / time.Duration(rate)
}
