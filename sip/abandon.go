package sip

import (
	"context"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// maxLeft bounds the Call-IDs that are kept quiet about, besides those of a box
// full of calls.
const maxLeft = 4 * defaultMaxLegs

var _ bridge.Yielder = (*Leg)(nil)

// Abandon implements bridge.Abandoner: the leg is over without a word. Neither
// what waits for an answer of ours gets one, nor is anything of ours repeated, nor
// what the peer sends from here on answered: whoever has the call next hears its
// repetitions.
func (l *Leg) Abandon() {
	l.agent.leaves(l.box.callID, false)
	_ = l.box.do(context.Background(), l.vanish) // fails if the mailbox is gone, and the leg with it
	if l.yielded.Load() {
		l.media.port.Close()
	}
}

// Stays implements bridge.Yielder: while there is an INVITE whose answer nobody would
// acknowledge, one that would get none, or digits that wait; and where the peer is
// behind a WebSocket, which only it can open (RFC 7118 section 5).
func (l *Leg) Stays() (stays bool) {
	_ = l.box.do(context.Background(), func() { // fails if the mailbox is gone, and the leg with it
		busy := l.state != confirmed || l.reinvite != nil || l.changer != nil || l.media.offering || l.pending != nil || len(l.digits) > 0
		stays = !l.closed && (busy || l.flow.transport().webSocket())
	})
	return stays
}

// Yield implements bridge.Yielder: the leg is over like one that is abandoned, but
// for its ears.
func (l *Leg) Yield(bridge.Sink) bridge.LegRecord {
	l.agent.leaves(l.box.callID, true)
	l.media.port.Rest()
	return l.record(func() {
		l.yielded.Store(!l.closed)
		l.vanish()
	})
}

func (l *Leg) vanish() {
	if l.referral != nil {
		l.referral.over = true
	}
	l.changer = nil
	if !l.closed && !l.yielded.Load() {
		l.media.port.Configure(sdp.Agreed{}) // so that nobody hears its goodbye
	}
	l.over()
	if len(l.box.legs) == 0 {
		l.box.clear()
	}
}

// leaves notes that the call of a Call-ID is not ours. Of one that was given to
// another node, requests are asked about: it may come back with them.
func (a *Agent) leaves(callID string, given bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left == nil || len(a.left) >= maxLeft {
		a.left = map[string]bool{}
	}
	if _, left := a.left[callID]; !left {
		a.left[callID] = given // which letting go of its ears does not change
	}
}

// hasLeft tells whether the call of a Call-ID was let go of, and we do not speak
// for it. Where others may have it we ask for it like for any call of theirs, once
// we may have calls again: who sends its requests here would wait for us for ever.
func (a *Agent) hasLeft(callID string) bool {
	a.mu.Lock()
	given, left := a.left[callID]
	a.mu.Unlock()
	return left && !given && (a.cfg.Claim == nil || a.cfg.Silent == nil || a.cfg.Silent())
}
