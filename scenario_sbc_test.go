package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// sbc is riptide as a plain SBC: two networks that know nothing of each other, a
// PBX's and a carrier's, one box with a foot in each, and two SIP trunks.
type sbc struct {
	node         node
	kill         func()             // kills the box
	pbx, carrier *siptest.Namespace // where the peers are
	inside       string             // riptide's SIP address as the PBX knows it
	outside      string             // as the carrier does
}

// startSBC starts it, as configs/examples/sbc.yaml has it but for what edit
// changes.
func startSBC(t *testing.T, edit ...func(config string) string) *sbc {
	t.Helper()
	return startSBCWith(t, func(*sbc) {}, edit...)
}

// startSBCWith calls before when the networks are there and the box is not.
func startSBCWith(t *testing.T, before func(*sbc), edit ...func(config string) string) *sbc {
	t.Helper()
	box := siptest.NewNamespaceAt(t, "10.99.0.1")
	s := &sbc{pbx: siptest.NewNamespaceAt(t, "192.0.2.20"), carrier: siptest.NewNamespaceAt(t, "198.51.100.20"), inside: "192.0.2.10:5060", outside: "198.51.100.10:5060"}
	box.Join(t, "inside", "192.0.2.10", s.pbx, "wire", "192.0.2.20")
	box.Join(t, "outside", "198.51.100.10", s.carrier, "wire", "198.51.100.20")
	s.node = node{name: "sbc", sip: s.inside, admin: "127.0.0.1:9090", dir: t.TempDir(), ns: box}
	s.node.log = filepath.Join(s.node.dir, "sbc.log")
	file := filepath.Join(s.node.dir, setup.ConfigFile)
	b, err := os.ReadFile("configs/examples/sbc.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("state: %q\n%s", filepath.Join(s.node.dir, "state"), b)
	for _, f := range edit {
		config = f(config)
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	before(s)
	s.kill = serveNode(t, s.node)
	s.node.awaitReady(t, "")
	return s
}

// crash kills the box without warning, and starts it again.
func (s *sbc) crash(t *testing.T) {
	t.Helper()
	s.kill()
	s.node.log += "-again"
	s.kill = serveNode(t, s.node)
	s.node.awaitReady(t, "")
}

// TestSBCCalls: two SIP trunks and nothing between them but riptide. Calls end,
// fail and are given up in both directions, and each side hears why.
func TestSBCCalls(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "sbc", "sipp")
	s := startSBC(t)
	type script struct {
		name     string
		uac, uas siptest.Scenario
		caller   siptest.Script
		callee   siptest.Script
	}
	cases := []script{
		{"caller hangs up", siptest.UAC, siptest.UAS, siptest.Script{HoldMS: 100}, siptest.Script{RingMS: 50}},
		{"callee hangs up with a cause", siptest.UACHearsBye, siptest.UASHangsUp, siptest.Script{Reason: "cause=31"}, siptest.Script{HoldMS: 100, Headers: []string{`Reason: Q.850;cause=31;text="Normal, unspecified"`}}},
		{"caller gives up", siptest.UACCancel, siptest.UASRings, siptest.Script{RingMS: 100}, siptest.Script{RingMS: 50}},
		{"the answer crosses CANCEL", siptest.UACCancel, siptest.UASLate, siptest.Script{RingMS: 100}, siptest.Script{}},
		{"early media", siptest.UAC, siptest.UASEarly, siptest.Script{HoldMS: 100}, siptest.Script{RingMS: 200}},
	}
	for _, status := range []int{403, 404, 480, 484, 486, 488, 500, 503, 600, 603} {
		cases = append(cases, script{fmt.Sprint(status), siptest.UACRefused, siptest.UASRefuses, siptest.Script{Status: status}, siptest.Script{Status: status, RingMS: 20}})
	}
	for _, tc := range cases {
		for _, way := range []struct {
			name           string
			from, to       *siptest.Namespace
			remote         string
			caller, called string
		}{
			{"from the PBX", s.pbx, s.carrier, s.inside, officeNumber, outsideNumber},
			{"from the carrier", s.carrier, s.pbx, s.outside, outsideNumber, officeNumber},
		} {
			t.Run(tc.name+" "+way.name, func(t *testing.T) {
				uas := siptest.Sipp{Scenario: tc.uas, Script: tc.callee, Netns: way.to, Port: 5060}.Start(t)
				tc := tc
				tc.caller.From = way.caller
				siptest.Sipp{Scenario: tc.uac, Script: tc.caller, Netns: way.from, Port: 5060, Remote: way.remote, Service: way.called}.Start(t).Check(t, 1)
				uas.Check(t, 1)
			})
		}
	}
	s.node.settle(t)
}

// TestSBCRefusalsAreDiscreet: a caller is told why its call failed, but not who
// is on the other side, nor what its messages said about itself.
func TestSBCRefusalsAreDiscreet(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "topology", "sipp")
	s := startSBC(t)
	try := func(t *testing.T, status int) {
		uac := siptest.Sipp{
			Scenario: siptest.UACRefused, Script: siptest.Script{From: officeNumber, Status: status, Headers: leaks}, Netns: s.pbx, Port: 5060, Remote: s.inside,
			Service: outsideNumber, Timeout: 2 * time.Minute,
		}.Start(t)
		uac.Check(t, 1)
		if m := uac.Messages(); strings.Contains(m, "198.51.100.") || strings.Contains(m, `"carrier`) {
			t.Errorf("the caller is told:\n%s", m)
		}
	}
	t.Run("refused", func(t *testing.T) {
		uas := siptest.Sipp{Scenario: siptest.UASRefuses, Netns: s.carrier, Port: 5060, Script: siptest.Script{
			Status: 486, Headers: []string{"Server: 198.51.100.20", `Warning: 399 198.51.100.20 "198.51.100.20"`, "Contact: <sip:x@carrier.example>", "Call-Info: <http://198.51.100.20/>"},
		}}.Start(t)
		try(t, 486)
		uas.Check(t, 1)
		if m := uas.Messages(); strings.Contains(m, "192.0.2.") || strings.Contains(m, "leaked") {
			t.Errorf("the callee is told:\n%s", m)
		}
	})
	t.Run("nobody there", func(t *testing.T) { try(t, 408) })
}

// leaks is what a caller's INVITE says about the caller's network.
var leaks = []string{
	"Via: SIP/2.0/TCP leaked.example:5062;branch=z9hG4bKleaked", "Record-Route: <sip:192.0.2.20;lr;leaked=1>",
	"User-Agent: leaked/1.0", "Organization: leaked", "Call-Info: <http://leaked.example/>", "Alert-Info: <http://leaked.example/>", "Subject: leaked",
	"Reply-To: <sip:leaked.example>", "P-Access-Network-Info: leaked", "Referred-By: <sip:leaked.example>", "Warning: 399 leaked.example \"leaked\"",
	"P-Asserted-Identity: <sip:" + officeNumber + "@leaked.example>", "Remote-Party-ID: <sip:leaked.example>", "X-Leaked: leaked", "History-Info: <sip:leaked.example>;index=1",
}

// TestSBCIsHeard: telephones on two SIP trunks hear each other, with the same
// codec and with different ones; digits arrive; a held call comes back.
func TestSBCIsHeard(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "sbc", "baresip")
	siptest.Shows(t, "hold", "baresip")
	for _, c := range [][2]string{{"PCMU", "PCMU"}, {"PCMA", "PCMU"}, {"G722", "G722"}, {"opus", "PCMA"}} {
		t.Run(c[0]+" to "+c[1], func(t *testing.T) {
			t.Parallel()
			s := startSBC(t)
			a := siptest.Baresip{Netns: s.pbx, Port: 5060, User: officeNumber, Hz: 620, Codec: c[0]}.Start(t)
			b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040, Codec: c[1]}.Start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			s.connect(t, ctx, a, b)
			s.talk(t, ctx, a, b, "159#")
			converted := sum(s.node.metrics(t), "riptide_media_frames_total", `"converted"`)
			if same := c[0] == c[1]; same != (converted == 0) {
				t.Errorf("%d frames were converted", converted)
			}
			hearsTone(t, a, 1040)
			hearsTone(t, b, 620)
		})
	}
}

// connect calls from the PBX's telephone to the carrier's.
func (s *sbc) connect(t *testing.T, ctx context.Context, a, b *siptest.BaresipRun) {
	t.Helper()
	if err := a.Dial(fmt.Sprintf("sip:%s@%s", outsideNumber, s.inside)); err != nil {
		t.Fatal(err)
	}
	for _, phone := range []*siptest.BaresipRun{a, b} {
		if _, err := phone.Await(ctx, "CALL_ESTABLISHED", 0); err != nil {
			t.Fatalf("%s: %v", phone.Addr, err)
		}
	}
	time.Sleep(time.Second)
}

// talk is a whole conversation: the PBX's telephone types digits, holds the call
// and resumes it, and the carrier's, which must have heard them, hangs up.
func (s *sbc) talk(t *testing.T, ctx context.Context, a, b *siptest.BaresipRun, digits string) {
	t.Helper()
	for _, d := range digits {
		if err := a.Digit(d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(250 * time.Millisecond)
	}
	if err := a.Hold(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(700 * time.Millisecond)
	if err := a.Resume(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if err := b.HangUp(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Await(ctx, "CALL_CLOSED", 0); err != nil {
		t.Fatalf("the caller was not hung up: %v", err)
	}
	s.node.settle(t)
	if heard := b.Heard(); heard != digits {
		t.Errorf("the callee heard the digits %q, want %q", heard, digits)
	}
}

// hearsTone looks into what a telephone recorded.
func hearsTone(t *testing.T, phone *siptest.BaresipRun, hz float64) {
	t.Helper()
	samples, rate, err := phone.Recording()
	if err != nil {
		t.Fatal(err)
	}
	if tone := bridgetest.ToneLevel(samples, rate); !tone.Is(hz) {
		t.Errorf("%s heard %v in %d samples, want %.0f Hz", phone.URI, tone, len(samples), hz)
	}
}

// traces are what tells of a network, as its own wire shows it: addresses, host
// names, Call-IDs, tags, programs, session descriptions, sources of RTP.
func traces(packets []siptest.Packet) map[string]string {
	found := map[string]string{}
	lines := map[string]*regexp.Regexp{
		"Call-ID":    regexp.MustCompile(`(?mi)^(?:Call-ID|i) *: *(\S+)`),
		"tag":        regexp.MustCompile(`(?mi);tag=([^;\s>]+)`),
		"branch":     regexp.MustCompile(`(?mi);branch=([^;\s,]+)`),
		"User-Agent": regexp.MustCompile(`(?mi)^(?:User-Agent|Server) *: *(.+?)\r?$`),
		"Contact":    regexp.MustCompile(`(?mi)^(?:Contact|m) *:.*?sip:([^@>\s]*@?[^;>\s]+)`),
		"o=":         regexp.MustCompile(`(?m)^o=(.+?)\r?$`),
		"a=label":    regexp.MustCompile(`(?m)^a=(label:.+?)\r?$`),
	}
	for _, p := range packets {
		if bytes.Contains(p.Payload, []byte("SIP/2.0")) {
			for name, pattern := range lines {
				for _, m := range pattern.FindAllSubmatch(p.Payload, -1) {
					found[string(m[1])] = name
				}
			}
			continue
		}
		if len(p.Payload) < 12 || p.Payload[0]>>6 != 2 {
			continue
		}
		if kind := p.Payload[1]; kind >= 200 && kind <= 207 {
			found[string(p.Payload[4:8])] = "SSRC"
			if name := cname(p.Payload); name != "" {
				found[name] = "CNAME"
			}
		} else {
			found[string(p.Payload[8:12])] = "SSRC"
		}
	}
	return found
}

// cname is the canonical name in a compound RTCP packet (RFC 3550 section 6.5).
func cname(b []byte) string {
	for len(b) >= 8 {
		size := 4 * (1 + (int(b[2])<<8 | int(b[3])))
		if size > len(b) {
			return ""
		}
		if b[1] == 202 && size > 10 && b[8] == 1 && 10+int(b[9]) <= size {
			return string(b[10 : 10+int(b[9])])
		}
		b = b[size:]
	}
	return ""
}

// TestSBCHidesTopology: what the two networks look like is told by captures of
// their own wires; nothing of it is on the other one. Both telephones say much
// about themselves, and send RTP and RTCP.
func TestSBCHidesTopology(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "topology", "baresip")
	s := startSBC(t)
	a := siptest.Baresip{Netns: s.pbx, Port: 5060, User: officeNumber, Hz: 620, Codec: "PCMU"}.Start(t)
	b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040, Codec: "PCMU"}.Start(t)
	inside := siptest.Capture{Netns: s.pbx, Device: "wire", Whole: true}.Start(t)
	outside := siptest.Capture{Netns: s.carrier, Device: "wire", Whole: true}.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s.connect(t, ctx, a, b)
	for _, step := range []func() error{func() error { return a.Digit('7') }, a.Hold, a.Resume, b.Hold, b.Resume} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(700 * time.Millisecond)
	}
	time.Sleep(6 * time.Second) // until both have sent reports
	if err := a.HangUp(); err != nil {
		t.Fatal(err)
	}
	s.node.settle(t)
	wires := map[string][]siptest.Packet{"192.0.2.": inside.Packets(t), "198.51.100.": outside.Packets(t)}
	for ours, theirs := range map[string]string{"192.0.2.": "198.51.100.", "198.51.100.": "192.0.2."} {
		var sent []siptest.Packet // by the peer of this network
		for _, p := range wires[ours] {
			if strings.HasPrefix(p.From, ours+"20:") {
				sent = append(sent, p)
			}
		}
		secrets := traces(sent)
		kinds := map[string]int{}
		for _, kind := range secrets {
			kinds[kind]++
		}
		t.Logf("%d packets of %s20 tell %v", len(sent), ours, kinds)
		for _, kind := range []string{"Call-ID", "tag", "branch", "User-Agent", "Contact", "o=", "SSRC", "CNAME"} {
			if kinds[kind] == 0 {
				t.Errorf("%s20 tells no %s: nothing would be shown", ours, kind)
			}
		}
		secrets[ours] = "address"
		secrets["riptide"] = "name of the product"
		for _, p := range wires[theirs] {
			if strings.HasPrefix(p.From, theirs+"20:") {
				continue // it says that itself
			}
			if host, _, _ := net.SplitHostPort(p.From); host != theirs+"10" {
				t.Errorf("a packet from %s is on the wire of %s", p.From, theirs)
			}
			for secret, kind := range secrets {
				if bytes.Contains(header(p, kind), []byte(secret)) {
					t.Errorf("%s %q of %s is on the wire of %s:\n%.800s", kind, secret, ours, theirs, p.Payload)
					delete(secrets, secret)
				}
			}
		}
	}
}

// header is the part of a packet in which a secret of some kind could be: four
// bytes of a source may well be in speech.
func header(p siptest.Packet, kind string) []byte {
	if strings.HasPrefix(kind, "SSRC") && !bytes.Contains(p.Payload, []byte("SIP/2.0")) && len(p.Payload) > 12 {
		if p.Payload[1] < 200 || p.Payload[1] > 207 {
			return p.Payload[:12]
		}
	}
	return p.Payload
}
