package main_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// TestStoreLeaderKilledWhileCallsAreSetUp: those that share a store are killed in
// turn, so that one that leads it is (a short run ends with that), while calls are
// set up and answered at a node that lives. Running calls are not hurt. A new call that cannot be put on
// record is refused with 503 before it rings; none waits for ever, and none is half
// a call.
func TestStoreLeaderKilledWhileCallsAreSetUp(t *testing.T) {
	t.Parallel()
	const held = 2
	rate, seconds := size(5, 20), size(8, 15)
	b := newBoxes(t, boxesOptions{calls: held})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w := b.startConversations(ctx, "one")
	w.heard(ctx, 100)
	host, _, _ := strings.Cut(b.callees[held], ":")
	callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 100}, Host: host, Port: 5060, Calls: 100_000, Timeout: 5 * time.Minute}.Start(t)
	for _, victim := range []string{"witness", "two", "one"} {
		by := map[bool]string{true: "two", false: "one"}[victim == "one"]
		calls := rate * seconds
		caller := siptest.Sipp{
			Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 300}, Host: b.pbx,
			Remote: b.nodes[by].sip, Service: b.number(held), Calls: calls, Rate: float64(rate), Timeout: 2 * time.Minute,
		}.Start(t)
		time.Sleep(2 * time.Second)
		b.kill(victim)
		r, err := caller.Result(ctx)
		if err != nil {
			t.Fatal(err)
		}
		refused := strings.Count(b.nodes[by].logText(t), `"msg":"call refused"`)
		t.Logf("%s killed: %d calls at %s, %d refused with 503, %d went well; longest silence of those that are held: %s", victim, r.Created, by, r.Unexpected, r.Successful, w.longest())
		if r.TimedOut > 0 || r.Failed != r.Unexpected || r.Successful+r.Failed != calls || refused < r.Failed {
			t.Errorf("%s killed: %+v, %d refused at %s\n%s", victim, r, refused, by, caller.Trouble())
		}
		if messages := caller.Messages(); strings.Count(messages, "SIP/2.0 5") != strings.Count(messages, "SIP/2.0 503") {
			t.Errorf("%s killed: calls were refused with another status than 503", victim)
		}
		w.heard(ctx, 50)
		b.start(victim)
		b.nodes[victim].awaitReady(t, "")
		if led := r.Failed > 0; led && size(1, 0) == 1 {
			break
		}
	}
	w.hangUp(ctx)
	for _, name := range []string{"one", "two"} {
		b.nodes[name].settle(t)
	}
	callee.Stop()
	readOwners(t, b.logs).check(t)
}
