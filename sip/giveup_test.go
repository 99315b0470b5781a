package sip

import (
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// A callee that rings and then falls silent keeps nothing of us: neither when the
// call was given up, nor when it was over in the middle of a re-INVITE.
func TestNothingLeftOfSilentPeers(t *testing.T) {
	t.Parallel()
	a, p, l, inv := dialled(t)
	p.respond(inv, 180, "Ringing", "a", "")
	event(t, l, bridge.Alerting)
	if err := l.End(ctx, bridge.CauseCancelled); err != nil {
		t.Fatal(err)
	}
	p.respond(p.request("CANCEL"), 200, "OK", "a", "")
	closed(t, l)
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	p.respond(p.request("INVITE"), 200, "OK", "b", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	if err := l.(*Leg).Adapt(ctx, bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}}); err != nil {
		t.Fatal(err)
	}
	p.respond(p.await("re-INVITE", func(m sipgo.Message) bool {
		req, ok := m.(*sipgo.Request)
		return ok && req.IsInvite() && toTagOf(req) != ""
	}).(*sipgo.Request), 100, "Trying", "", "")
	end(t, p, l)
	await(t, "all is forgotten", func() bool { return a.mailboxes() == 0 })
}

// A callee that hangs up before it has answered, when its challenge has led to a
// second INVITE, and then says that it rings.
func TestByeBeforeTheAnswerAndRingingAfter(t *testing.T) {
	t.Parallel()
	a, p, l, inv := dialled(t, login)
	p.respond(inv, 180, "Ringing", "a", "")
	event(t, l, bridge.Alerting)
	p.respond(inv, 401, "Unauthorized", "a", "", `WWW-Authenticate: Digest realm="peer", nonce="n"`)
	p.request("ACK")
	second := p.request("INVITE")
	d := answeredBy(p, a, inv, "a")
	d.do("BYE", "")
	ev := <-l.Events() // not on record yet
	if ev.Kind != bridge.Ended {
		t.Fatalf("event %v", ev.Kind)
	}
	p.respond(second, 180, "Ringing", "b", "")
	cancel := p.request("CANCEL")
	p.respond(cancel, 200, "OK", "b", "")
	p.respond(second, 487, "Request Terminated", "b", "")
	p.request("ACK")
	ev.Stored()
	closed(t, l)
}

// What panics under one Call-ID ends the calls there, and no other.
func TestPanicEndsOneCall(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d, other := newPeer(t).caller(a), newPeer(t).caller(a)
	l, lives := establish(t, acc, d), establish(t, acc, other)
	l.(*Leg).box.post(func() { panic("a fault") })
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseInternal.Code {
		t.Errorf("ended by %v", ev.Cause)
	}
	closed(t, l)
	hangUp(t, other, lives)
}

// What is written of a trunk that does not answer is in words, and not the name of
// a timer.
func TestSilenceInWords(t *testing.T) {
	t.Parallel()
	a, _, l, _ := dialled(t)
	event(t, l, bridge.Ended)
	closed(t, l)
	standing := &a.byName["pbx"].standing
	standing.mu.Lock()
	defer standing.mu.Unlock()
	if !strings.Contains(standing.why, "no answer to INVITE within") {
		t.Errorf("%q", standing.why)
	}
}
