package h3

import (
	"errors"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// QUIC notices a peer that is gone when its idle timeout has passed, ten seconds,
// or by a stateless reset (RFC 9000 section 10.3), if something is sent and
// somebody is there to answer. Whoever holds a telephone notices at once. So the
// pool looks after the connections that carry something:
//
//	silent  ──> poked ──> suspect: takes no new requests, another is dialled
//	                         ├─ something comes: it is as good as before
//	                         └─ the other one is there: poked once more; if that
//	                            is not answered either, in several times the time
//	                            that the other one took to come into being, this
//	                            one does not lead to the peer any more: closed
//
// Of a peer that is merely slow nothing is closed: no other connection comes
// into being quickly either.
const (
	watchConns   = 50 * time.Millisecond
	silentConn   = 150 * time.Millisecond // while what we send asks for an answer
	answerWithin = 100 * time.Millisecond // and two round trips: to a poke
	newConn      = 2 * time.Second        // others come into being beside it: the peer is busy
)

// pulse is what the watch remembers of a connection, guarded by pool.mu.
type pulse struct {
	received uint64    // packets
	sent     uint64    // packets, when the last one had come
	heard    time.Time // that one
	poked    time.Time
	suspect  bool
	verdict  time.Time // when it is given up; zero: no other one is there
}

// watch looks after all connections until the pool is closed.
func (p *pool) watch() {
	tick := time.NewTicker(watchConns)
	defer tick.Stop()
	last := p.cfg.Now()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		// Who was not running himself has heard nobody, whatever they said.
		now := p.cfg.Now()
		late := now.Sub(last) > watchConns*3/2
		last = now
		poke, gone := p.listen(now, late)
		for _, c := range poke {
			c.poke()
		}
		for _, c := range gone {
			c.hangUp()
		}
	}
}

// listen returns the connections to poke, and those that lead nowhere. Where one
// is silent all are asked: those that carry nothing at the moment are about to be
// used in its place.
func (p *pool) listen(now time.Time, late bool) (poke, gone []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.authorities {
		silent := false
		for _, c := range a.conns {
			silent = c.listen(now, late) || silent
			if pl := &c.pulse; pl.suspect && !pl.verdict.IsZero() && now.After(pl.verdict) {
				gone = append(gone, c)
			}
		}
		if !silent {
			continue
		}
		for _, c := range a.conns {
			if c.pulse.poked.IsZero() {
				c.pulse.poked = now
				poke = append(poke, c)
			}
		}
	}
	return poke, gone
}

// listen looks at one connection, and tells whether it is silent.
func (c *conn) listen(now time.Time, late bool) (silent bool) {
	st, pl := c.quic.ConnectionStats(), &c.pulse
	if st.PacketsReceived != pl.received {
		if pl.suspect {
			c.trust()
		}
		*pl = pulse{received: st.PacketsReceived, sent: st.PacketsSent, heard: now}
		return false
	}
	if late || st.PacketsSent == pl.sent && pl.poked.IsZero() {
		pl.sent, pl.heard = st.PacketsSent, now
		switch {
		case !pl.suspect:
			pl.poked = time.Time{}
		case !pl.verdict.IsZero():
			pl.verdict = pl.verdict.Add(answerWithin)
		}
		return false
	}
	switch {
	case now.Sub(c.born) < newConn:
	case pl.poked.IsZero():
		// An acknowledgement asks for no answer: only now something does.
		return now.Sub(pl.heard) >= silentConn
	case !pl.suspect && now.Sub(pl.poked) > answerWithin+2*st.SmoothedRTT:
		c.doubt()
	case pl.suspect && pl.verdict.IsZero() && c.a.dialing == 0 && c.a.inVain == 0:
		c.a.startDial() // the one that came into being was on its way before
	}
	return false
}

// doubt takes a connection out of use until something comes. The caller holds
// pool.mu.
func (c *conn) doubt() {
	c.pulse.suspect, c.wasDraining = true, c.draining
	c.draining = true
	if c.a.dialing == 0 {
		c.a.startDial()
	}
}

// trust takes it into use again.
func (c *conn) trust() {
	c.draining = c.wasDraining
	c.a.wake()
}

// doubted takes the connections that are to be asked for the last time: another
// one leads to the peer, and took so long to come into being. The caller holds
// pool.mu.
func (a *authority) doubted(took time.Duration) (poke []*conn) {
	now := a.pool.cfg.Now()
	for _, c := range a.conns {
		if c.pulse.suspect && c.pulse.verdict.IsZero() && now.Sub(c.pulse.poked) >= took {
			c.pulse.verdict = now.Add(max(answerWithin, 3*took))
			poke = append(poke, c)
		}
	}
	return poke
}

// lost is for a connection whose peer is gone without a goodbye: so may be that
// of the others. They are asked at once, and used again if they answer.
func (a *authority) lost(c *conn, why error) {
	if !connectionGone(why) {
		return
	}
	p := a.pool
	p.mu.Lock()
	var others []*conn
	for _, o := range a.conns {
		if o != c && !o.pulse.suspect && !p.closed {
			st := o.quic.ConnectionStats()
			o.pulse = pulse{received: st.PacketsReceived, heard: p.cfg.Now(), poked: p.cfg.Now()}
			o.doubt()
			others = append(others, o)
		}
	}
	p.mu.Unlock()
	for _, o := range others {
		o.poke()
	}
}

// connectionGone tells a connection whose peer is gone without a goodbye, or was
// given up because it was silent.
func connectionGone(err error) bool {
	var reset *quic.StatelessResetError
	var idle *quic.IdleTimeoutError
	return errors.As(err, &reset) || errors.As(err, &idle)
}

// poke sends something that the peer has to acknowledge, and that means nothing:
// a stream of a type reserved for that (RFC 9114 section 6.2.3), long enough that
// one who does not know the connection answers with a stateless reset.
func (c *conn) poke() {
	str, err := c.quic.OpenUniStream()
	if err != nil {
		return // as many as it allows are open: enough is on its way
	}
	_ = str.SetWriteDeadline(time.Now().Add(watchConns))
	_, _ = str.Write(append(quicvarint.Append(nil, reservedStream), make([]byte, 62)...))
	_ = str.Close()
}

const reservedStream = 0x1f*2 + 0x21

// hangUp ends a connection that leads nowhere.
func (c *conn) hangUp() {
	_ = c.quic.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "silent")
}
