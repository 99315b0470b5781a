package media

import (
	"time"

	"riptide/h3/chunk"
)

const (
	maxBatch  = 32       // packets in one body
	maxBody   = 32 << 10 // bytes of one body
	maxWindow = 1 << 13  // unacknowledged numbers up to which 2 bytes of one are plenty
	maxMillis = 1 << 13  // the same for timestamps
	panicGap  = time.Second
)

// pump sends what waits. It is the only sender, so a carrier that blocks stops
// nothing but this call; the ring meanwhile drops its oldest frames.
func (p *Port) pump() {
	defer close(p.done)
	w := writer{buf: make([]byte, 0, 2048), ack: chunk.Ack{Direction: p.direction(false)}}
	w.ack.Ranges = make([]chunk.Range, 0, chunk.MaxRanges)
	timer := time.NewTimer(idleAfter)
	defer timer.Stop()
	for {
		timer.Reset(p.flush(&w))
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// writer is what the pump writes with.
type writer struct {
	buf, ackBuf []byte
	chunk       chunk.Chunk
	ack         chunk.Ack
}

// flush sends all that is due, and returns how long nothing will be unless the
// pump is poked.
func (p *Port) flush(w *writer) (wait time.Duration) {
	for p.ctx.Err() == nil {
		c := p.carriers.current()
		if c == nil {
			return idleAfter
		}
		now, about := time.Now(), c.about()
		if !c.ready() {
			if !about.starve {
				return idleAfter
			}
			return p.starve(now)
		}
		m, wait := p.compose(w, about, now)
		if len(m.body) == 0 {
			return wait
		}
		if m.packets > 0 {
			p.carriers.carry(about.rung)
		}
		c.send(m)
	}
	return idleAfter
}

// compose makes the next message; if nothing is due it is empty, and wait is
// how long.
func (p *Port) compose(w *writer, about traits, now time.Time) (m message, wait time.Duration) {
	o := &p.out
	w.buf = w.buf[:0]
	waiting := p.waiting()
	owed, ackWait := p.in.takeAck(&w.ack, now, about.framed && waiting > 0)
	if owed {
		w.appendAck(about.framed)
		if !about.framed {
			return message{body: w.buf}, 0
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return message{}, idleAfter
	}
	for o.n > 0 && m.packets < maxBatch {
		s := &o.ring[o.head]
		o.describe(&w.chunk, s, now)
		if len(w.buf)+w.chunk.Size()+4 > about.limit && m.packets > 0 {
			break
		}
		w.append(about.framed)
		o.payloadType, o.clock = s.payloadType, s.clock
		o.outstanding.sent(s.seq, now)
		if m.packets == 0 {
			m.first = s.seq
		}
		m.packets, m.last = m.packets+1, s.seq
		o.head, o.n = (o.head+1)%ringSize, o.n-1
		if !about.framed {
			break
		}
	}
	idle := idleAfter - now.Sub(o.lastSent)
	if m.packets == 0 && idle <= 0 {
		o.keepAlive(&w.chunk, now)
		w.append(about.framed)
	}
	if m.packets > 0 || idle <= 0 {
		o.lastSent = now
	}
	m.body = w.buf
	return m, max(time.Millisecond, min(ackWait, idle))
}

func (p *Port) waiting() int {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	return p.out.n
}

func (w *writer) append(framed bool) {
	if framed {
		w.buf = w.chunk.AppendSized(w.buf)
	} else {
		w.buf = w.chunk.Append(w.buf)
	}
}

func (w *writer) appendAck(framed bool) {
	w.ackBuf = w.ack.Append(w.ackBuf[:0])
	w.chunk = chunk.Chunk{Control: true, ControlType: chunk.ControlAck, Ack: w.ackBuf}
	w.append(framed)
}

// describe fills c with the packet of s. Numbers are truncated once the peer
// has acknowledged full ones, and full again every second.
func (o *outbound) describe(c *chunk.Chunk, s *slot, now time.Time) {
	millis := uint64(s.at.UnixMilli())
	*c = chunk.Chunk{
		Seq: chunk.FullNumber(s.seq), Timestamp: chunk.FullNumber(millis), Clock: chunk.FullNumber(s.clock & chunk.MaxNumber),
		PayloadType: s.payloadType, Source: o.stream.Source, Sink: o.stream.Sink,
		Marker: s.marker, Media: s.payload,
	}
	acked := o.outstanding.largestAcked
	if acked < o.fullUntil || acked == 0 || now.Sub(o.fullAt) >= fullEvery || s.seq-acked > maxWindow || now.Sub(s.at).Milliseconds() > maxMillis {
		o.fullAt = now
		return
	}
	c.Seq, c.Timestamp = chunk.Truncated(s.seq, 2), chunk.Truncated(millis, 2)
	c.Clock = chunk.Truncated(s.clock, 4)
}

// keepAlive fills c with a chunk that is no packet: no media, and the number
// of the last packet, all in full. If that was dropped, nothing else would tell
// the peer that there was one.
func (o *outbound) keepAlive(c *chunk.Chunk, now time.Time) {
	*c = chunk.Chunk{
		Seq: chunk.FullNumber(o.num.outSeq), Timestamp: chunk.FullNumber(uint64(now.UnixMilli())), Clock: chunk.FullNumber(o.clock & chunk.MaxNumber),
		PayloadType: o.payloadType, Source: o.stream.Source, Sink: o.stream.Sink,
		Media: []byte{},
	}
}

// starve is for a server to which the client has parked no GET. The draft has
// the packet dropped at once; we give it as long as a receiver would play it.
func (p *Port) starve(now time.Time) (wait time.Duration) {
	o := &p.out
	o.mu.Lock()
	for o.n > 0 && now.Sub(o.ring[o.head].at) >= patience {
		o.dropOldest()
	}
	wait = idleAfter
	if o.n > 0 {
		wait = max(time.Millisecond, patience-now.Sub(o.ring[o.head].at))
	}
	tell := o.n > 0 && p.onPanic != nil && now.Sub(o.panicked) >= panicGap
	if tell {
		o.panicked = now
	}
	o.mu.Unlock()
	if tell {
		p.onPanic()
	}
	return wait
}
