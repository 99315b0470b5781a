package sip

import (
	"time"

	"riptide/bridge"
)

// A peer that hangs up while no process has its call says BYE to nobody, and counts
// the call as over all the same (RFC 3261 section 15.1.1). What it answers to the first
// request of the process that goes on with the call is 481, which ends the dialog (RFC
// 3261 section 12.2.1.2): nothing was lost, the peer has hung up.

// unmet tells that the peer of a call that was another process's has shown nothing of
// itself to this one.
func (l *Leg) unmet() bool {
	return !l.takenUp.IsZero() && !l.spoke.After(l.takenUp) && !l.media.port.LastHeard().After(l.takenUp)
}

// met notes that the peer has answered this process.
func (l *Leg) met() { l.takenUp = time.Time{} }

// hungUpUnheard is the end of a call by a peer whose BYE nobody has heard.
func hungUpUnheard(trunk, asked string, by bridge.Party) bridge.Cause {
	return bridge.CauseNormal.With("the %s hung up while no node had the call: trunk %q, sent %s by the next node, knows of no such call (481)", by, trunk, asked).EndedBy(by)
}

// unknown is how a call ended whose peer does not know it (481), asked by a request.
func (l *Leg) unknown(asked string) bridge.Cause {
	if l.unmet() {
		return hungUpUnheard(l.trunk.Name, asked, l.peerParty())
	}
	return l.lostFor(asked, "says that it knows of no such call (481)")
}

// endUnknown ends a call whose peer does not know it.
func (l *Leg) endUnknown(asked string) {
	c := l.unknown(asked)
	l.ended(c, nil)
	_ = l.bye(c) // as RFC 3261 section 12.2.1.2 wants it
}
