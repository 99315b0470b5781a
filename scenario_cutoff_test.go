package main_test

import (
	"context"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// TestCutOffAndKilled: boxes in networks of their own. One is cut off from the
// others, though not from the telephones: it sends nothing more, neither media nor
// signalling, and refuses new calls; the other goes on with its calls. When it is
// back it leaves them alone, until the other one is killed, who leaves them alone
// in his turn. Never did two have the same call, say the logs of both.
func TestCutOffAndKilled(t *testing.T) {
	t.Parallel()
	const calls = 3
	b := newBoxes(t, boxesOptions{calls: calls, apart: true})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	w := b.startConversations(ctx, "one")
	w.heard(ctx, 100)

	b.cutOff("one")
	b.nodes["one"].awaitLogged(t, `"calls fenced`, 1)
	silent := b.sent("one")
	b.nodes["two"].awaitLogged(t, `"call resumed"`, calls)
	w.heard(ctx, 100)
	if sent := b.sent("one"); sent != silent {
		t.Errorf("a node that is cut off sent %d packets more", sent-silent)
	}
	siptest.Sipp{
		Scenario: siptest.UACRefused, Script: siptest.Script{From: officeNumber, Status: 503},
		Netns: b.phones, Remote: b.nodes["one"].sip, Service: b.number(0),
	}.Start(t).Check(t, 1)

	silent = b.sent("one")
	b.rejoin("one")
	b.nodes["one"].awaitReady(t, "")
	time.Sleep(2 * time.Second) // in which it would look for calls to take over
	w.heard(ctx, 50)
	if sent := b.sent("one"); sent != silent {
		t.Errorf("a node that is back sent %d packets for calls that another has", sent-silent)
	}

	b.kill("two")
	b.nodes["one"].awaitLogged(t, `"call claimed"`, calls)
	w.heard(ctx, 100)
	b.start("two")
	b.nodes["two"].awaitReady(t, "")
	w.heard(ctx, 50)
	t.Logf("longest silence of each call: %s", w.longest())
	w.hangUp(ctx)
	b.nodes["one"].settle(t)
	moves, closest := readOwners(t, b.logs).check(t)
	t.Logf("%d times a call went from one node to another, and was nobody's for %v at least", moves, closest)
	if moves != 2*calls {
		t.Errorf("calls went from one node to another %d times, want %d", moves, 2*calls)
	}
}
