package media

import (
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// Yield is for a call that goes on at another node: what waits for a carrier goes
// back, oldest first. What was sealed here cannot be given back: only who takes it
// can open it. Where there are carriers it goes out by them, and so does what the
// other node still has for the peer (Detour), but that is sent no further. What comes
// is handed on until Close.
func (p *Port) Yield(back bridge.Sink) {
	p.detour.Store(nil)
	if p.carriers.current() != nil {
		return
	}
	o := &p.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for kind := range o.streams {
		s := &o.streams[kind]
		for _, q := range []*queue{&s.backlog, &s.queue} {
			for ; q.n > 0 && s.sealer == nil; q.drop() {
				back.Push(q.first().frame())
			}
		}
		o.empty(s)
	}
}

// detourTime is how long a peer may take to come to the node that has its call: as
// long as the one that had it listens, less what is on its way.
const detourTime = 3 * time.Second

// detour is a way to the peer that is not ours.
type detour struct {
	by    bridge.Sink
	until time.Time
}

// Detour has frames go by another way, until there is a carrier. Nil: there is none.
func (p *Port) Detour(by bridge.Sink) {
	if by != nil {
		p.detour.Store(&detour{by, time.Now().Add(detourTime)})
	}
}

// detoured sends a frame that way, if it is open.
func (p *Port) detoured(f *bridge.Frame, now time.Time) bool {
	d := p.detour.Load()
	switch {
	case d == nil || p.ctx.Err() != nil:
		return false
	case now.After(d.until):
		p.detour.CompareAndSwap(d, nil)
		return false
	}
	d.by.Push(f)
	return true
}

// frame is the packet as it was pushed, under the numbers that it got.
func (s *slot) frame() *bridge.Frame {
	f := &bridge.Frame{Codec: s.codec, Marker: s.marker, Seq: s.seq, Timestamp: s.clock, Payload: s.payload}
	if s.sealed {
		f.Sealed = &bridge.Sealed{
			KeyID: s.keyID, Seq: s.seq, Time: s.millis, Clock: s.clock, Has: s.layers.Has,
			ReferenceFrame: s.layers.ReferenceFrame, SpatialLayer: s.layers.SpatialLayer, TemporalLayer: s.layers.TemporalLayer,
		}
		if !s.noClock {
			f.Sealed.Has |= 1 << chunk.TagClock
		}
	}
	return f
}
