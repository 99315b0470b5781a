package bridgetest

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"riptide/bridge"
)

// keys are the telephone events of RFC 4733 section 3.2, by their numbers.
const keys = "0123456789*#ABCD"

// pressKeys presses each key for 80 ms, and begins again after a second: one
// packet every 20 ms, and the last three times (RFC 4733 section 2.5.1.4).
func pressKeys(ctx context.Context, to bridge.Sink, digits string) {
	began := time.Now()
	f := bridge.Frame{Codec: bridge.TelephoneEvent}
	for {
		for _, key := range digits {
			event := strings.IndexRune(keys, key)
			if event < 0 {
				continue
			}
			f.Timestamp = uint64(time.Since(began) / (time.Second / 8000))
			for n := 1; n <= 6; n++ {
				f.Payload = eventPayload(byte(event), n)
				f.Marker = n == 1
				to.Push(&f)
				f.Seq++
				if !sleep(ctx, frameTime) {
					return
				}
			}
		}
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// inTurn numbers the frames of several sources as one stream.
type inTurn struct {
	to bridge.Sink

	mu  sync.Mutex
	seq uint64
}

// Push hands the frame on.
func (s *inTurn) Push(f *bridge.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := *f
	one.Seq = s.seq
	s.seq++
	s.to.Push(&one)
}

// eventPayload is packet n of a key that is let go in the fourth.
func eventPayload(event byte, n int) []byte {
	p := []byte{event, 10, 0, 0}
	if n >= 4 {
		p[1] |= 0x80
	}
	binary.BigEndian.PutUint16(p[2:], uint16(frameSamples*min(n, 4)))
	return p
}

// sendPictures sends ten pictures a second in VP8, every fifth of which needs no
// other: what is in them is of no interest to whoever carries them.
func sendPictures(ctx context.Context, to bridge.Sink) {
	f := bridge.Frame{Codec: bridge.VP8, Marker: true}
	for n := 0; ; n++ {
		f.Payload = picture(n)
		to.Push(&f)
		f.Seq++
		f.Timestamp += 9000
		if !sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
}

// picture is an RTP payload of VP8 (RFC 7741): a descriptor that says that a
// frame begins, and a frame header whose first bit says whether it is an inter
// frame.
func picture(n int) []byte {
	p := make([]byte, 600)
	p[0] = 0x10
	if n%5 != 0 {
		p[1] = 1
	}
	for i := 2; i < len(p); i++ {
		p[i] = byte(n + i)
	}
	return p
}

// sleep waits; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
