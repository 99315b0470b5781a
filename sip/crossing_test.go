package sip

import (
	"fmt"
	"testing"

	"riptide/bridge"
)

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
