package sip

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// One test for each fault that was found in the dialog layer of the library
// below us. None may be reproducible here.

// Fault 1: a 200 that crosses our CANCEL was neither acknowledged nor hung up:
// answered, billed, dead.
func TestFault01CancelCrossesAnswer(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "cancel-glare", "scripted")
	_, p, l, inv := dialled(t)
	p.respond(inv, 180, "Ringing", "a", "")
	event(t, l, bridge.Alerting)
	if err := l.End(ctx, bridge.CauseCancelled); err != nil {
		t.Fatal(err)
	}
	cancel := p.request("CANCEL")
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	p.respond(cancel, 200, "OK", "a", "")
	ack := p.request("ACK")
	bye := p.request("BYE")
	if toTagOf(ack) != "a" || toTagOf(bye) != "a" || bye.CSeq().SeqNo != 2 {
		t.Errorf("%s\n%s", ack, bye)
	}
	p.respond(bye, 200, "OK", "", "")
	closed(t, l)
}

// The same with a provisional answer that never came.
func TestFault01AnswerWhileCancelWaits(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t)
	if err := l.End(ctx, bridge.CauseCancelled); err != nil {
		t.Fatal(err)
	}
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	p.request("ACK")
	p.respond(p.request("BYE"), 200, "OK", "", "")
	closed(t, l)
	if n := p.count(func(m sipgo.Message) bool { return isRequest(m, "CANCEL") }); n != 0 {
		t.Error("CANCEL after the final answer")
	}
}

// Fault 2: requests within the dialog changed the number of the ACK.
func TestFault02AckHasNumberOfInvite(t *testing.T) {
	t.Parallel()
	a, p, l, inv := dialled(t)
	p.respond(inv, 183, "Session Progress", "a", offerSDP(1, 41000))
	event(t, l, bridge.Proceeding)
	d := answeredBy(p, a, inv, "a")
	d.do("OPTIONS", "") // traffic in the early dialog
	d.status(200, "OPTIONS")
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	if ack := p.request("ACK"); ack.CSeq().SeqNo != inv.CSeq().SeqNo {
		t.Errorf("INVITE %d, ACK %d", inv.CSeq().SeqNo, ack.CSeq().SeqNo)
	}
	event(t, l, bridge.Answered)
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000)) // the ACK was lost
	if ack := p.request("ACK"); ack.CSeq().SeqNo != inv.CSeq().SeqNo {
		t.Errorf("INVITE %d, second ACK %d", inv.CSeq().SeqNo, ack.CSeq().SeqNo)
	}
	end(t, p, l)
}

// Fault 3: the answer of a second fork was taken for a repetition of the first.
func TestFault03ForkedAnswers(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "forked", "scripted")
	_, p, l, inv := dialled(t)
	p.respond(inv, 180, "Ringing", "a", "")
	p.respond(inv, 180, "Ringing", "b", "")
	event(t, l, bridge.Alerting)
	p.respond(inv, 200, "OK", "b", offerSDP(1, 41002))
	event(t, l, bridge.Answered)
	if ack := p.request("ACK"); toTagOf(ack) != "b" || ack.Recipient.User != "b" {
		t.Errorf("%s", ack)
	}
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	ack, bye := p.request("ACK"), p.request("BYE")
	if toTagOf(ack) != "a" || toTagOf(bye) != "a" || bye.Recipient.User != "a" || !strings.Contains(strings.Join(headerValues(bye, "Reason"), ""), "cause=26") {
		t.Errorf("%s\n%s", ack, bye)
	}
	p.respond(bye, 200, "OK", "", "")
	// Repetitions get the ACK of their own fork.
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	if ack := p.request("ACK"); toTagOf(ack) != "a" {
		t.Errorf("%s", ack)
	}
	p.respond(inv, 200, "OK", "b", offerSDP(1, 41002))
	if ack := p.request("ACK"); toTagOf(ack) != "b" {
		t.Errorf("%s", ack)
	}
	if n := p.count(func(m sipgo.Message) bool { return isRequest(m, "BYE") }); n != 1 {
		t.Errorf("%d BYEs", n)
	}
	end(t, p, l)
}

// Fault 4: more than ten responses ended the call.
func TestFault04AnyNumberOfProvisionals(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t)
	for range 60 {
		p.respond(inv, 180, "Ringing", "a", "")
	}
	event(t, l, bridge.Alerting)
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	p.request("ACK")
	end(t, p, l)
}

// The same with a peer that changes its mind faster than anybody can follow:
// the answer still comes through.
func TestFault04ProvisionalsThatFillTheEvents(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t)
	for range 100 {
		p.respond(inv, 180, "Ringing", "a", "")
		p.respond(inv, 183, "Session Progress", "a", "")
	}
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	p.request("ACK")
	var last bridge.Event
	for last.Kind != bridge.Answered {
		select {
		case last = <-l.Events():
		case <-time.After(patience):
			t.Fatal("not answered")
		}
	}
	end(t, p, l)
}

// Fault 5: the 200 was repeated at the wrong times, and a missing ACK led to no
// BYE.
func TestFault05RepetitionsAndMissingAck(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	bye := d.request("BYE")
	// 64*T1 hold T1, 2*T1, 4*T1, and then T2 = 8*T1 each: 0, 1, 3, 7, 15, 23,
	// 31, 39, 47, 55, 63 T1 after the first.
	if n := d.count(func(m sipgo.Message) bool { return isStatus(m, 200, "INVITE") }); n < 8 || n > 11 {
		t.Errorf("200 was sent %d times, want 11", n)
	}
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseNoACK.Code {
		t.Errorf("%+v", ev.Cause)
	}
	d.respond(bye, 200, "OK", "", "")
	closed(t, l)
}

// Fault 6: messages of one dialog overtook each other. Pairs of INFO are sent
// back to back; a number below the one before it would be refused with 500.
func TestFault06Order(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "order", "scripted")
	pairs := soaked(2000, 10000)
	ca := newAuthority(t)
	for _, transport := range []string{"udp", "tcp", "tls", "ws"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			a, at := tlsAgent(t, ca, acc, Trunk{Rate: 100000})
			p := newPeer(t)
			var conn net.Conn
			var err error
			switch transport {
			case "tcp":
				conn, err = net.Dial("tcp", a.Addr().String())
			case "tls":
				conn, err = dialTLS(t, ca, at, nil, 0)
			case "ws":
				conn, err = webSocketPeer(t, "ws://"+a.at(overWS).String()+"/", "sip")
			}
			if err != nil {
				t.Fatal(err)
			}
			if conn != nil {
				p = newTCPPeer(t, conn)
			}
			d := p.caller(a)
			l := establish(t, acc, d)
			for i := range pairs {
				d.do("INFO", "")
				d.do("OPTIONS", "")
				if i%50 == 49 { // a window, so that no socket buffer overflows
					d.await("the answer", func(m sipgo.Message) bool {
						res, ok := m.(*sipgo.Response)
						return ok && int(res.CSeq().SeqNo) == d.seq
					})
				}
			}
			wrong := d.count(func(m sipgo.Message) bool {
				res, ok := m.(*sipgo.Response)
				return ok && res.StatusCode != 200 && res.StatusCode != 100
			})
			done := d.count(func(m sipgo.Message) bool {
				return isStatus(m, 200, "INFO") || isStatus(m, 200, "OPTIONS")
			})
			if wrong != 0 || done != 2*pairs {
				t.Errorf("%d of %d requests out of order, %d served", wrong, 2*pairs, done)
			}
			end(t, p, l)
		})
	}
}

// The same for what really hurt: an ACK and the BYE right behind it.
func TestFault06AckAndByeBackToBack(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	p := newPeer(t)
	for range 300 {
		d := p.caller(a)
		d.invite(offerSDP(1, 40000))
		l := acc.next(t)
		if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
			t.Fatal(err)
		}
		d.learn(d.status(200, "INVITE"))
		d.ack("")
		d.do("BYE", "")
		if ev := event(t, l, bridge.Ended); ev.Cause.Code != "normal" {
			t.Fatalf("%+v", ev.Cause)
		}
		d.status(200, "BYE")
	}
}

// Fault 7: sips went out, and was taken, in clear UDP.
func TestFault07SipsIsNeverClear(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	d := newPeer(t).caller(a)
	d.uri = "sips:+12025550199@" + a.Addr().String()
	d.invite(offerSDP(1, 40000))
	d.ackRefusal(d.status(416, "INVITE"))
}

// Fault 8: requests over 1300 bytes failed on UDP, and so did responses.
func TestFault08LargeRequestGoesOverTCP(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "large", "scripted")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	a := startAgent(t, newAcceptor(), Trunk{Peer: ln.Addr().String()})
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			accepted <- c
		}
	}()
	l, err := a.Dial(ctx, large())
	if err != nil {
		t.Fatal(err)
	}
	p := newTCPPeer(t, <-accepted)
	inv := p.request("INVITE")
	if inv.Via().Transport != "TCP" || len(inv.String()) < maxDatagramRequest || inv.Contact().Address.UriParams.GetOr("transport", "") != "tcp" {
		t.Errorf("%s", inv)
	}
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	p.request("ACK")
	end(t, p, l)
}

// large is a call whose INVITE does not fit into one datagram.
func large() bridge.Intent {
	in := intent
	in.To = "+12025550199"
	in.Media.Speech = slices.Repeat([]bridge.Codec{bridge.PCMA}, 40)
	return in
}

func TestFault08LargeRequestFallsBackToUDP(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	a := startAgent(t, newAcceptor(), Trunk{Peer: p.addr().String()})
	p.to = a.Addr()
	l, err := a.Dial(ctx, large())
	if err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	if inv.Via().Transport != "UDP" || len(inv.String()) < maxDatagramRequest {
		t.Errorf("%s", inv)
	}
	p.respond(inv, 486, "Busy Here", "a", "")
	event(t, l, bridge.Ended)
	closed(t, l)
	// TCP is not tried again for each call.
	if a.byName["pbx"].noTCP.Load() <= time.Now().Unix() {
		t.Error("the refusal is forgotten")
	}
}

func TestFault08LargeResponsesAreSent(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	var vias []string
	for i := range 30 {
		vias = append(vias, fmt.Sprintf("Record-Route: <sip:proxy%d.example.com;lr;session=%s>", i, strings.Repeat("x", 100)))
	}
	d.invite(offerSDP(1, 40000), vias...)
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	res := d.status(200, "INVITE")
	if len(res.String()) < 2*maxDatagramRequest {
		t.Errorf("only %d bytes", len(res.String()))
	}
	d.learn(res)
	d.ack("")
	d.do("BYE", "")
	event(t, l, bridge.Ended)
	closed(t, l)
}

// Fault 9 was about re-INVITEs that nobody acknowledged and dialogs restored
// without their transaction. Ours never depend on the INVITE's transaction:
// long after its end a BYE works in both directions.
func TestFault09DialogOutlivesItsTransaction(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t)
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	p.request("ACK")
	time.Sleep(sipgo.Timer_M + 300*time.Millisecond) // nothing is left of the INVITE
	end(t, p, l)
}

// Fault 10: a CANCEL without a transaction was answered 405.
func TestFault10CancelWithoutTransaction(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	d := newPeer(t).caller(a)
	d.seq, d.branch = 1, newBranch()
	d.cancel()
	d.status(481, "CANCEL")
}

// end hangs up from our side.
func end(t *testing.T, p *peer, l bridge.Leg) {
	t.Helper()
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	p.respond(p.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}

func toTagOf(req *sipgo.Request) string {
	tag, _ := req.To().Params.Get("tag")
	return tag
}
