package transcode

import (
	"slices"

	"github.com/zaf/g711"
)

// SampleRate is the rate of all samples here, in Hz.
const SampleRate = 8000

// Law is one of the two companding laws of ITU-T G.711.
type Law uint8

// The laws. MuLaw is RTP payload type 0 (PCMU), ALaw is 8 (PCMA).
const (
	MuLaw Law = iota
	ALaw
)

func (l Law) String() string {
	if l == ALaw {
		return "A-law"
	}
	return "µ-law"
}

// The tables are indexed by the code, or by the sample's 16 bits. They are
// generated once from the per-sample functions of zaf/g711; looking up is an
// order of magnitude cheaper than its slice functions and allocates nothing.
var (
	decodeTable  [2][256]int16
	encodeTable  [2][1 << 16]byte
	convertTable [2][256]byte // [from]: to the other law
)

func init() {
	for i := range 256 {
		code := byte(i)
		decodeTable[MuLaw][i] = g711.DecodeUlawFrame(code)
		decodeTable[ALaw][i] = g711.DecodeAlawFrame(code)
		convertTable[MuLaw][i] = g711.Ulaw2AlawFrame(code)
		convertTable[ALaw][i] = g711.Alaw2UlawFrame(code)
	}
	for i := range 1 << 16 {
		sample := int16(uint16(i))
		encodeTable[MuLaw][i] = g711.EncodeUlawFrame(sample)
		encodeTable[ALaw][i] = g711.EncodeAlawFrame(sample)
	}
}

// Silence is the code of a sample of value nought.
func (l Law) Silence() byte { return encodeTable[l&1][0] }

// Decode appends the samples of a payload to dst.
func (l Law) Decode(dst []int16, payload []byte) []int16 {
	table := &decodeTable[l&1]
	n := len(dst)
	dst = slices.Grow(dst, len(payload))[:n+len(payload)]
	for i, code := range payload {
		dst[n+i] = table[code]
	}
	return dst
}

// Encode appends the payload of samples to dst.
func (l Law) Encode(dst []byte, samples []int16) []byte {
	table := &encodeTable[l&1]
	n := len(dst)
	dst = slices.Grow(dst, len(samples))[:n+len(samples)]
	for i, s := range samples {
		dst[n+i] = table[uint16(s)]
	}
	return dst
}

// Convert appends a payload, translated from one law to the other, to dst. The
// result is the same as decoding and encoding again. Equal laws copy. A payload
// may be converted in place: Convert(p[:0], p, from, to).
func Convert(dst, payload []byte, from, to Law) []byte {
	if from&1 == to&1 {
		return append(dst, payload...)
	}
	table := &convertTable[from&1]
	n := len(dst)
	dst = slices.Grow(dst, len(payload))[:n+len(payload)]
	for i, code := range payload {
		dst[n+i] = table[code]
	}
	return dst
}
