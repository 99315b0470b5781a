package main_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// size is a number for every run, or the number for `make soak`, which
// runs alone on the machine.
func size(every, soak int) int {
	if os.Getenv("RIPTIDE_SOAK") != "" {
		return soak
	}
	return every
}

const (
	officeNumber = "+12025550100"
	telcoNumber  = "+12025550199"
)

// TestSoakThousandCalls: sipp calls sipp through two bridges, in both directions
// at once, 50 calls a second each, and nothing fails.
func TestSoakThousandCalls(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "udp", "sipp")
	calls, rate := size(150, 1000), 50.0
	toTelco := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Calls: calls, Timeout: 3 * time.Minute}.Start(t)
	toOffice := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Calls: calls, Timeout: 3 * time.Minute}.Start(t)
	p := startPair(t, pairOptions{args: []string{"--to", toTelco.Addr, "--from", toOffice.Addr}})
	out := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 200},
		Remote: p.office.sip, Service: telcoNumber, Calls: calls, Rate: rate, Timeout: 3 * time.Minute,
	}.Start(t)
	back := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: telcoNumber, HoldMS: 200},
		Remote: p.telco.sip, Service: officeNumber, Calls: calls, Rate: rate, Timeout: 3 * time.Minute,
	}.Start(t)
	for _, run := range []*siptest.SippRun{out, back, toTelco, toOffice} {
		r := run.Check(t, calls)
		t.Logf("%s: %d calls, %d failed, %d retransmissions, mean set-up %v", run.Addr, r.Successful, r.Failed, r.Retransmissions, r.ResponseTime)
	}
	p.settle()
	for _, n := range []node{p.office, p.telco} {
		if ended := sum(n.metrics(t), "riptide_calls_total", `cause="normal"`); ended != 2*calls {
			t.Errorf("%s counted %d normal calls, want %d", n.name, ended, 2*calls)
		}
	}
}

// TestCausesOverTheWire: what the callee answers is what the caller hears, for
// every row of the table that a SIP peer can cause.
func TestCausesOverTheWire(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "causes", "sipp")
	callee := siptest.FreePorts(t, nil, "127.0.0.1", 2)
	addr := fmt.Sprintf("127.0.0.1:%d", callee)
	p := startPair(t, pairOptions{args: []string{"--to", addr}})
	for _, status := range []int{
		400, 403, 404, 408, 410, 415, 420, 433, 480, 482, 483, 484, 485, 486, 488,
		500, 501, 502, 503, 504, 600, 603, 604, 606, 607, 608,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			uas := siptest.Sipp{Scenario: siptest.UASRefuses, Script: siptest.Script{Status: status, RingMS: 20}, Port: callee}.Start(t)
			siptest.Sipp{
				Scenario: siptest.UACRefused, Script: siptest.Script{From: officeNumber, Status: status},
				Remote: p.office.sip, Service: telcoNumber,
			}.Start(t).Check(t, 1)
			uas.Check(t, 1)
		})
	}
}

// TestWaysToEnd: every other way a call ends, with sipp at both ends.
func TestWaysToEnd(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "hangup", "sipp")
	siptest.Shows(t, "cancel", "sipp")
	siptest.Shows(t, "early-media", "sipp")
	callee := siptest.FreePorts(t, nil, "127.0.0.1", 2)
	p := startPair(t, pairOptions{args: []string{"--to", fmt.Sprintf("127.0.0.1:%d", callee)}})
	for _, tc := range []struct {
		name     string
		uac, uas siptest.Scenario
		caller   siptest.Script
		callee   siptest.Script
	}{
		{"caller hangs up", siptest.UAC, siptest.UAS, siptest.Script{HoldMS: 100}, siptest.Script{RingMS: 50}},
		{"callee hangs up", siptest.UACHearsBye, siptest.UASHangsUp, siptest.Script{}, siptest.Script{RingMS: 50, HoldMS: 100}},
		{"callee hangs up with a cause", siptest.UACHearsBye, siptest.UASHangsUp, siptest.Script{Reason: "cause=31"}, siptest.Script{HoldMS: 100, Headers: []string{`Reason: Q.850;cause=31;text="Normal, unspecified"`}}},
		{"caller gives up", siptest.UACCancel, siptest.UASRings, siptest.Script{RingMS: 100}, siptest.Script{RingMS: 50}},
		{"early media", siptest.UAC, siptest.UASEarly, siptest.Script{HoldMS: 100}, siptest.Script{RingMS: 200}},
		{"busy says why", siptest.UACRefused, siptest.UASRefuses, siptest.Script{Status: 486, Reason: "cause=17"}, siptest.Script{Status: 486}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			uas := siptest.Sipp{Scenario: tc.uas, Script: tc.callee, Port: callee}.Start(t)
			tc.caller.From = officeNumber
			siptest.Sipp{Scenario: tc.uac, Script: tc.caller, Remote: p.office.sip, Service: telcoNumber}.Start(t).Check(t, 1)
			uas.Check(t, 1)
		})
	}
	p.settle()
}

// TestCrossings: messages that cross on the way, and one that never arrives.
func TestCrossings(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "cancel-glare", "sipp")
	siptest.Shows(t, "lost-ack", "sipp")
	for _, tc := range []struct {
		name     string
		uac, uas siptest.Scenario
		caller   siptest.Script
		callee   siptest.Script
	}{
		// sipgo's dialogs leave the callee of this one in a call with nobody.
		{"the answer crosses CANCEL", siptest.UACCancel, siptest.UASLate, siptest.Script{RingMS: 100}, siptest.Script{}},
		{"CANCEL crosses the answer", siptest.UACCancelLate, siptest.UAS, siptest.Script{}, siptest.Script{RingMS: 50}},
		{"the ACK is lost", siptest.UACNoACK, siptest.UAS, siptest.Script{Reason: "cause=102"}, siptest.Script{RingMS: 50}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			uas := siptest.Sipp{Scenario: tc.uas, Script: tc.callee, Timeout: 2 * time.Minute}.Start(t)
			p := startPair(t, pairOptions{args: []string{"--to", uas.Addr}})
			tc.caller.From = officeNumber
			siptest.Sipp{
				Scenario: tc.uac, Script: tc.caller, Remote: p.office.sip, Service: telcoNumber, Timeout: 2 * time.Minute,
			}.Start(t).Check(t, 1)
			uas.Check(t, 1)
			p.settle()
		})
	}
}

// TestForkedAnswers: a callee behind a forking proxy answers twice. One answer is
// the call; the other is acknowledged and hung up.
func TestForkedAnswers(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "forked", "scripted")
	callee := &siptest.Forker{Branches: 3}
	p := startPair(t, pairOptions{args: []string{"--to", callee.Start(t)}})
	caller := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 3000}, Remote: p.office.sip, Service: telcoNumber,
	}.Start(t)
	// Looked at while the call is up: after it the kept answer is hung up too.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	kept, err := callee.Await(ctx)
	if err != nil {
		t.Fatal(err)
	}
	caller.Check(t, 1)
	t.Logf("kept %s", kept)
	p.settle()
}

// TestUnreachableCallee: nobody listens where the telco sends calls.
func TestUnreachableCallee(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		args   []string
		status int
	}{
		{"TCP refused", []string{"--tcp"}, 503},
		{"UDP silent", nil, 408}, // after Timer B, 32 s
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			nobody := fmt.Sprintf("127.0.0.1:%d", siptest.FreePorts(t, nil, "127.0.0.1", 2))
			p := startPair(t, pairOptions{args: append([]string{"--to", nobody}, tc.args...)})
			siptest.Sipp{
				Scenario: siptest.UACRefused, Script: siptest.Script{From: officeNumber, Status: tc.status, Reason: "RIPT|Q.850|text"},
				Remote: p.office.sip, Service: telcoNumber, Timeout: 2 * time.Minute,
			}.Start(t).Check(t, 1)
			p.settle()
		})
	}
}
