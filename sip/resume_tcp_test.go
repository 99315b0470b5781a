package sip

import (
	"net"
	"testing"

	"riptide/bridge"
)

// TestARestartWaitsForNoConnection: a peer that takes no connections must not hold
// up the calls of others. That a call which rang there is cancelled needs one, which
// is made then.
func TestARestartWaitsForNoConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	accept := func() *peer {
		t.Helper()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return newTCPPeer(t, c)
	}
	tr := Trunk{Peer: l.Addr().String(), Transport: "tcp"}
	a := startAgent(t, newAcceptor(), tr)
	leg, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	p := accept()
	inv := p.request("INVITE")
	p.respond(inv, 180, "Ringing", "a", "")
	event(t, leg, bridge.Alerting)
	b, _, legs := reborn(t, a, tr, leg.Record())
	b.mu.Lock()
	made := len(b.streams) + len(b.dialling)
	b.mu.Unlock()
	if made > 0 {
		t.Error("it was waited for a connection before anything had to be said")
	}
	if err := legs[0].End(ctx, bridge.CauseShuttingDown); err != nil {
		t.Fatal(err)
	}
	again := accept()
	c := again.request("CANCEL")
	if c.Via().Value() != inv.Via().Value() || c.CSeq().SeqNo != inv.CSeq().SeqNo {
		t.Errorf("%s\nis cancelled by\n%s", inv, c)
	}
	again.respond(c, 200, "OK", "a", "")
	again.respond(inv, 487, "Request Terminated", "a", "")
	again.request("ACK")
	closed(t, legs[0])
}
