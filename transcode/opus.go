package transcode

import (
	"fmt"
	"math"
	"slices"

	"github.com/thesyncim/gopus"
)

// Opus runs at the rate of all samples here: its decoder takes packets of any
// bandwidth and number of channels and gives out what a telephone can play, its
// encoder makes narrowband. So there is no resampler. (The RTP clock of Opus is
// 48 kHz nevertheless: RFC 7587 section 4.1.)

// Settings of the encoder. Complexity 5 is what one core can do for a hundred
// calls; a little more than the 16 kbit/s that narrowband speech needs makes room
// for the copies of lost packets (RFC 6716 section 2.1.7).
const (
	opusComplexity = 5
	opusBitRate    = 20_000
	opusLeastRate  = 6_000 // of what RFC 6716 section 2.1.1 knows
	opusLoss       = 5     // percent, expected
)

// Limits of one packet.
const (
	maxOpusSamples = 120 * SampleRate / 1000 // RFC 6716 section 2.1.4
	maxOpusPayload = 1400                    // of a packet we send or take
	opusStep       = SampleRate / 400        // 2.5 ms: what concealment comes in
)

type opusDecoder struct {
	d     *gopus.Decoder
	heard bool
	float [maxOpusSamples]float32
}

// NewOpusDecoder makes a decoder of RFC 6716.
func NewOpusDecoder() (Decoder, error) {
	d, err := gopus.NewDecoder(gopus.DecoderConfig{
		SampleRate: SampleRate, Channels: 1, MaxPacketSamples: maxOpusSamples, MaxPacketBytes: maxOpusPayload,
	})
	if err != nil {
		return nil, fmt.Errorf("open Opus decoder: %w", err)
	}
	return &opusDecoder{d: d}, nil
}

func (o *opusDecoder) Decode(dst []int16, payload []byte) ([]int16, error) {
	if len(payload) == 0 {
		return dst, fmt.Errorf("decode Opus: empty packet")
	}
	n := len(dst)
	dst = slices.Grow(dst, maxOpusSamples)
	got, err := o.d.DecodeInt16(payload, dst[n:n+maxOpusSamples])
	if err != nil {
		return dst[:n], fmt.Errorf("decode Opus packet of %d bytes: %w", len(payload), err)
	}
	o.heard = true
	return dst[:n+got], nil
}

// Conceal lets the codec continue what was heard; the last piece comes from the
// copy in next, if there is one.
func (o *opusDecoder) Conceal(dst []int16, n int, next []byte) []int16 {
	copied := 0
	if len(next) > 0 && o.heard {
		copied = min(n, gopus.ParseTOC(next[0]).FrameSize*SampleRate/48000)
	}
	for n > copied {
		piece := min(n-copied, SampleRate/50)
		dst = o.lose(dst, piece, nil)
		n -= piece
	}
	if copied > 0 {
		dst = o.lose(dst, copied, next)
	}
	return dst
}

// lose appends n samples for a lost packet.
func (o *opusDecoder) lose(dst []int16, n int, next []byte) []int16 {
	got := 0
	if n%opusStep == 0 && o.heard {
		var err error
		if got, err = o.d.DecodeWithFEC(next, o.float[:n], next != nil); err != nil {
			got = 0
		}
	}
	for _, f := range o.float[:min(got, n)] {
		dst = append(dst, clip(float64(f)*(math.MaxInt16+1)))
	}
	for range n - got {
		dst = append(dst, 0)
	}
	return dst
}

type opusEncoder struct{ e *gopus.Encoder }

// NewOpusEncoder makes an encoder of RFC 6716 for a listener who takes so many
// bits a second on the average; 0 = any. It takes 10, 20, 40 or 60 ms of samples
// at a time.
func NewOpusEncoder(most int64) (Encoder, error) {
	rate := opusBitRate
	if most > 0 {
		rate = int(min(max(most, opusLeastRate), opusBitRate))
	}
	e, err := gopus.NewEncoder(gopus.EncoderConfig{SampleRate: SampleRate, Channels: 1, Application: gopus.ApplicationVoIP})
	if err != nil {
		return nil, fmt.Errorf("open Opus encoder: %w", err)
	}
	for _, err := range []error{e.SetComplexity(opusComplexity), e.SetBitrate(rate), e.SetPacketLoss(opusLoss)} {
		if err != nil {
			return nil, fmt.Errorf("set up Opus encoder: %w", err)
		}
	}
	e.SetFEC(true)
	return &opusEncoder{e}, nil
}

func (o *opusEncoder) Encode(dst []byte, samples []int16) ([]byte, error) {
	if err := o.e.SetFrameSize(len(samples)); err != nil {
		return dst, fmt.Errorf("encode %d samples as Opus: %w", len(samples), err)
	}
	n := len(dst)
	dst = slices.Grow(dst, maxOpusPayload)
	got, err := o.e.EncodeInt16(samples, dst[n:n+maxOpusPayload])
	if err != nil {
		return dst[:n], fmt.Errorf("encode %d samples as Opus: %w", len(samples), err)
	}
	return dst[:n+got], nil
}

// opusSilent tells the packets that a sender with discontinuous transmission
// sends in silence: nothing behind the first byte but a count (RFC 6716 section
// 2.1.9).
func opusSilent(payload []byte) bool { return len(payload) <= 2 }
