package media

import (
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// receive takes one chunk that came by a carrier of rung r. Nothing of b is kept.
func (p *Port) receive(b []byte, r Rung) {
	now := time.Now()
	c, err := chunk.Parse(b)
	in := &p.in
	in.mu.Lock()
	in.ordered = r.ordered()
	poke := false
	switch {
	case err != nil:
		in.stats.Malformed++
	case c.Control:
		p.receiveAck(&c, now)
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
func (p *Port) receiveBody(b []byte) error {
	for n := 0; len(b) > 0; n++ {
		one, rest, err := chunk.Next(b)
		if err == nil && n == chunk.MaxBodyChunks {
			err = errTooManyChunks
		}
		if err != nil {
			p.malformed()
			return err
		}
		p.receive(one, PutGet)
		b = rest
	}
	return nil
}

// receiveAck is called with p.in locked.
func (p *Port) receiveAck(c *chunk.Chunk, now time.Time) {
	if c.ControlType != chunk.ControlAck {
		return // of a later release
	}
	a, err := chunk.ParseAck(c.Ack, p.in.ranges)
	if err != nil || a.Direction != p.direction(true) {
		p.in.stats.Malformed++
		return
	}
	o := &p.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if (Stream{a.Source, a.Sink}) != o.stream {
		p.in.stats.Foreign++
		return
	}
	if !o.outstanding.ack(&a, now) {
		p.in.stats.Malformed++
		return
	}
	o.lastAck, p.in.lastAny = now, now
}

// direction is that of the chunks we send, or of those we receive.
func (p *Port) direction(ours bool) chunk.Direction {
	if p.server == ours {
		return chunk.ServerToClient
	}
	return chunk.ClientToServer
}

// media handles a media chunk, and tells whether an acknowledgement has become
// due some time. It is called with in locked.
func (in *inbound) media(c *chunk.Chunk, now time.Time) (poke bool) {
	if (Stream{c.Source, c.Sink}) != in.stream {
		in.stats.Foreign++
		return false
	}
	truncated := c.Seq.Len < chunk.Full || c.Timestamp.Len < chunk.Full || (c.Clock.Len > 0 && c.Clock.Len < chunk.Full)
	if truncated && !in.track.started {
		in.stats.Malformed++ // nothing to complete its numbers from
		return false
	}
	in.lastAny = now
	seq := c.Seq.Near(in.track.highest + 1)
	if len(c.Media) == 0 {
		// Keeps the stream alive. It bears the number of the last packet, so that
		// one that was lost before a silence is known to be.
		in.track.sent(seq)
		if in.sink != nil {
			in.order.release(now, in.sink)
		}
		return in.owe(now)
	}
	verdict := in.track.place(seq)
	if verdict == duplicate {
		in.stats.Duplicate++
		return in.owe(now)
	}
	if seq == in.track.highest {
		in.latestAt = now
	}
	in.deliver(c, seq, now, verdict == restarted)
	return in.owe(now)
}

// owe notes that the peer is owed an acknowledgement.
func (in *inbound) owe(now time.Time) (poke bool) {
	in.unacked++
	if in.unacked == 1 {
		in.unackedAt = now
		return true
	}
	return false
}

// deliver hands a packet to the sink.
func (in *inbound) deliver(c *chunk.Chunk, seq uint64, now time.Time, restart bool) {
	if restart && c.Timestamp.Len == chunk.Full {
		in.millis, in.clock = c.Timestamp.Value, c.Clock.Value
	}
	millis := c.Timestamp.Near(in.millis)
	in.millis = max(in.millis, millis)
	clock := millis * (clockRate / 1000)
	if c.Clock.Len > 0 {
		clock = c.Clock.Near(in.clock)
		in.clock = max(in.clock, clock)
	}
	if c.PayloadType > 255 || in.accept[c.PayloadType/64]&(1<<(c.PayloadType%64)) == 0 {
		in.stats.UnknownPayload++
		return
	}
	in.stats.Received++
	codec := bridge.Codec(c.PayloadType)
	if codec != bridge.TelephoneEvent {
		in.jitter.add(clock, now)
	}
	frameSeq, frameTS := in.frames.next(seq, clock, restart, now)
	if in.sink == nil {
		in.stats.Unheard++
		return
	}
	in.frame = bridge.Frame{
		Codec: codec, Marker: c.Marker || restart,
		Seq: frameSeq, Timestamp: frameTS, Payload: c.Media,
	}
	if in.ordered {
		in.order.take(&in.frame, now, in.sink)
	} else {
		in.order.flush(in.sink) // what requests brought before
		in.sink.Push(&in.frame)
	}
	in.frame.Payload = nil
}

// continuity keeps the numbers of frames going when those of the peer jump.
type continuity struct {
	seqOff, tsOff uint64 // added, modulo 2^64
	seq, ts       uint64 // of the latest frame
	at            time.Time
}

func (c *continuity) next(seq, clock uint64, restart bool, now time.Time) (frameSeq, frameTS uint64) {
	if restart {
		c.seqOff = c.seq + 1 - seq
		c.tsOff = c.ts + elapsed(c.at, now) - clock
	}
	frameSeq, frameTS = seq+c.seqOff, clock+c.tsOff
	if c.at.IsZero() || frameSeq > c.seq {
		c.seq, c.ts, c.at = frameSeq, frameTS, now
	}
	return frameSeq, frameTS
}

// takeAck fills a with the acknowledgement that is owed, if it may go out by
// now. a.Ranges is scratch of the caller. If not, wait says how long it has to.
func (in *inbound) takeAck(a *chunk.Ack, now time.Time, rides bool) (ok bool, wait time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.unacked == 0 {
		return false, idleAfter
	}
	if wait := ackEvery - now.Sub(in.unackedAt); !rides && wait > 0 {
		return false, wait
	}
	in.unacked = 0
	a.Ranges = in.track.ranges(a.Ranges[:0])
	if len(a.Ranges) == 0 {
		return false, idleAfter
	}
	a.Source, a.Sink = in.stream.Source, in.stream.Sink
	a.Delay = uint64(max(0, now.Sub(in.latestAt)).Microseconds())
	return true, 0
}
