package media

import (
	"sync"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// inbound is the receiving half.
type inbound struct {
	mu      sync.Mutex
	streams [kinds]receiver
	sink    bridge.Sink
	stats   bridge.MediaStats
	lastAny time.Time
	awaited chan<- time.Time // gets when the next media came; nil: nobody waits
	ordered bool             // the chunk at hand came by a carrier that mixes them up
	epoch   uint64           // of that carrier
	ranges  []chunk.Range    // scratch
	request bridge.Frame     // scratch
}

// receive takes one chunk that came by a carrier of rung r, of an epoch. Nothing of
// b is kept.
func (p *Port) receive(b []byte, r Rung, epoch uint64) {
	now := time.Now()
	c, err := chunk.Parse(b)
	in := &p.in
	in.mu.Lock()
	in.ordered, in.epoch = r.ordered(), epoch
	poke := false
	switch {
	case err != nil:
		in.stats.Malformed++
	case c.Control:
		poke = p.receiveControl(&c, now)
	default:
		before := in.stats.Received
		poke = in.media(&c, now)
		if in.stats.Received > before {
			p.carriers.carry(r)
		}
	}
	in.mu.Unlock()
	if poke {
		p.poke()
	}
}

// malformed counts what could not be read as chunks.
func (p *Port) malformed() {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	p.in.stats.Malformed++
}

// receiveBody takes the chunks of a request or response.
func (p *Port) receiveBody(b []byte, epoch uint64) error {
	for n := 0; len(b) > 0; n++ {
		one, rest, err := chunk.Next(b)
		if err == nil && n == chunk.MaxBodyChunks {
			err = errTooManyChunks
		}
		if err != nil {
			p.malformed()
			return err
		}
		p.receive(one, PutGet, epoch)
		b = rest
	}
	return nil
}

// receiveControl is called with p.in locked. Hellos and their echoes are the
// carriers': here they only show that the peer is there.
func (p *Port) receiveControl(c *chunk.Chunk, now time.Time) (poke bool) {
	p.in.lastAny = now
	switch c.ControlType {
	case chunk.ControlAck:
		p.receiveAck(c, now)
	case chunk.ControlKeyframe:
		return p.receiveKeyframe(c)
	case chunk.ControlHello, chunk.ControlEcho:
	default:
		p.in.stats.UnknownPayload++ // of a later release
	}
	return false
}

func (p *Port) receiveAck(c *chunk.Chunk, now time.Time) {
	a, err := chunk.ParseAck(c.Ack, p.in.ranges)
	if err != nil || a.Direction != p.direction(true) {
		p.in.stats.Malformed++
		return
	}
	o := &p.out
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sender(Stream{a.Source, a.Sink})
	if s == nil {
		p.in.stats.Foreign++
		return
	}
	if !s.outstanding.ack(&a, now) {
		p.in.stats.Malformed++
		return
	}
	o.lastAck = now
}

// receiveKeyframe has the pump ask our source for a keyframe.
func (p *Port) receiveKeyframe(c *chunk.Chunk) (poke bool) {
	k, err := chunk.ParseKeyframe(c.Body)
	if err != nil {
		p.in.stats.Malformed++
		return false
	}
	o := &p.out
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sender(Stream(k))
	if s == nil || s.kind != bridge.Video {
		p.in.stats.Foreign++
		return false
	}
	o.asked++
	s.ask.want = true
	return true
}

// sender is the half that sends a stream, or nil.
func (o *outbound) sender(st Stream) *sender {
	for kind := range o.streams {
		if s := &o.streams[kind]; s.active && s.stream == st {
			return s
		}
	}
	return nil
}

// direction is that of the chunks we send, or of those we receive.
func (p *Port) direction(ours bool) chunk.Direction {
	if p.server == ours {
		return chunk.ServerToClient
	}
	return chunk.ClientToServer
}

// takeAck fills a with the acknowledgement that is owed of a kind, if it may go
// out by now. a.Ranges is scratch of the caller. If not, wait says how long it
// has to. rides says that it costs no message of its own.
func (in *inbound) takeAck(kind int, a *chunk.Ack, now time.Time, rides bool) (ok bool, wait time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	r := &in.streams[kind]
	if r.unacked == 0 {
		return false, idleAfter
	}
	if wait := ackEvery - now.Sub(r.unackedAt); !rides && wait > 0 && r.unacked < ackMost {
		return false, wait
	}
	r.unacked = 0
	a.Ranges = r.track.ranges(a.Ranges[:0])
	if len(a.Ranges) == 0 {
		return false, idleAfter
	}
	a.Source, a.Sink = r.stream.Source, r.stream.Sink
	a.Delay = uint64(max(0, now.Sub(r.latestAt)).Microseconds())
	return true, 0
}
