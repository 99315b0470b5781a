package media

import (
	"riptide/bridge"
	"riptide/h3/chunk"
)

// Yield ends all sending of packets, for a call that goes on at another node.
// What waits to be sent goes to back, oldest first; what comes is handed on until
// Close. What was sealed here cannot be given back: only who takes it can open it.
func (p *Port) Yield(back bridge.Sink) {
	o := &p.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
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
