package sip

import (
	"errors"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// within runs f in the mailbox of a leg and waits for it.
func within(t *testing.T, l bridge.Leg, f func(l *Leg)) {
	t.Helper()
	leg := l.(*Leg)
	if err := leg.box.do(ctx, func() { f(leg) }); err != nil {
		t.Fatal(err)
	}
}

// A refresh whose interval is too small, and which cannot be sent again at once,
// is sent later: without another one the session would run out.
func TestRefreshAfter422ThatCannotBeSent(t *testing.T) {
	t.Parallel()
	d, l, _ := timed(t, Trunk{second: shortSecond}, "Supported: timer", "Session-Expires: 300;refresher=uas")
	inv := d.request("INVITE")
	var scheme string
	within(t, l, func(l *Leg) { scheme, l.dlg.target.Scheme = l.dlg.target.Scheme, "sips" }) // no way there is over UDP
	d.respond(inv, 422, "Session Interval Too Small", "", "", "Min-SE: 400")
	d.request("ACK")
	within(t, l, func(l *Leg) { // behind the 422
		if l.reinvite != nil || l.terms.seconds != 400 {
			t.Errorf("another refresh is under way: %+v", l.reinvite)
		}
		l.dlg.target.Scheme = scheme
	})
	again := d.request("INVITE")
	sessionHeader(t, again, "400;refresher=uac")
	d.respond(again, 200, "OK", "", offerSDP(1, 40000), "Session-Expires: 400;refresher=uac")
	d.request("ACK")
	hangUp(t, d, l)
}

// A refresh that is due while the peer has yet to acknowledge an answer of ours
// is made when it has.
func TestRefreshDueBeforeTheACK(t *testing.T) {
	t.Parallel()
	d, l, _ := timed(t, Trunk{}, "Supported: timer", "Session-Expires: 1800;refresher=uas")
	d.do("INVITE", offerSDP(1, 40000), "Supported: timer", "Session-Expires: 1800;refresher=uas")
	d.answer(200, "INVITE")
	within(t, l, func(l *Leg) { l.refreshIn(0) })
	time.Sleep(20 * time.Millisecond)
	d.ack("")
	again := d.request("INVITE")
	d.respond(again, 200, "OK", "", offerSDP(1, 40000), "Session-Expires: 1800;refresher=uac")
	d.request("ACK")
	hangUp(t, d, l)
}

// A change before the answer whose record takes forever is confirmed in the end,
// though the call is answered meanwhile, and does not stand in the way of the
// next.
func TestEarlyChangeThatIsNeverOnRecord(t *testing.T) {
	t.Parallel()
	a, p, l, inv := dialled(t)
	p.respond(inv, 183, "Session Progress", "a", offerSDP(1, 41000), "Require: 100rel", "RSeq: 1")
	p.respond(p.request("PRACK"), 200, "OK", "", "")
	event(t, l, bridge.Proceeding)
	d := answeredBy(p, a, inv, "a")
	d.do("UPDATE", muLaw(2))
	if ev := <-l.Events(); ev.Kind != bridge.MediaChanged {
		t.Fatalf("event %v", ev.Kind)
	}
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	p.request("ACK")
	event(t, l, bridge.Answered)
	d.answer(200, "UPDATE")
	d.do("INVITE", offerSDP(3, 41000))
	event(t, l, bridge.MediaChanged)
	d.answer(200, "INVITE")
	d.ack("")
	end(t, p, l)
}

// What the bridge wanted while a refresh was under way is asked for also when
// that came to nothing.
func TestWishAfterABrokenRefresh(t *testing.T) {
	t.Parallel()
	d, l, _ := timed(t, Trunk{}, "Supported: timer", "Session-Expires: 1800;refresher=uas")
	within(t, l, func(l *Leg) { l.refreshIn(0) })
	refresh := d.request("INVITE")
	if err := l.(*Leg).Adapt(ctx, bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}}); err != nil {
		t.Fatal(err)
	}
	within(t, l, func(l *Leg) { l.onUnoffered(l.reinvite, errors.New("the connection is gone")) })
	wish := d.await("another re-INVITE", func(m sipgo.Message) bool {
		return isRequest(m, "INVITE") && m.CSeq().SeqNo > refresh.CSeq().SeqNo
	}).(*sipgo.Request)
	d.respond(wish, 200, "OK", "", muLaw(2))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU {
		t.Errorf("told %+v", ev.Plan)
	}
	hangUp(t, d, l)
}
