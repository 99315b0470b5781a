package bridgetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/transcode"
)

// MaxRecording bounds what a ToneSink keeps; later sound is only counted.
const MaxRecording = 120 * time.Second

const maxSamples = int(MaxRecording / time.Second * transcode.SampleRate)

// ToneSink records what it hears. Sound is placed by its timestamps, so that
// what was lost on the way is a gap in the recording.
type ToneSink struct {
	mu      sync.Mutex
	begun   bool
	first   uint64 // timestamp of the first sample
	samples []int16
	frames  uint64
	digits  []byte
	event   uint64 // timestamp of the last telephone event
	event0  bool   // there was one
	codecs  map[bridge.Codec]uint64

	spoke   time.Time     // when sound came last
	silence time.Duration // the longest without
	decoded []int16
}

// soundLevel is what a sample reaches in a frame of sound, about -30 dBm0: more
// than any comfort noise, less than speech.
const soundLevel = 1000

// NewToneSink makes an empty recorder.
func NewToneSink() *ToneSink { return &ToneSink{codecs: map[bridge.Codec]uint64{}} }

// Push records a frame.
func (s *ToneSink) Push(f *bridge.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames++
	s.codecs[f.Codec]++
	switch f.Codec {
	case bridge.PCMU, bridge.PCMA:
		s.record(f)
		s.listen(f)
	case bridge.TelephoneEvent:
		s.digit(f)
	}
}

func (s *ToneSink) record(f *bridge.Frame) {
	if !s.begun {
		s.begun, s.first = true, f.Timestamp
	}
	if f.Timestamp < s.first {
		return // older than the beginning
	}
	at := f.Timestamp - s.first
	if at > uint64(maxSamples-len(f.Payload)) {
		return
	}
	end := int(at) + len(f.Payload)
	if end > len(s.samples) {
		s.samples = append(s.samples, make([]int16, end-len(s.samples))...)
	}
	lawOf(f.Codec).Decode(s.samples[at:at:end], f.Payload)
}

// listen notes when sound comes.
func (s *ToneSink) listen(f *bridge.Frame) {
	s.decoded = lawOf(f.Codec).Decode(s.decoded[:0], f.Payload)
	for _, v := range s.decoded {
		if v > soundLevel {
			now := time.Now()
			s.silence = max(s.silence, s.quiet(now))
			s.spoke = now
			return
		}
	}
}

// quiet is how long no sound has come, beyond the length of a frame.
func (s *ToneSink) quiet(now time.Time) time.Duration {
	if s.spoke.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.spoke)-frameTime)
}

// Silence is the longest time without sound between two sounds, and how long none
// has come by now, as a clock on the wall shows it.
func (s *ToneSink) Silence() (longest, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silence, s.quiet(time.Now())
}

// Anew forgets the longest silence there was. One that lasts counts from its
// beginning.
func (s *ToneSink) Anew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silence = 0
}

// digit notes an event once, at whichever of its packets comes first: all of
// them carry the time at which it began (RFC 4733 section 2.1).
func (s *ToneSink) digit(f *bridge.Frame) {
	const digits = "0123456789*#ABCD"
	if len(f.Payload) < 4 || int(f.Payload[0]) >= len(digits) {
		return
	}
	if s.event0 && f.Timestamp <= s.event {
		return
	}
	s.event, s.event0 = f.Timestamp, true
	if len(s.digits) < 1024 {
		s.digits = append(s.digits, digits[f.Payload[0]])
	}
}

// Samples is a copy of what was heard, at 8000 Hz.
func (s *ToneSink) Samples() []int16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int16(nil), s.samples...)
}

// Digits is the telephone events heard, each once, in order.
func (s *ToneSink) Digits() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.digits)
}

// Frames is how many frames came.
func (s *ToneSink) Frames() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frames
}

// FramesOf is how many frames of one codec came.
func (s *ToneSink) FramesOf(c bridge.Codec) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.codecs[c]
}

// Hole is a place of a recording for which nothing came: it was lost, or never sent.
type Hole struct {
	At     time.Duration
	Frames int
}

func (h Hole) String() string { return fmt.Sprintf("%d at %.1f s", h.Frames, h.At.Seconds()) }

// Holes are those of what was heard so far.
func (s *ToneSink) Holes() (holes []Hole) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, open := time.Duration(0), false
	for frame := range slices.Chunk(s.samples, frameSamples) {
		empty := !slices.ContainsFunc(frame, func(v int16) bool { return v != 0 })
		switch {
		case empty && open:
			holes[len(holes)-1].Frames++
		case empty:
			holes = append(holes, Hole{at, 1})
		}
		at, open = at+bridge.DefaultPtime, empty
	}
	return holes
}

// Missing is how many frames are missing in all.
func (s *ToneSink) Missing() (frames int) {
	for _, h := range s.Holes() {
		frames += h.Frames
	}
	return frames
}

// Heard is the strongest tone of the recording.
func (s *ToneSink) Heard() Tone { return ToneLevel(s.Samples(), transcode.SampleRate) }
