package sip

import (
	"net"
	"slices"
	"testing"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// emiago/sipgo#206: a request within a call that is too large for a datagram
// goes over TCP, too, and its answer is heard there; one that fits stays.
func TestLargeReinviteGoesOverTCP(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "large", "scripted")
	p := newPeer(t)
	ln, err := net.Listen("tcp", p.addr().String()) // the same port, as peers have it
	for range 20 {                                  // another program may have it
		if err == nil {
			break
		}
		p = newPeer(t)
		ln, err = net.Listen("tcp", p.addr().String())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	a := startAgent(t, newAcceptor(), Trunk{Peer: p.addr().String()})
	p.to = a.Addr()
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	p.respond(p.request("INVITE"), 200, "OK", "a", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	p.request("ACK")
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			accepted <- c
		}
	}()
	offer := bridge.MediaOffer{Speech: slices.Repeat([]bridge.Codec{bridge.PCMA, bridge.PCMU}, 40), Digits: true}
	if err := l.(bridge.Adapter).Adapt(ctx, offer); err != nil {
		t.Fatal(err)
	}
	stream := newTCPPeer(t, <-accepted)
	again := stream.request("INVITE")
	if again.Via().Transport != "TCP" || len(again.String()) < maxDatagramRequest {
		t.Errorf("%s", again)
	}
	stream.respond(again, 200, "OK", "", offerSDP(2, 41000))
	event(t, l, bridge.MediaChanged)
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	bye := p.request("BYE")
	if bye.Via().Transport != "UDP" {
		t.Errorf("a small request leaves over %s", bye.Via().Transport)
	}
	p.respond(bye, 200, "OK", "", "")
	closed(t, l)
}
