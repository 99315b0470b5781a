package sip

import (
	"strings"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/sip/siptest"
)

func probing(tr *Trunk) { tr.ProbeAfter = 50 * time.Millisecond }

// A PBX that loses its power in a call says no BYE: the far end, and whoever
// pays, must not stay in the call for ever.
func TestPeerDiesInCallThatItPlaced(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{ProbeAfter: 50 * time.Millisecond})
	d := newPeer(t).caller(a)
	l := establish(t, acc, d)
	if req := d.request("OPTIONS"); req.CSeq().SeqNo != 1 || toTagOf(req) == "" {
		t.Errorf("the probe is not in the dialog: %s", req)
	}
	ev := event(t, l, bridge.Ended)
	if ev.Cause.Code != bridge.CauseSignallingLost.Code || ev.Cause.By != bridge.ByBridge || !strings.Contains(ev.Cause.Text, `trunk "pbx"`) {
		t.Errorf("%+v", ev.Cause)
	}
	d.respond(d.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}

// The same for a call to it, where it comes up again without its calls.
func TestPeerRestartsInCallThatItTook(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t, probing)
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	p.respond(p.request("OPTIONS"), 481, "Call/Transaction Does Not Exist", "", "")
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseSignallingLost.Code || !strings.Contains(ev.Cause.Text, "481") {
		t.Errorf("%+v", ev.Cause)
	}
	p.respond(p.request("BYE"), 481, "Call/Transaction Does Not Exist", "", "")
	closed(t, l)
}

// Muted, on hold, or a peer that cannot stand OPTIONS: not dead.
func TestSilentPeerThatLives(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "options", "scripted")
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{ProbeAfter: 50 * time.Millisecond})
	d := newPeer(t).caller(a)
	l := establish(t, acc, d)
	for _, status := range []int{200, 405, 500, 200} {
		d.respond(d.request("OPTIONS"), status, "As You Like", "", "")
	}
	hangUp(t, d, l) // and nothing but that ended it
}
