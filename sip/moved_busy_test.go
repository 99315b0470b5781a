package sip

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// moves has another agent go on with a call, and says what came of it.
func moves(within context.Context, b *Agent, rec bridge.LegRecord) chan movedLeg {
	done := make(chan movedLeg, 1)
	go func() {
		l, err := b.Resume(within, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered, Moved: true})
		done <- movedLeg{l, err}
	}()
	return done
}

type movedLeg struct {
	leg bridge.Leg
	err error
}

// A peer that has sent a re-INVITE to the node which died is busy with it until it
// gives that up. The call goes on, and it is asked until it follows.
func TestResumedWhileThePeerIsBusy(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"491 Request Pending\r\nServer: x", "500 Busy\r\nRetry-After: 1"} {
		t.Run(answer[:3], func(t *testing.T) {
			t.Parallel()
			c, port := mediaSocket(t)
			a, tr, d, l, _ := callFor(t, "uas", port)
			rec := l.Record()
			crash(t, a)
			b := startAgent(t, newAcceptor(), tr)
			done := moves(ctx, b, rec)
			d.to = b.Addr()
			refuse := func() {
				inv := d.request("INVITE")
				phrase, header, _ := strings.Cut(answer[4:], "\r\n")
				d.peer.respond(inv, map[string]int{"491": 491, "500": 500}[answer[:3]], phrase, "", "", header)
				d.request("ACK")
			}
			refuse()
			o := <-done
			if o.err != nil {
				t.Fatal(o.err)
			}
			if !strings.Contains(string(o.leg.Record().State), `"untold":true`) {
				t.Error("its record does not say that the peer has to be told")
			}
			refuse()
			inv := d.request("INVITE")
			d.peer.respond(inv, 200, "OK", "", offerSDP(2, port))
			d.request("ACK")
			event(t, o.leg, bridge.MediaChanged)
			if strings.Contains(string(o.leg.Record().State), `"untold":true`) {
				t.Error("its record says that the peer has to be told")
			}
			speak(o.leg, 1)
			heard(t, c)
			d.uri = inv.Contact().Address.String()
			hangUp(t, d, o.leg)
		})
	}
}

// waits is a context that ends when the test says so.
type waits struct {
	context.Context
	done chan struct{}
	why  error
}

func (w waits) Done() <-chan struct{} { return w.done }

func (w waits) Err() error {
	select {
	case <-w.done:
		return w.why
	default:
		return nil
	}
}

// Whoever waited for a leg that moves has gone: nothing of it stays at a peer which
// follows later. It is hung up, or hears nothing more where the call is not ours.
func TestLateFollowerIsLetGo(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			t.Parallel()
			a, tr, d, l, _ := callFor(t, "uas", 40000)
			rec := l.Record()
			crash(t, a)
			b := startAgent(t, newAcceptor(), tr)
			within := waits{ctx, make(chan struct{}), context.DeadlineExceeded}
			if lost {
				within.why = context.Canceled
			}
			done := moves(within, b, rec)
			d.to = b.Addr()
			inv := d.request("INVITE")
			close(within.done)
			if o := <-done; o.err == nil {
				t.Error("no error")
			}
			if !lost {
				bye := d.request("BYE")
				d.peer.respond(inv, 200, "OK", "", offerSDP(2, 40000))
				d.request("ACK")
				d.peer.respond(bye, 200, "OK", "", "")
			}
			for limit := time.Now().Add(patience); b.Legs() > 0; time.Sleep(time.Millisecond) {
				if time.Now().After(limit) {
					t.Fatalf("%d legs are left", b.Legs())
				}
			}
		})
	}
}

// A call that comes from another node is no new call: a full box takes it.
func TestFullBoxGoesOnWithCallsOfOthers(t *testing.T) {
	t.Parallel()
	a, tr, d, l, _ := callFor(t, "uas", 40000)
	rec := l.Record()
	crash(t, a)
	acc := newAcceptor()
	b := startAgent(t, acc, tr, func(c *Config) { c.MaxLegs = 1 })
	here := d.peer.caller(b)
	own := establish(t, acc, here)
	done := moves(ctx, b, rec)
	d.to = b.Addr()
	inv := d.request("INVITE")
	d.peer.respond(inv, 200, "OK", "", offerSDP(2, 40000))
	d.request("ACK")
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	event(t, o.leg, bridge.MediaChanged)
	d.uri = inv.Contact().Address.String()
	hangUp(t, d, o.leg)
	hangUp(t, here, own)
}

// The hang-up of a call whose node has died comes to another one: that is the end
// of the call, and nobody is asked to follow.
func TestHangUpAtAnotherNode(t *testing.T) {
	t.Parallel()
	a, tr, d, l, _ := callFor(t, "uas", 40000)
	rec := l.Record()
	crash(t, a)
	legs := make(chan bridge.Leg, 1)
	var b atomic.Pointer[Agent]
	b.Store(startAgent(t, newAcceptor(), tr, func(c *Config) {
		c.Claim = func(ctx context.Context, _ string) (bool, error) {
			o := <-moves(ctx, b.Load(), rec)
			legs <- o.leg
			return o.err == nil, o.err
		}
	}))
	d.to = b.Load().Addr()
	d.do("BYE", "")
	again := <-legs
	if again == nil {
		t.Fatal("not taken over")
	}
	ev := event(t, again, bridge.Ended)
	if ev.Cause.Code != bridge.CauseNormal.Code {
		t.Errorf("ended with %v", ev.Cause)
	}
	if ev.Stored != nil {
		ev.Stored()
	}
	d.answer(200, "BYE")
	closed(t, again)
}

// A call that was let go of when this node was cut off is asked for when it is back,
// and the peer hears nothing before.
func TestCallThatWasLeftIsAskedFor(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	acc := newAcceptor()
	var silent atomic.Bool
	var a atomic.Pointer[Agent]
	recs, legs := make(chan bridge.LegRecord, 1), make(chan bridge.Leg, 1)
	a.Store(startAgent(t, acc, Trunk{Peer: p.addr().String()}, func(c *Config) {
		c.Silent = silent.Load
		c.Claim = func(ctx context.Context, _ string) (bool, error) {
			l, err := a.Load().Resume(ctx, bridge.Resumption{LegRecord: <-recs, State: bridge.StateAnswered})
			legs <- l
			return err == nil, err
		}
	}))
	d := p.caller(a.Load())
	l := establish(t, acc, d)
	recs <- l.Record()
	silent.Store(true)
	l.(bridge.Abandoner).Abandon()
	closed(t, l)
	d.do("INFO", "")
	other := p.caller(a.Load())
	other.do("OPTIONS", "")
	other.status(200, "OPTIONS") // behind the INFO
	select {
	case <-legs:
		t.Error("asked for too early")
	default:
	}
	silent.Store(false)
	d.do("INFO", "")
	again := <-legs
	d.answer(200, "INFO")
	hangUp(t, d, again)
}

// A leg is not given away in the middle of an exchange with its peer.
func TestLegStaysUntilItsExchangesAreOver(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	l := establish(t, acc, d)
	stays := l.(bridge.Yielder).Stays
	settles := func(when string) {
		t.Helper()
		for limit := time.Now().Add(patience); stays(); time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("it stays %s", when)
			}
		}
	}
	settles("when the call is up")
	d.do("INVITE", offerSDP(2, 40010))
	ev := unstored(t, l, bridge.MediaChanged)
	if !stays() {
		t.Error("it goes while a re-INVITE waits for the record")
	}
	ev.Stored()
	d.learn(d.answer(200, "INVITE"))
	if !stays() {
		t.Error("it goes before the ACK")
	}
	d.ack("")
	settles("after the ACK")
	if err := l.(bridge.Adapter).Adapt(ctx, bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}}); err != nil {
		t.Fatal(err)
	}
	inv := d.request("INVITE")
	if !stays() {
		t.Error("it goes while its own re-INVITE has no answer")
	}
	d.peer.respond(inv, 488, "No", "", "")
	d.request("ACK")
	event(t, l, bridge.MediaChanged)
	settles("after the refusal")
	hangUp(t, d, l)
}

// A peer that asks who we are asks the node where the call goes on, too.
func TestMovedBehindALogin(t *testing.T) {
	t.Parallel()
	c, port := mediaSocket(t)
	p := newPeer(t)
	tr := Trunk{Peer: p.addr().String()}
	login(&tr)
	acc := newAcceptor()
	a := startAgent(t, acc, tr)
	d := p.caller(a)
	d.invite(offerSDP(1, port))
	l := acc.next(t)
	answer(t, l)
	d.learn(d.status(200, "INVITE"))
	d.ack("")
	confirmedNow(t, l)
	rec := l.Record()
	crash(t, a)
	b := startAgent(t, newAcceptor(), tr)
	done := moves(ctx, b, rec)
	d.to = b.Addr()
	first := d.request("INVITE")
	d.peer.respond(first, 407, "Who Are You", "", "", `Proxy-Authenticate: Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"`)
	d.request("ACK")
	inv := d.request("INVITE")
	if len(headerValues(inv, "Proxy-Authorization")) != 1 || inv.CSeq().SeqNo != first.CSeq().SeqNo+1 || string(inv.Body()) != string(first.Body()) {
		t.Errorf("%s", inv)
	}
	d.peer.respond(inv, 200, "OK", "", offerSDP(2, port))
	if ack := d.request("ACK"); len(headerValues(ack, "Proxy-Authorization")) != 1 {
		t.Errorf("%s", ack)
	}
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	event(t, o.leg, bridge.MediaChanged)
	speak(o.leg, 1)
	heard(t, c)
	d.uri = inv.Contact().Address.String()
	hangUp(t, d, o.leg)
}
