package sip

import (
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// A leg that is let go of says nothing more, and nothing is said to its peer: not
// even that there is no such call.
func TestAbandonedLegIsSilent(t *testing.T) {
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	p := newPeer(t)
	d := p.caller(a)
	l := establish(t, acc, d)
	d.do("INVITE", offerSDP(2, 40010)) // waits for the record
	unstored(t, l, bridge.MediaChanged)
	l.(bridge.Abandoner).Abandon()
	closed(t, l)
	if n := a.Legs(); n != 0 {
		t.Errorf("%d legs", n)
	}
	d.do("BYE", "")
	other := p.caller(a)
	other.do("OPTIONS", "")
	other.status(200, "OPTIONS") // behind the BYE
	said := p.count(func(m sipgo.Message) bool {
		switch m := m.(type) {
		case *sipgo.Request:
			return m.Method == sipgo.BYE
		case *sipgo.Response:
			return m.CSeq().MethodName == sipgo.BYE || m.CSeq().MethodName == sipgo.INVITE && m.CSeq().SeqNo > 1 && m.StatusCode > 100
		}
		return false
	})
	if said != 0 {
		t.Errorf("%d messages about a call that is not ours any more", said)
	}
	l.(bridge.Abandoner).Abandon() // again
}
