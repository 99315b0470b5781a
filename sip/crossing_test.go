package sip

import (
	"fmt"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// unstored waits for an event and leaves it unacknowledged: the store is slow.
func unstored(t *testing.T, l bridge.Leg, kind bridge.EventKind) bridge.Event {
	t.Helper()
	select {
	case ev := <-l.Events():
		if ev.Kind != kind || ev.Stored == nil {
			t.Fatalf("event %v (%v), want %v", ev.Kind, ev.Cause, kind)
		}
		return ev
	case <-time.After(patience):
		t.Fatalf("no %v event", kind)
	}
	return bridge.Event{}
}

// RFC 3262 section 3: who answers while a provisional answer is unacknowledged
// has to be ready for its PRACK. A 481 would tell the caller that there is no call.
func TestPRACKCrossesTheAnswer(t *testing.T) {
	t.Parallel()
	d, l := ringing(t, Trunk{}, offerSDP(1, 40000), "Require: 100rel")
	progress(t, l, bridge.Progress{Alerting: true})
	_, rseq := d.reliable(180)
	answer(t, l)
	d.status(200, "INVITE")
	d.prack(rseq, "")
	d.answer(200, "PRACK")
	d.prack(rseq+1, "") // which was never sent
	d.answer(481, "PRACK")
	d.ackLast(1)
	hangUp(t, d, l)
}

// A re-INVITE or UPDATE that waits for the store when we hang up gets its answer
// (RFC 3261 section 15.1.2), and not a 200 when the call is over.
func TestHangUpDuringAChange(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"INVITE", "UPDATE"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			_, d, l := running(t)
			d.do(method, offerSDP(2, 40010))
			change := unstored(t, l, bridge.MediaChanged)
			if err := l.End(ctx, bridge.CauseNormal); err != nil {
				t.Fatal(err)
			}
			change.Stored()
			if res := d.final(method); res.StatusCode != 487 {
				t.Errorf("%s", res)
			}
			d.respond(d.request("BYE"), 200, "OK", "", "") // it may be a repetition
			closed(t, l)
		})
	}
}

// The same when the caller cancels while its offer in a PRACK, or in an UPDATE
// before the answer, waits for the store.
func TestCancelDuringAChange(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"PRACK", "UPDATE"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			d, l := ringing(t, Trunk{}, offerSDP(1, 40000), "Require: 100rel")
			progress(t, l, bridge.Progress{Early: &pcma})
			_, rseq := d.reliable(183)
			if method == "PRACK" {
				d.prack(rseq, muLaw(2))
			} else {
				d.prack(rseq, "")
				d.answer(200, "PRACK")
				d.do("UPDATE", muLaw(2))
			}
			change := unstored(t, l, bridge.MediaChanged)
			d.send(d.make("CANCEL", 1, d.branch, ""))
			d.status(487, "INVITE")
			change.Stored()
			if res := d.final(method); res.StatusCode != 487 {
				t.Errorf("%s", res)
			}
			event(t, l, bridge.Ended)
			closed(t, l)
		})
	}
}

// final is the final answer to the last request.
func (d *dlg) final(method string) *sipgo.Response {
	d.t.Helper()
	return d.await("final answer to "+method, func(m sipgo.Message) bool {
		res, ok := m.(*sipgo.Response)
		return ok && res.StatusCode >= 200 && string(res.CSeq().MethodName) == method && int(res.CSeq().SeqNo) == d.seq
	}).(*sipgo.Response)
}

// Two branches answer our offer reliably, and the one that we did not hear picks
// up: its 200 need not say again what its 183 said (RFC 6337 section 3.1.1).
func TestSecondReliableForkAnswers(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t)
	for i, tag := range []string{"a", "b"} {
		body := offerSDP(1, 41000)
		if tag == "b" {
			body = muLaw(1)
		}
		p.respond(inv, 183, "Session Progress", tag, body, "Require: 100rel", fmt.Sprintf("RSeq: %d", 7+i))
		p.respond(p.request("PRACK"), 200, "OK", "", "")
	}
	event(t, l, bridge.Proceeding)
	p.respond(inv, 200, "OK", "b", "")
	p.request("ACK")
	if ev := event(t, l, bridge.Answered); ev.Plan == nil || ev.Plan.Speech != bridge.PCMU {
		t.Errorf("answered with %+v", ev.Plan)
	}
	end(t, p, l)
}

// A refresh of ours and the peer's hold cross: both are refused, the peer's is
// repeated and taken, and the session is still refreshed.
func TestRefreshCrossesTheHoldOfThePeer(t *testing.T) {
	t.Parallel()
	d, l, _ := timed(t, Trunk{second: 2 * shortSecond}, "Supported: timer", "Session-Expires: 90;refresher=uas")
	inv := d.request("INVITE")
	d.do("INVITE", offerSDP(2, 40000, "a=sendonly"))
	d.answer(491, "INVITE")
	d.send(d.make("ACK", d.seq, d.last, ""))
	d.respond(inv, 491, "Request Pending", "", "")
	d.request("ACK")
	d.do("INVITE", offerSDP(2, 40000, "a=sendonly"))
	if ev := event(t, l, bridge.MediaChanged); !ev.Held {
		t.Errorf("%+v", ev)
	}
	d.answer(200, "INVITE")
	d.ack("")
	inv = d.request("INVITE")
	sessionHeader(t, inv, "90;refresher=uac")
	d.respond(inv, 200, "OK", "", offerSDP(2, 40000, "a=sendonly"), "Session-Expires: 90;refresher=uac", "Require: timer")
	d.request("ACK")
	hangUp(t, d, l)
}
