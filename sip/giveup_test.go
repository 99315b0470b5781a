package sip

import (
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
