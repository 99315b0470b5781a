package sip

import (
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
