package main_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
	"riptide/sip/siptest"
)

// mobileNumber is on a third trunk of the SBC, the target of transfers.
const mobileNumber = "+12025550777"

// withMobile adds that trunk, and lets the PBX transfer calls to it.
func withMobile(config string) string {
	config = strings.Replace(config, "  pbx:\n", "  pbx:\n    transfer: allow\n", 1)
	config = strings.Replace(config, "routes:\n", "routes:\n  - {from: pbx, to: \""+mobileNumber+"\", trunk: mobile}\n", 1)
	return strings.Replace(config, "  carrier:\n", `  mobile:
    sip:
      peer: 198.51.100.20:5070
      match: 198.51.100.21/32
      listen: "198.51.100.10:5060"
      advertise: 198.51.100.10
  carrier:
`, 1)
}

// TestDialogsWithSipp: what sipp does to a running call, or before it is
// answered, on one leg of an SBC; the other leg is none the worse for it.
func TestDialogsWithSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "prack", "sipp")
	siptest.Shows(t, "hold", "sipp")
	siptest.Shows(t, "timers", "sipp")
	siptest.Shows(t, "reinvite", "sipp")
	siptest.Shows(t, "late-offer", "sipp")
	siptest.Shows(t, "early-media", "sipp")
	s := startSBC(t)
	timer := []string{"Supported: timer", "Session-Expires: 90;refresher=uac"}
	reliable := []string{"Require: 100rel"}
	for _, tc := range []struct {
		name     string
		uac, uas siptest.Scenario
		caller   siptest.Script
		callee   siptest.Script
	}{
		{"reliable on both legs", siptest.UACReliable, siptest.UASReliable, siptest.Script{HoldMS: 100, Headers: reliable}, siptest.Script{RingMS: 100}},
		{"reliable for the caller", siptest.UACReliable, siptest.UASEarly, siptest.Script{HoldMS: 100, Headers: reliable}, siptest.Script{RingMS: 200}},
		{"reliable for the callee", siptest.UAC, siptest.UASReliable, siptest.Script{HoldMS: 100}, siptest.Script{RingMS: 100}},
		{"refresh, hold, resume, late offer", siptest.UACChanges, siptest.UAS, siptest.Script{HoldMS: 200, Headers: timer}, siptest.Script{RingMS: 50}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			uas := siptest.Sipp{Scenario: tc.uas, Script: tc.callee, Netns: s.carrier, Port: 5060, Calls: 3}.Start(t)
			tc := tc
			tc.caller.From = officeNumber
			siptest.Sipp{Scenario: tc.uac, Script: tc.caller, Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber, Calls: 3}.Start(t).Check(t, 3)
			uas.Check(t, 3)
		})
	}
	s.node.settle(t)
}

// TestTransferWithSipp: REFER of a PBX, carried out over a third trunk, and
// refused to a carrier.
func TestTransferWithSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "transfer", "sipp")
	s := startSBC(t, withMobile)
	t.Run("allowed", func(t *testing.T) {
		target := siptest.Sipp{Scenario: siptest.UASHangsUp, Script: siptest.Script{RingMS: 100, HoldMS: 500}, Netns: s.carrier, Port: 5070}.Start(t)
		callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Netns: s.carrier, Port: 5060}.Start(t)
		siptest.Sipp{
			Scenario: siptest.UACTransfers, Script: siptest.Script{From: officeNumber, HoldMS: 100, Status: 202, Target: mobileNumber},
			Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
		}.Start(t).Check(t, 1)
		target.Check(t, 1)
		callee.Check(t, 1)
	})
	t.Run("refused", func(t *testing.T) {
		callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Netns: s.pbx, Port: 5060}.Start(t)
		siptest.Sipp{
			Scenario: siptest.UACTransfers, Script: siptest.Script{From: outsideNumber, HoldMS: 100, Status: 603, Target: mobileNumber},
			Netns: s.carrier, Port: 5060, Remote: s.outside, Service: officeNumber,
		}.Start(t).Check(t, 1)
		callee.Check(t, 1)
	})
	s.node.settle(t)
}

// TestTransferWithBaresip: a telephone of the PBX sends its caller on; the two
// that stay hear each other.
func TestTransferWithBaresip(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "transfer", "baresip")
	s := startSBC(t, withMobile)
	a := siptest.Baresip{Netns: s.pbx, Port: 5060, User: officeNumber, Hz: 620}.Start(t)
	b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040}.Start(t)
	c := siptest.Baresip{Netns: s.carrier, Port: 5070, User: mobileNumber, Hz: 1480}.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.connect(t, ctx, a, b)
	if err := a.Transfer("sip:" + mobileNumber + "@" + s.inside); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Await(ctx, "CALL_ESTABLISHED", 0); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Await(ctx, "CALL_CLOSED", 0); err != nil {
		t.Fatalf("who transferred is still in the call: %v", err)
	}
	time.Sleep(3 * time.Second)
	if err := b.HangUp(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Await(ctx, "CALL_CLOSED", 0); err != nil {
		t.Fatalf("the target was not hung up: %v", err)
	}
	s.node.settle(t)
	hearsTone(t, c, 1040)
	samples, rate, err := b.Recording()
	if err != nil {
		t.Fatal(err)
	}
	if tone := bridgetest.ToneLevel(samples[max(0, len(samples)-2*rate):], rate); !tone.Is(1480) {
		t.Errorf("at the end %s heard %v, want 1480 Hz", b.URI, tone)
	}
}

// TestSessionTimersOfSipp: of a call with sessions of 90 s on both legs, the callee
// is refreshed by us, and the caller, who does not refresh, is hung up on.
func TestSessionTimersOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "timers", "sipp")
	s := startSBC(t, func(config string) string {
		return strings.Replace(config, "  carrier:\n    sip:\n", "  carrier:\n    sip:\n      timer: require\n      timer-interval: 90s\n", 1)
	})
	uas := siptest.Sipp{Scenario: siptest.UASRefreshed, Script: siptest.Script{RingMS: 50}, Netns: s.carrier, Port: 5060, Timeout: 3 * time.Minute}.Start(t)
	siptest.Sipp{
		Scenario: siptest.UACHearsBye, Script: siptest.Script{From: officeNumber, Headers: []string{"Supported: timer", "Session-Expires: 90;refresher=uac"}, Reason: "expired"},
		Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber, Timeout: 3 * time.Minute,
	}.Start(t).Check(t, 1)
	uas.Check(t, 1)
	s.node.settle(t)
}
