package rtp

import (
	"net/netip"
	"time"
)

// Latching: how long it takes to believe a source (RFC 7362 describes the
// method and its dangers).
const (
	lockAfter      = 5               // packets in a row from one address under one SSRC
	staleLockAfter = 50              // the same for the source of before a re-INVITE moved the media
	candidateGone  = time.Second     // a candidate silent for so long makes room
	rebindAfter    = 2 * time.Second // a locked source silent for so long may come back from another address
)

// latch decides which address is the peer. It prefers the address of the SDP
// whenever that really sends, even when another was locked before: a peer whose
// SDP lies never sends from it, a spoofer can hardly. Any other source is
// locked only if nobody else speaks.
type latch struct {
	sdp    netip.AddrPort // what the peer said; invalid = nothing
	locked netip.AddrPort // invalid = learning
	ssrc   uint32         // last seen from locked
	last   time.Time      // of the last packet from locked
	stale  netip.AddrPort // locked before the SDP changed
	told   netip.AddrPort // locked before a re-INVITE that did not change the SDP

	fromSDP   run // packets from the SDP's address while it is not locked
	candidate run // from another address
}

// run is a row of packets from one address under one SSRC.
type run struct {
	from netip.AddrPort
	ssrc uint32
	n    int
	last time.Time
}

func (r *run) add(from netip.AddrPort, ssrc uint32, now time.Time) int {
	if r.from != from || r.ssrc != ssrc {
		*r = run{from: from, ssrc: ssrc}
	}
	r.n++
	r.last = now
	return r.n
}

// reopen starts to learn again, after an offer or answer of the peer. The
// source locked so far keeps being spoken to if the SDP did not change.
func (l *latch) reopen(sdp netip.AddrPort) {
	moved := sdp != l.sdp
	old := l.locked
	if !old.IsValid() {
		old = l.told
	}
	*l = latch{sdp: sdp}
	switch {
	case old == sdp || !old.IsValid():
	case moved:
		l.stale = old
	default:
		l.told = old
	}
}

// target is where media goes.
func (l *latch) target() netip.AddrPort {
	switch {
	case l.locked.IsValid():
		return l.locked
	case l.told.IsValid():
		return l.told
	}
	return l.sdp
}

// heard is where media really comes from; invalid = none came yet.
func (l *latch) heard() netip.AddrPort {
	switch {
	case l.locked.IsValid() || l.told.IsValid():
		return l.target()
	case l.fromSDP.n > 0:
		return l.fromSDP.from
	}
	return l.candidate.from
}

// current tells whether from is the source listened to now.
func (l *latch) current(from netip.AddrPort) bool {
	if l.locked.IsValid() {
		return from == l.locked
	}
	return from == l.fromSDP.from || from == l.candidate.from
}

// stranger tells, before a packet's protection is looked at, whether it cannot
// be the peer's whatever it holds.
func (l *latch) stranger(from netip.AddrPort, ssrc uint32, now time.Time) bool {
	return l.locked.IsValid() && from != l.locked && from != l.sdp && (ssrc != l.ssrc || now.Sub(l.last) < rebindAfter)
}

// admit judges one valid packet: whether it is the peer's.
func (l *latch) admit(from netip.AddrPort, ssrc uint32, now time.Time) bool {
	switch {
	case from == l.locked:
		l.ssrc, l.last = ssrc, now
		return true
	case from == l.sdp:
		if l.fromSDP.add(from, ssrc, now) >= lockAfter {
			l.lock(from, ssrc, now)
		}
		return from == l.locked || !l.locked.IsValid()
	case l.locked.IsValid():
		return l.rebind(from, ssrc, now)
	}
	return l.learn(from, ssrc, now)
}

// learn considers a source that the SDP did not name while none is locked.
func (l *latch) learn(from netip.AddrPort, ssrc uint32, now time.Time) bool {
	if l.fromSDP.n > 0 && now.Sub(l.fromSDP.last) < candidateGone {
		return false // the SDP's own address speaks
	}
	if from == l.told {
		l.lock(from, ssrc, now) // nothing changed, and nobody gets a chance to make it
		return true
	}
	// Packets of the stale source are still on their way: it gives way to any.
	c := &l.candidate
	busy := c.n > 0 && c.from != from && now.Sub(c.last) < candidateGone
	if busy && c.from != l.stale {
		return false
	}
	need := lockAfter
	if from == l.stale {
		need = staleLockAfter
	}
	if c.add(from, ssrc, now) >= need {
		l.lock(from, ssrc, now)
	}
	return true
}

// rebind lets the locked source move, as a NAT that forgot its mapping makes
// it: only after a silence, and only with the SSRC that nobody off the path can
// know.
func (l *latch) rebind(from netip.AddrPort, ssrc uint32, now time.Time) bool {
	if ssrc != l.ssrc || now.Sub(l.last) < rebindAfter {
		return false
	}
	if l.candidate.add(from, ssrc, now) >= lockAfter {
		l.lock(from, ssrc, now)
		return true
	}
	return false
}

func (l *latch) lock(from netip.AddrPort, ssrc uint32, now time.Time) {
	l.locked, l.ssrc, l.last = from, ssrc, now
	l.fromSDP, l.candidate, l.stale, l.told = run{}, run{}, netip.AddrPort{}, netip.AddrPort{}
}
