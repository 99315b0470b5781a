package bridgetest

import (
	"context"
	"time"

	"riptide/bridge"
	"riptide/transcode"
)

const (
	frameTime    = bridge.DefaultPtime
	frameSamples = transcode.SampleRate / 50
	maxBehind    = 5 // frames sent at once to make up for a late timer; more are skipped
)

func lawOf(c bridge.Codec) transcode.Law {
	if c == bridge.PCMA {
		return transcode.ALaw
	}
	return transcode.MuLaw
}

// ToneSource sends a tone in G.711 frames of 20 ms.
type ToneSource struct {
	codec bridge.Codec
	tone  *transcode.Tone

	samples []int16
	payload []byte
	frame   bridge.Frame
}

// NewToneSource makes a source of hz at -10 dBm0 in PCMU or PCMA.
func NewToneSource(codec bridge.Codec, hz float64) *ToneSource {
	return &ToneSource{
		codec:   codec,
		tone:    transcode.NewTone(hz, -10),
		samples: make([]int16, 0, frameSamples),
		payload: make([]byte, 0, frameSamples),
		frame:   bridge.Frame{Codec: codec, Marker: true},
	}
}

// Run sends until ctx ends. It keeps the pace of the clock: what a late timer
// left unsent goes out at once, up to 100 ms; more is left out, as a telephone
// does, with the timestamps saying so. A source runs once.
func (s *ToneSource) Run(ctx context.Context, to bridge.Sink) {
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	start := time.Now()
	for n := 0; ; {
		due := int(time.Since(start)/frameTime) + 1
		if late := due - n - maxBehind; late > 0 {
			n += late
			s.frame.Timestamp += uint64(late) * frameSamples
		}
		for ; n < due; n++ {
			s.push(to)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *ToneSource) push(to bridge.Sink) {
	s.samples = s.tone.Append(s.samples[:0], frameSamples)
	s.payload = lawOf(s.codec).Encode(s.payload[:0], s.samples)
	s.frame.Payload = s.payload
	to.Push(&s.frame)
	s.frame.Marker = false
	s.frame.Seq++
	s.frame.Timestamp += frameSamples
}
