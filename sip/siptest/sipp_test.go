package siptest

import (
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Every scenario has a counterpart, so each pair is a test of both.
func TestSippCallsSipp(t *testing.T) {
	Need(t, "sipp")
	busy := Script{Status: 486, Phrase: "Busy Here", Headers: []string{`Reason: Q.850;cause=17;text="User busy"`}, Reason: "Q.850;cause=17"}
	for _, c := range []struct {
		name           string
		caller, callee Scenario
		call, answer   Script
		tcp            bool
	}{
		{"answered", UAC, UAS, Script{HoldMS: 100}, Script{RingMS: 50}, false},
		{"answered at once", UAC, UAS, Script{HoldMS: 100}, Script{}, false},
		{"over TCP", UAC, UAS, Script{HoldMS: 100}, Script{RingMS: 50}, true},
		{"A-law", UAC, UAS, Script{HoldMS: 100, Payload: 8}, Script{Payload: 8}, false},
		{"early media", UAC, UASEarly, Script{HoldMS: 100}, Script{RingMS: 100}, false},
		{"early media, acknowledged", UACReliable, UASReliable, Script{HoldMS: 100, Headers: []string{"Require: 100rel"}}, Script{RingMS: 100}, false},
		{"hung up on", UACHearsBye, UASHangsUp, Script{}, Script{HoldMS: 100}, false},
		{"hung up on with a reason", UACHearsBye, UASHangsUp, Script{Reason: "cause=16"}, Script{HoldMS: 50, Headers: []string{"Reason: Q.850;cause=16"}}, false},
		{"busy", UACRefused, UASRefuses, busy, busy, false},
		{"declined after ringing", UACRefused, UASRefuses, Script{Status: 603}, Script{Status: 603, Phrase: "Decline", RingMS: 50}, false},
		{"no answer", UACRefused, UASRefuses, Script{Status: 480}, Script{Status: 480, RingMS: 200}, false},
		{"caller gives up", UACCancel, UASRings, Script{RingMS: 50}, Script{}, false},
		{"CANCEL crosses the answer", UACCancelLate, UASCancelledLate, Script{}, Script{}, false},
		{"the answer crosses CANCEL", UACCancelAnswered, UASLate, Script{RingMS: 50}, Script{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			callee := Sipp{Scenario: c.callee, Script: c.answer, TCP: c.tcp, Calls: 3}.Start(t)
			caller := Sipp{Scenario: c.caller, Script: c.call, TCP: c.tcp, Calls: 3, Remote: callee.Addr}.Start(t)
			caller.Check(t, 3)
			callee.Check(t, 3)
		})
	}
}

// TestSippTalksUntilToldToHangUp: calls that have no time of their own end when
// the test says so, and not before.
func TestSippTalksUntilToldToHangUp(t *testing.T) {
	t.Parallel()
	const calls = 3
	callee := Sipp{Scenario: UASGoesOn, Script: Script{RingMS: 20}, Calls: calls, Echo: true}.Start(t)
	caller := Sipp{Scenario: UACGoesOn, Script: Script{MediaFile: ToneFile(t, 440, 0)}, Calls: calls, Remote: callee.Addr}.Start(t)
	for end := time.Now().Add(30 * time.Second); caller.Noted(NoteAnswered) < calls; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d calls were answered\n%s", caller.Noted(NoteAnswered), caller.Trouble())
		}
	}
	select {
	case <-caller.Done():
		t.Fatal("sipp ended by itself")
	default:
	}
	caller.HangUp(t)
	caller.Check(t, calls)
	callee.Check(t, calls)
}

func TestSippSaysWhatFailed(t *testing.T) {
	t.Parallel()
	callee := Sipp{Scenario: UASRefuses, Script: Script{Status: 404, Phrase: "Not Found"}}.Start(t)
	caller := Sipp{Scenario: UACRefused, Script: Script{Status: 486}, Remote: callee.Addr, Timeout: 20 * time.Second}.Start(t)
	res, err := caller.Result(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res.Successful != 0 || res.Failed != 1 || res.Unexpected != 1 || res.Status == 0 {
		t.Errorf("%+v", res)
	}
	if !strings.Contains(caller.Trouble(), "404") {
		t.Errorf("the errors do not name the status: %s", caller.Trouble())
	}
}

func TestScenariosAreXML(t *testing.T) {
	files, err := scenarioFiles.ReadDir("scenarios")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name, isXML := strings.CutSuffix(filepath.Base(f.Name()), ".xml")
		if !isXML {
			continue
		}
		for _, s := range []Script{{}, {MediaFile: "/x.raw", Payload: 8, Reason: "x", RingMS: 1, Headers: []string{"X: y"}, Rings: true, Offers: []Offer{{Method: "INVITE", Media: []string{"m=x"}, Answer: "x"}, {Method: "UPDATE", Status: 488}, {Method: "INVITE"}}}} {
			text, err := Scenario(name).XML(s)
			if err != nil {
				t.Error(err)
				continue
			}
			for d := xml.NewDecoder(strings.NewReader(text)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Errorf("%s: %v", name, err)
					break
				}
			}
		}
	}
	if _, err := Scenario("none").XML(Script{}); err == nil {
		t.Error("a scenario that does not exist is no error")
	}
}

func TestParseSippStat(t *testing.T) {
	const head = "TotalCallCreated;SuccessfulCall(C);FailedCall(C);Retransmissions(C);FailedUnexpectedMessage(C);FailedTimeoutOnRecv(C);OutOfCallMsgs(C);DeadCallMsgs(C);Warnings(C);ResponseTime1(C);\n"
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"good", head + "1;1;0;0;0;0;0;0;0;00:00:00:000;\n10;8;2;3;1;1;4;5;6;00:00:01:250000;\n", true},
		{"empty", "", false},
		{"head only", head, false},
		{"short", head + "1;2;3\n", false},
		{"not a number", head + "1;1;x;0;0;0;0;0;0;00:00:00:000;\n", false},
		{"negative", head + "1;1;-1;0;0;0;0;0;0;00:00:00:000;\n", false},
		{"names missing", "TotalCallCreated;SuccessfulCall(C)\n1;1\n", false},
	} {
		got, err := ParseSippStat([]byte(c.in))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSippStat) {
			t.Errorf("%s: %v", c.name, err)
		}
		want := SippResult{Created: 10, Successful: 8, Failed: 2, Retransmissions: 3, Unexpected: 1, TimedOut: 1, OutOfCall: 4, DeadCall: 5, Warnings: 6, ResponseTime: 1250 * time.Millisecond}
		if c.ok && got != want {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if _, err := ParseSippStat(make([]byte, maxStat+1)); !errors.Is(err, ErrSippStat) {
		t.Errorf("past the limit: %v", err)
	}
}

func FuzzParseSippStat(f *testing.F) {
	f.Add([]byte("TotalCallCreated;SuccessfulCall(C)\n1;1\n"))
	f.Add([]byte(";\n;"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if r, err := ParseSippStat(in); err == nil && (r.Created < 0 || r.ResponseTime < 0) {
			t.Fatalf("%+v", r)
		}
	})
}
