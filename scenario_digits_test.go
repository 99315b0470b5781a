package main_test

import (
	"context"
	"testing"
	"time"

	"riptide/sip/siptest"
	"riptide/transcode"
)

// TestDigitsBecomeTones: a carrier that knows no telephone-event hears the keys
// of a telephone that does.
func TestDigitsBecomeTones(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "dtmf-inband", "baresip")
	s := startSBC(t, withKeys("carrier", "dtmf: inband"))
	a := siptest.Baresip{Netns: s.pbx, Port: 5060, User: officeNumber, Hz: 620, Codec: "PCMU"}.Start(t)
	b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040, Codec: "PCMU"}.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s.connect(t, ctx, a, b)
	for _, d := range "159#" {
		if err := a.Digit(d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond)
	}
	time.Sleep(time.Second)
	if err := b.HangUp(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Await(ctx, "CALL_CLOSED", 0); err != nil {
		t.Fatalf("the caller was not hung up: %v", err)
	}
	s.node.settle(t)
	if heard := b.Heard(); heard != "" {
		t.Errorf("the callee was sent the events %q, which it was not offered", heard)
	}
	samples, rate, err := b.Recording()
	if err != nil {
		t.Fatal(err)
	}
	if rate != transcode.SampleRate {
		t.Fatalf("the recording has %d samples a second", rate)
	}
	var keys transcode.Keys
	heard := ""
	for ; len(samples) >= 80; samples = samples[80:] {
		if k, _ := keys.Take(samples[:80]); k != 0 {
			heard += string(k)
		}
	}
	if heard != "159#" {
		t.Errorf("the callee heard the keys %q", heard)
	}
}

// TestTonesBecomeDigits: keys in the sound of a PBX that has nothing else are
// events to a telephone, each once.
func TestTonesBecomeDigits(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "dtmf-inband", "sipp")
	s := startSBC(t, withKeys("pbx", "dtmf: inband"))
	b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040, Codec: "PCMU"}.Start(t)
	const hold = 6 * time.Second
	siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: int(hold.Milliseconds()), MediaFile: siptest.KeysFile(t, "0852*7")},
		Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
	}.Start(t).Check(t, 1)
	s.node.settle(t)
	if heard := b.Heard(); heard != "0852*7" {
		t.Errorf("the callee heard the digits %q", heard)
	}
}
