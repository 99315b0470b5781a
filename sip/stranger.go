package sip

import (
	"net/netip"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// What it costs a stranger to be asked for a password, and to be wrong, in
// seconds of what it may send: so many times a second it may happen, and no more
// (see gate).
const (
	askedCost = 0.25
	wrongCost = 1
)

// Challenges to strangers a second, all together. Over UDP a source may be
// forged, and is sent more than was sent in its name.
const (
	strangersAsked = 100
	strangersBurst = 200
)

// open tells a trunk whose users may be at any address.
func (t *trunk) open() bool { return t.asks() && t.Accept.Anywhere }

// openAt is the trunk that takes strangers at a socket, nil if none does.
func (a *Agent) openAt(s *socket) *trunk {
	for _, t := range a.trunks {
		if t.open() && s.serves(t) {
			return t
		}
	}
	return nil
}

// stranger tells whether all that is known of a peer is that it found an open
// trunk.
func (t *trunk) stranger(f flow) bool {
	if !t.open() {
		return false
	}
	if s, ok := f.(*stream); ok && (s.proven || s.known.Load()) {
		return false
	}
	_, ok := t.owns(f.remote())
	return !ok
}

// screen keeps strangers from everything but a challenge. What belongs to a call
// that there is goes on, for nobody can guess its Call-ID, and so does what comes
// from where a user registered, and who answers a challenge that was sent to its
// address. Anything else leaves nothing behind, and mostly gets no answer.
func (a *Agent) screen(msg sipgo.Message, callID string, f flow, t *trunk, broken error) bool {
	a.mu.Lock()
	_, ours := a.boxes[callID]
	a.mu.Unlock()
	source := f.remote()
	if ours || t.bindings.from(source, a.cfg.Now()) {
		return true
	}
	req, ok := msg.(*sipgo.Request)
	if !ok || len(callID) > maxCallID || req.Method != sipgo.INVITE && req.Method != sipgo.REGISTER || checkSyntax(req, broken) != nil || req.To().Params.Has("tag") {
		a.counts.strangers.Add(1)
		return false
	}
	tried, back := a.guard.returned(req, source.Addr())
	if back {
		return true
	}
	if a.gate.pass(t, source, askedCost*t.rateFor(source)) > 0 || !a.asked.Allow() {
		a.counts.limited.Add(1)
		return false
	}
	res := newResponse(req, 401, "", nil)
	for _, h := range a.guard.challenges(t.Accept.Algorithms, tried, source.Addr()) {
		res.AppendHeader(h)
	}
	if s := streamOf(f); s != nil {
		f = s // and no new connection to somebody who is gone
	}
	if f.WriteMsg(res) != nil {
		a.counts.unsent.Add(1)
	}
	return false
}

// from tells whether somebody registered from there.
func (b *bindings) from(source netip.AddrPort, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.list {
		if x.Received == source && now.Before(x.Until) {
			return true
		}
	}
	return false
}

// streamOf is the connection of a flow, nil over UDP.
func streamOf(f flow) *stream {
	if r, ok := f.(*reply); ok {
		f = r.flow
	}
	s, _ := f.(*stream)
	return s
}

// met notes that somebody proved who it is, or failed to: the one has its
// connection for itself from now on, the other may not guess on at once.
func (a *Agent) met(f flow, t *trunk, v verdict) {
	s := streamOf(f)
	switch {
	case v == proven && s != nil:
		s.settle()
	case v == wrong && t.open():
		if _, ok := t.owns(f.remote()); !ok {
			a.gate.charge(t, f.remote(), wrongCost)
		}
	}
}

// settle gives a connection of a stranger a place like any other.
func (s *stream) settle() {
	if !s.known.Swap(true) && s.leave != nil {
		s.leave()
	}
}
