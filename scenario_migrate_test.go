package main_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// TestMigrateCommand: the clients of calls under way are asked by a command to
// attach anew; they do, and nobody loses a packet of speech over it.
func TestMigrateCommand(t *testing.T) {
	t.Parallel()
	const calls, hold = 5, 8 * time.Second
	ns := siptest.NewNamespace(t)
	callee := siptest.Sipp{Scenario: siptest.UAS, Host: ns.Addr, Port: 5080, Media: 40000, Calls: calls, Echo: true, Netns: ns, Timeout: time.Minute}.Start(t)
	p := startPair(t, pairOptions{netns: ns, args: []string{"--to", callee.Addr}})
	caller := siptest.Sipp{
		Scenario: siptest.UAC, Host: ns.Addr, Port: 5082, Media: 50000, Remote: p.office.sip, Service: telcoNumber, Calls: calls, Rate: 20, AtOnce: calls,
		Script: siptest.Script{From: officeNumber, HoldMS: int(hold.Milliseconds()), MediaFile: siptest.ToneFile(t, 440, 0)},
		Netns:  ns, Timeout: time.Minute,
	}.Start(t)
	for end := time.Now().Add(20 * time.Second); p.telco.metrics(t)["riptide_calls_active"] < calls; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the calls do not come up")
		}
	}
	time.Sleep(2 * time.Second)
	config := func(n node) string { return filepath.Join(n.dir, "riptide.yaml") }
	out, err := ns.Command(riptide(t), "migrate", "--json", "-c", config(p.telco)).Output()
	var done struct{ Asked, Attached, Ended int }
	if err != nil || json.Unmarshal(out, &done) != nil || done.Asked != calls || done.Attached != calls {
		t.Errorf("riptide migrate: %v, %s, want %d calls that attached anew", err, out, calls)
	}
	caller.Check(t, calls)
	callee.Check(t, calls)
	p.settle()
	for _, n := range []node{p.office, p.telco} {
		m := n.metrics(t)
		lost, received := sum(m, "riptide_media_lost_packets_total"), sum(m, "riptide_media_received_packets_total", `protocol="ript"`)
		t.Logf("%s: %d packets of RIPT received, %d lost", n.name, received, lost)
		if lost > 0 || received < calls*int(hold/bridgetestPtime)*9/10 {
			t.Errorf("%s: %d packets lost of %d", n.name, lost, received)
		}
	}

	for want, args := range map[string][]string{
		"0 calls asked": {"-c", config(p.telco)},
		"outside":       {"-c", config(p.telco), "--to", "https://elsewhere.example"},
		"no argument":   {"-c", config(p.telco), "https://elsewhere.example"},
		"no such file":  {"-c", "/nowhere.yaml"},
	} {
		out, err := ns.Command(riptide(t), append([]string{"migrate"}, args...)...).CombinedOutput()
		if !strings.Contains(string(out), want) || (err == nil) != (want == "0 calls asked") {
			t.Errorf("riptide migrate %v: %v, %s", args, err, out)
		}
	}
}
