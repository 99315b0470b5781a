package transcode

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// MaxNoiseOrder is how many reflection coefficients are used. RFC 3389 section
// 3.2 leaves the order to the sender, and lets the receiver shorten it.
const MaxNoiseOrder = 10

// maxNoisePayload bounds what ParseNoise reads: RFC 3389 has no limit of its
// own; no sender describes background noise with more than this.
const maxNoisePayload = 64

// ErrNoise is wrapped by errors of ParseNoise.
var ErrNoise = errors.New("not a comfort noise payload")

// NoiseParams is what a comfort noise packet says about the background.
type NoiseParams struct {
	Level      int                    // -dBov: 0 (overload) to 127 (silence)
	Order      int                    // coefficients in use
	Reflection [MaxNoiseOrder]float64 // each within (-1, 1)
}

// ParseNoise reads a payload of RFC 3389: one byte of level, then coefficients.
// Coefficients past MaxNoiseOrder are left out.
func ParseNoise(payload []byte) (NoiseParams, error) {
	if len(payload) == 0 {
		return NoiseParams{}, fmt.Errorf("%w: empty", ErrNoise)
	}
	if len(payload) > maxNoisePayload {
		return NoiseParams{}, fmt.Errorf("%w: %d bytes, at most %d", ErrNoise, len(payload), maxNoisePayload)
	}
	// Section 3.1: the most significant bit is unused and MUST be 0; some
	// senders set it, and nothing is gained by losing their noise.
	p := NoiseParams{Level: int(payload[0] & 0x7f)}
	p.Order = min(len(payload)-1, MaxNoiseOrder)
	for i, n := range payload[1 : 1+p.Order] {
		// Section 3.2: k = 258*(N-127)/32768 for N of 0..254. 255 would be
		// unstable.
		p.Reflection[i] = 258 * float64(int(min(n, 254))-127) / 32768
	}
	return p, nil
}

// Append appends the payload of p to dst.
func (p NoiseParams) Append(dst []byte) []byte {
	dst = append(dst, byte(min(max(p.Level, 0), 127)))
	for _, k := range p.Reflection[:min(max(p.Order, 0), MaxNoiseOrder)] {
		n := math.Round(k*32768/258) + 127
		dst = append(dst, byte(min(max(n, 0), 254)))
	}
	return dst
}

// Noise generates comfort noise for a peer that did not negotiate it: white
// noise through the all-pole lattice that the coefficients describe. The zero
// value is silence.
type Noise struct {
	gain  float64
	order int
	k     [MaxNoiseOrder]float64
	back  [MaxNoiseOrder + 1]float64 // lattice state
	seed  uint64
}

// NewNoise makes a generator. Two with the same seed sound the same.
func NewNoise(seed uint64) *Noise { return &Noise{seed: seed} }

// Set changes the noise to p. What is being generated runs on without a click.
func (g *Noise) Set(p NoiseParams) {
	g.order = min(max(p.Order, 0), MaxNoiseOrder)
	g.k = p.Reflection
	// An all-pole lattice amplifies power by 1/Π(1-k²); taking that back makes
	// the level of the output the one asked for, whatever the spectrum.
	power := 1.0
	for _, k := range g.k[:g.order] {
		power *= 1 - k*k
	}
	level := min(max(p.Level, 0), 127)
	g.gain = fullScale * math.Pow(10, -float64(level)/20) * math.Sqrt(max(power, 0))
	if level == 127 {
		g.gain = 0 // the least level there is means none
	}
}

// Append appends the next n samples to dst.
func (g *Noise) Append(dst []int16, n int) []int16 {
	dst = slices.Grow(dst, n)
	for range n {
		dst = append(dst, clip(g.filter(g.gain*g.white())))
	}
	return dst
}

// filter is the synthesis lattice: from the highest stage down, each stage takes
// its share of the delayed backward residual.
func (g *Noise) filter(x float64) float64 {
	for i := g.order - 1; i >= 0; i-- {
		x -= g.k[i] * g.back[i]
		g.back[i+1] = g.back[i] + g.k[i]*x
	}
	g.back[0] = x
	return x
}

// white is noise of power 1: the sum of three uniform values, near enough to
// Gaussian for the ear and without a table. The generator is SplitMix64.
func (g *Noise) white() float64 {
	g.seed += 0x9e3779b97f4a7c15
	z := g.seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	const unit = 1 << 21
	a, b, c := z&(unit-1), z>>21&(unit-1), z>>42&(unit-1)
	return 2 * (float64(a+b+c)/unit - 1.5) // three thirds of variance 1/12 each, doubled: 1
}

func clip(x float64) int16 {
	return int16(min(max(math.Round(x), math.MinInt16), math.MaxInt16))
}
