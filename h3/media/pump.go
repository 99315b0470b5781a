package media

import (
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

const (
	maxBatch  = 32       // packets in one body
	maxBody   = 32 << 10 // bytes of one body
	maxWindow = 1 << 13  // unacknowledged numbers up to which 2 bytes of one are plenty
	maxMillis = 1 << 13  // the same for timestamps
	panicGap  = time.Second

	// picturesInFlight is how many messages of video a carrier may have in hand:
	// where they take places of a limited number, some are left to speech.
	picturesInFlight = 8
)

// pump sends what waits. It is the only sender, so a carrier that blocks stops
// nothing but this call; the queues meanwhile drop their oldest frames.
func (p *Port) pump() {
	defer close(p.done)
	w := writer{buf: make([]byte, 0, 2048), ack: chunk.Ack{Direction: p.direction(false)}}
	w.ack.Ranges = make([]chunk.Range, 0, chunk.MaxRanges)
	timer := time.NewTimer(idleAfter)
	defer timer.Stop()
	for {
		wait := p.askSource(time.Now())
		timer.Reset(min(wait, p.flush(&w)))
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
	buf, body []byte
	chunk     chunk.Chunk
	ack       chunk.Ack
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
		if m, ok := p.left.take(about.framed); ok {
			c.send(m)
			continue
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
// how long. What the hops say to each other goes first, then speech, then what
// of it was held back, then video.
func (p *Port) compose(w *writer, about traits, now time.Time) (m message, wait time.Duration) {
	w.buf = w.buf[:0]
	wait = p.composeControl(w, about, now)
	if len(w.buf) > 0 && !about.framed {
		return message{body: w.buf}, 0
	}
	o := &p.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return message{}, idleAfter
	}
	for kind := range o.streams {
		s := &o.streams[kind]
		if s.kind == bridge.Video && s.inFlight >= picturesInFlight {
			continue
		}
		o.fill(w, s, &s.queue, about, now, &m)
		if s.backlog.n > 0 && m.packets == 0 {
			wait = min(wait, o.composeBacklog(w, s, about, now, &m))
		}
		if m.packets > 0 {
			break
		}
	}
	for kind := range o.streams {
		s := &o.streams[kind]
		if !s.active {
			continue
		}
		idle := idleAfter - now.Sub(s.lastSent)
		if idle <= 0 && m.packets == 0 && (about.framed || len(w.buf) == 0) {
			o.keepAlive(&w.chunk, s, now)
			w.append(about.framed)
			s.lastSent = now
		}
		wait = min(wait, idle)
	}
	m.body = w.buf
	return m, max(time.Millisecond, wait)
}

// composeControl writes the acknowledgements and requests that are due; only one
// of them where a message is a single chunk.
func (p *Port) composeControl(w *writer, about traits, now time.Time) (wait time.Duration) {
	wait = idleAfter
	rides := about.framed && p.out.waiting()
	for kind := range kinds {
		owed, left := p.in.takeAck(kind, &w.ack, now, rides)
		wait = min(wait, left)
		if owed {
			w.body = w.ack.Append(w.body[:0])
			w.chunk = chunk.Chunk{Control: true, ControlType: chunk.ControlAck, Ack: w.body}
			if w.append(about.framed); !about.framed {
				return 0
			}
		}
	}
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	s := &p.out.streams[bridge.Video]
	due, left := s.wanted.take(now)
	wait = min(wait, left)
	if due && s.peer != (Stream{}) {
		w.body = chunk.Keyframe(s.peer).Append(w.body[:0])
		w.chunk = chunk.Chunk{Control: true, ControlType: chunk.ControlKeyframe, Body: w.body}
		w.append(about.framed)
	}
	return wait
}

// fill writes packets of a queue: one, or as many as a body takes.
func (o *outbound) fill(w *writer, s *sender, q *queue, about traits, now time.Time, m *message) {
	for q.n > 0 && m.packets < maxBatch {
		slot := q.first()
		s.describe(&w.chunk, slot, now)
		if len(w.buf)+w.chunk.Size()+4 > about.limit && m.packets > 0 {
			return
		}
		w.append(about.framed)
		s.codec, s.clock, s.lastSent = slot.codec, slot.clock, now
		s.outstanding.sent(slot.seq, now)
		if m.packets == 0 {
			m.kind, m.first = s.kind, slot.seq
			s.inFlight++
		}
		m.packets, m.last = m.packets+1, slot.seq
		q.drop()
		if !about.framed || q == &s.backlog {
			return
		}
	}
}

// composeBacklog writes the next packet of the backlog, if it is its turn.
func (o *outbound) composeBacklog(w *writer, s *sender, about traits, now time.Time, m *message) (wait time.Duration) {
	if wait := s.backlogDue.Sub(now); wait > 0 {
		return wait
	}
	first := s.backlog.first().at
	o.fill(w, s, &s.backlog, about, now, m)
	next := s.backlog.first()
	if next == nil {
		s.backlog, s.backlogDue = queue{}, time.Time{} // it was made for the occasion
		return idleAfter
	}
	// A timer is late at times: what was missed is made up for, up to a point.
	if s.backlogDue.Before(now.Add(-playable)) {
		s.backlogDue = now
	}
	s.backlogDue = s.backlogDue.Add(next.at.Sub(first) / backlogPace)
	return s.backlogDue.Sub(now)
}

func (w *writer) append(framed bool) {
	if framed {
		w.buf = w.chunk.AppendSized(w.buf)
	} else {
		w.buf = w.chunk.Append(w.buf)
	}
}

// starve is for a server to which the client has parked no GET. The draft has
// the packet dropped at once; we give it as long as a receiver would play it.
func (p *Port) starve(now time.Time) (wait time.Duration) {
	o := &p.out
	o.mu.Lock()
	wait = idleAfter
	waits := false
	for kind := range o.streams {
		s := &o.streams[kind]
		for s.queue.n > 0 && now.Sub(s.queue.first().at) >= patience {
			o.dropOldest(s)
		}
		if first := s.queue.first(); first != nil {
			waits, wait = true, min(wait, max(time.Millisecond, patience-now.Sub(first.at)))
		}
	}
	tell := waits && p.onPanic != nil && now.Sub(o.panicked) >= panicGap
	if tell {
		o.panicked = now
	}
	o.mu.Unlock()
	if tell {
		p.onPanic()
	}
	return wait
}

// askSource asks the other leg for a keyframe, if the peer wants one or we have
// dropped what it would have needed. The pump does it: whoever pushes frames to
// this port, or receives for it, holds locks that the other leg's port takes.
func (p *Port) askSource(now time.Time) (wait time.Duration) {
	o := &p.out
	o.mu.Lock()
	s := &o.streams[bridge.Video]
	codec := s.codec
	due, wait := s.ask.take(now)
	o.mu.Unlock()
	if !due {
		return wait
	}
	in := &p.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.sink != nil {
		in.request = bridge.Frame{Codec: codec, Request: bridge.RequestKeyframe}
		in.sink.Push(&in.request)
	}
	return idleAfter
}

// Renumber sends numbers in full again: behind a new carrier, or a connection
// that came back, may be a peer that knows none of the old ones, and sees no
// picture but the next keyframe.
func (p *Port) Renumber() {
	o := &p.out
	o.mu.Lock()
	for kind := range o.streams {
		s := &o.streams[kind]
		s.fullUntil = s.outstanding.highest + 1
		s.fullAt = s.fullAt.Add(-fullEvery)
		if s.broken {
			s.broken, s.ask.want = false, true
		}
	}
	o.mu.Unlock()
	p.poke()
}

// settle counts a message whose fate is known.
func (p *Port) settle(m message, err error) {
	if m.packets == 0 {
		return
	}
	o := &p.out
	o.mu.Lock()
	s := &o.streams[m.kind]
	s.inFlight--
	resume := s.kind == bridge.Video && s.inFlight == picturesInFlight-1 && s.queue.n > 0
	if err == nil {
		o.sent += uint64(m.packets)
	} else {
		o.dropped += uint64(m.packets)
		s.outstanding.unsent(m.first, m.last)
		s.fullUntil = s.outstanding.highest + 1 // who takes the next may not be who took the last
		s.ask.want = s.ask.want || s.kind == bridge.Video
	}
	o.mu.Unlock()
	if resume {
		p.poke()
	}
}
