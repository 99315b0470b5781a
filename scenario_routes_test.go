package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// carrierServers are two servers of the carrier, best first, as its DNS has them.
var carrierServers = []string{
	"_sip._udp.carrier.example. 600 IN SRV 10 0 5060 sip.carrier.example.",
	"_sip._udp.carrier.example. 600 IN SRV 20 0 5070 sip.carrier.example.",
	"sip.carrier.example. 600 IN A 198.51.100.20",
}

// startNamed starts an SBC whose carrier is a name with those two servers.
func startNamed(t *testing.T, more string) *sbc {
	t.Helper()
	return startSBCWith(t, func(s *sbc) { s.node.ns.ServeNames(t, carrierServers...) }, func(config string) string {
		return replace(t, config, "      peer: 198.51.100.20:5060\n", "      peer: carrier.example\n"+more)
	})
}

// server is one of the carrier's.
func (s *sbc) server(t *testing.T, port int, scenario siptest.Scenario, script siptest.Script, calls int) *siptest.SippRun {
	t.Helper()
	return siptest.Sipp{Scenario: scenario, Script: script, Netns: s.carrier, Port: port, Calls: calls, Timeout: 2 * time.Minute}.Start(t)
}

// call has the PBX place calls, one after the other, and checks how they go.
func (s *sbc) call(t *testing.T, scenario siptest.Scenario, script siptest.Script, calls int) {
	t.Helper()
	script.From = officeNumber
	siptest.Sipp{
		Scenario: scenario, Script: script, Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber, Calls: calls, AtOnce: 1, Timeout: 2 * time.Minute,
	}.Start(t).Check(t, calls)
}

var (
	talks = siptest.Script{HoldMS: 50}
	rings = siptest.Script{RingMS: 20}
)

// TestFailoverToServerOfSipp: a carrier whose DNS names two servers. The second
// gets the call that the first refuses, or says nothing to, and the next ones
// at once.
func TestFailoverToServerOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "failover", "sipp")
	for _, tc := range []struct {
		name     string
		scenario siptest.Scenario
		script   siptest.Script
	}{
		{"503", siptest.UASRefuses, siptest.Script{Status: 503}},
		{"silence", siptest.UASSilent, siptest.Script{HoldMS: 1000}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := startNamed(t, "")
			first := s.server(t, 5060, tc.scenario, tc.script, 1)
			second := s.server(t, 5070, siptest.UAS, rings, 3)
			s.call(t, siptest.UAC, talks, 3)
			second.Check(t, 3)
			first.Check(t, 1)
			s.node.settle(t)
		})
	}
}

// TestRedirectBySipp: a 3xx leads to another server of the carrier, not to
// strangers nor in circles, and nowhere where it is not to be followed.
func TestRedirectBySipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "redirect", "sipp")
	to := func(contact string) siptest.Script {
		return siptest.Script{Status: 302, Phrase: "Moved", Headers: []string{"Contact: " + contact}}
	}
	refused := siptest.Script{Status: 302}
	const second, itself = "<sip:" + outsideNumber + "@198.51.100.20:5070>", "<sip:" + outsideNumber + "@198.51.100.20:5060>"
	s := startNamed(t, "      redirects: follow\n")
	t.Run("followed", func(t *testing.T) {
		first, next := s.server(t, 5060, siptest.UASRefuses, to(second+";q=0.5, <sip:"+officeNumber+"@198.51.100.20:5070>;q=1"), 1), s.server(t, 5070, siptest.UAS, rings, 1)
		s.call(t, siptest.UAC, talks, 1)
		first.Check(t, 1)
		next.Check(t, 1)
	})
	t.Run("to a stranger", func(t *testing.T) {
		first := s.server(t, 5060, siptest.UASRefuses, to("<sip:"+outsideNumber+"@203.0.113.9:5070>"), 1)
		s.call(t, siptest.UACRefused, refused, 1)
		first.Check(t, 1)
	})
	t.Run("to another number", func(t *testing.T) {
		first := s.server(t, 5060, siptest.UASRefuses, to("<sip:+19005550000@198.51.100.20:5070>"), 1)
		s.call(t, siptest.UACRefused, refused, 1)
		first.Check(t, 1)
	})
	t.Run("in circles", func(t *testing.T) {
		circle := to(itself)
		circle.Again = 3
		first := s.server(t, 5060, siptest.UASRefuses, circle, 1)
		s.call(t, siptest.UACRefused, refused, 1)
		first.Check(t, 1)
	})
	t.Run("not followed", func(t *testing.T) {
		s := startNamed(t, "")
		first := s.server(t, 5060, siptest.UASRefuses, to(second), 1)
		s.call(t, siptest.UACRefused, refused, 1)
		first.Check(t, 1)
	})
	s.node.settle(t)
}

// TestNextTrunkOfSipp: what one carrier does not take goes to the next, by the
// answers that the route names, and by silence; what it rings for does not.
func TestNextTrunkOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "failover", "sipp")
	s := startSBC(t, withMobile, func(config string) string {
		return replace(t, config, `  - {from: pbx, to: "+*", trunk: carrier}`, `  - {from: pbx, to: "+*", trunk: [carrier, mobile], next-on: [404, 408, 5xx]}`)
	})
	for _, tc := range []struct {
		name     string
		scenario siptest.Scenario
		script   siptest.Script
		goes     bool
	}{
		{"500", siptest.UASRefuses, siptest.Script{Status: 500}, true},
		{"404", siptest.UASRefuses, siptest.Script{Status: 404, RingMS: 20}, true},
		{"busy", siptest.UASRefuses, siptest.Script{Status: 486}, false},
		{"603", siptest.UASRefuses, siptest.Script{Status: 603}, false},
		{"silence", siptest.UASSilent, siptest.Script{HoldMS: 1000}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first := s.server(t, 5060, tc.scenario, tc.script, 1)
			if !tc.goes {
				s.call(t, siptest.UACRefused, siptest.Script{Status: tc.script.Status}, 1)
				first.Check(t, 1)
				return
			}
			next := s.server(t, 5070, siptest.UAS, rings, 1)
			s.call(t, siptest.UAC, talks, 1)
			next.Check(t, 1)
			first.Check(t, 1)
		})
	}
	s.node.settle(t)
}

// awaitLogged waits until the log has a text a number of times.
func (n node) awaitLogged(t *testing.T, text string, times int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); strings.Count(n.logText(t), text) < times; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q is in the log %d times, want %d", text, strings.Count(n.logText(t), text), times)
		}
	}
}

// TestProbedPeersGoAndComeBack: a peer that no longer answers OPTIONS, or answers
// 503, gets no calls, and gets them again when it is back. Their own OPTIONS are
// answered.
func TestProbedPeersGoAndComeBack(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "options", "sipp", "kamailio")
	const down, up = "a server of the trunk is down", "a server of the trunk is up again"
	probe := func(t *testing.T, trunk string) func(string) string {
		return func(config string) string {
			return replace(t, config, "  "+trunk+":\n    sip:\n", "  "+trunk+":\n    sip:\n      probe: 1s\n")
		}
	}
	refused := siptest.Script{Status: 503}
	t.Run("sipp", func(t *testing.T) {
		t.Parallel()
		alive := siptest.Script{Status: 200, Phrase: "OK", RingMS: 20}
		var peer *siptest.SippRun
		s := startSBCWith(t, func(s *sbc) { peer = s.server(t, 5060, siptest.UASLives, alive, 1000) }, probe(t, "carrier"))
		s.call(t, siptest.UAC, talks, 1)
		peer.Stop()
		s.node.awaitLogged(t, down, 1)
		s.call(t, siptest.UACRefused, refused, 1)
		peer = s.server(t, 5060, siptest.UASLives, alive, 1000)
		s.node.awaitLogged(t, up, 1)
		s.call(t, siptest.UAC, talks, 1)
		peer.Stop()
		peer = s.server(t, 5060, siptest.UASLives, siptest.Script{Status: 503, Phrase: "Maintenance"}, 1000)
		s.node.awaitLogged(t, down, 2)
		s.call(t, siptest.UACRefused, refused, 1)
		peer.Stop()
		s.server(t, 5060, siptest.UASLives, siptest.Script{Status: 404, Phrase: "Not Found", RingMS: 20}, 1000) // any other word says that it lives
		s.node.awaitLogged(t, up, 2)
		s.call(t, siptest.UAC, talks, 1)
		siptest.Sipp{Scenario: siptest.UACAsks, Script: siptest.Script{Method: "OPTIONS", Status: 200}, Netns: s.pbx, Port: 5060, Remote: s.inside}.Start(t).Check(t, 1)
	})
	t.Run("kamailio", func(t *testing.T) {
		t.Parallel()
		var provider siptest.Provider
		var kamailio *siptest.KamailioRun
		s := startSBCWith(t, func(s *sbc) {
			provider = siptest.Provider{Netns: s.carrier, Port: 5060, User: "4711", Password: "open sesame", Phone: s.carrier.Addr + ":5070"}
			kamailio = provider.Start(t)
		}, withLogin(t, "      probe: 1s\n"))
		s.server(t, 5070, siptest.UAS, rings, 2)
		s.call(t, siptest.UAC, talks, 1)
		kamailio.Stop()
		s.node.awaitLogged(t, down, 1)
		s.call(t, siptest.UACRefused, refused, 1)
		provider.Start(t)
		s.node.awaitLogged(t, up, 1)
		s.call(t, siptest.UAC, talks, 1)
	})
}

// TestLimitsOfSipp: calls above a trunk's limits, at once and in a second, are
// refused with 503 and Retry-After, and those below go through.
func TestLimitsOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "limits", "sipp")
	for name, key := range map[string]string{"at once": "calls: 5", "in a second": "calls-per-second: 5"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSBC(t, func(config string) string { return replace(t, config, "  pbx:\n", "  pbx:\n    "+key+"\n") })
			const calls = 20
			callee := s.server(t, 5060, siptest.UAS, siptest.Script{}, calls)
			caller := siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 3000}, Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
				Calls: calls, Rate: 200,
			}.Start(t)
			r, err := caller.Result(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Successful < 5 || r.Failed == 0 || r.Successful+r.Failed != calls || r.Unexpected != r.Failed {
				t.Errorf("%d calls went through, %d were refused, want some of each:\n%s", r.Successful, r.Failed, caller.Trouble())
			}
			if m := caller.Messages(); !strings.Contains(m, "SIP/2.0 503") || !strings.Contains(m, "Retry-After: ") {
				t.Errorf("no 503 with Retry-After:\n%s", m)
			}
			callee.Stop()
			s.node.settle(t)
		})
	}
}

// TestMethodsOfSipp: what is not a call gets its answer and does nothing else:
// MESSAGE and others 405 with Allow, SUBSCRIBE 489, what nobody knows 501, and
// extensions that we do not have 420.
func TestMethodsOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "methods", "sipp")
	s := startSBC(t)
	for _, tc := range []struct {
		method string
		status int
		lines  []string
		says   string
	}{
		{"OPTIONS", 200, nil, "Allow: "},
		{"MESSAGE", 405, nil, "Allow: "},
		{"PUBLISH", 405, []string{"Event: presence"}, "Allow: "},
		{"REGISTER", 405, nil, "Allow: "},
		{"SUBSCRIBE", 489, []string{"Event: presence", "Expires: 60"}, ""},
		{"NOTIFY", 481, []string{"Event: message-summary", "Subscription-State: active"}, ""},
		{"INFO", 481, nil, ""},
		{"UPDATE", 481, nil, ""},
		{"REFER", 603, []string{"Refer-To: <sip:" + mobileNumber + "@192.0.2.10>"}, ""},
		{"BYE", 481, nil, ""},
		{"DANCE", 501, nil, "Allow: "},
	} {
		t.Run(tc.method, func(t *testing.T) {
			r := siptest.Sipp{
				Scenario: siptest.UACAsks, Script: siptest.Script{From: officeNumber, Method: tc.method, Status: tc.status, Headers: tc.lines},
				Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
			}.Start(t)
			r.Check(t, 1)
			if m := r.Messages(); !strings.Contains(m, tc.says) {
				t.Errorf("no %q:\n%s", tc.says, m)
			}
		})
	}
}

// TestExtensionsOfSipp: preconditions (RFC 3312), which some networks have, are
// no hindrance where they are offered, and 420 where they are required, which
// names them; so are extensions that nobody knows.
func TestExtensionsOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "extensions", "sipp")
	s := startSBC(t)
	for _, tc := range []struct {
		name, line  string
		unsupported string // what a 420 names; "" = the call goes through
	}{
		{"preconditions offered", "Supported: precondition, 100rel, timer, levitation", ""},
		{"preconditions required", "Require: precondition", "precondition"},
		{"something unknown required", "Require: levitation", "levitation"},
		{"something unknown said", "X-Levitation: yes", ""}, // livekit/sip#251
	} {
		t.Run(tc.name, func(t *testing.T) {
			uac := siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 50, Headers: []string{tc.line}},
				Netns: s.pbx, Port: 5060, Remote: s.inside, Service: outsideNumber,
			}
			if tc.unsupported != "" {
				uac.Scenario, uac.Script.Status = siptest.UACRefused, 420
				r := uac.Start(t)
				r.Check(t, 1)
				if m := r.Messages(); !strings.Contains(m, "Unsupported: "+tc.unsupported) {
					t.Errorf("the answer does not name %s:\n%s", tc.unsupported, m)
				}
				return
			}
			callee := s.server(t, 5060, siptest.UAS, rings, 1)
			uac.Start(t).Check(t, 1)
			callee.Check(t, 1)
		})
	}
	s.node.settle(t)
}

// familiesConfig is a box between a PBX on IPv6 and a carrier on IPv4.
const familiesConfig = `
state: %[1]q
admin: %[2]s
sip:
  listen: ["%[3]s", "%[4]s"]
trunks:
  pbx:
    sip: {peer: "%[5]s", listen: "%[3]s", callers: "*"}
  carrier:
    sip: {peer: "%[6]s", listen: "%[4]s", callers: "*"}
routes:
  - {from: pbx, to: "+*", trunk: carrier}
  - {from: carrier, to: "+*", trunk: pbx}
`

// TestFamiliesOfSipp: calls with media between a PBX on IPv6 and a carrier on IPv4,
// in both directions.
func TestFamiliesOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "ipv6", "sipp")
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		siptest.Missing(t, "IPv6 on this machine (sysctl net.ipv6.conf.lo.disable_ipv6=0): %v", err)
	}
	_ = c.Close()
	six := func() (int, string) {
		port := siptest.FreePorts(t, nil, "::1", 1)
		return port, net.JoinHostPort("::1", strconv.Itoa(port))
	}
	_, inside := six()
	pbxPort, pbx := six()
	n := siteNode(t, t.TempDir(), "box")
	carrier := loopback(t)
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(familiesConfig, filepath.Join(n.dir, "state"), n.admin, inside, n.sip, pbx, carrier)
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	serveNode(t, n)
	n.awaitReady(t, "")
	tone := siptest.ToneFile(t, 440, 0)
	for _, way := range []struct {
		name               string
		from, to           string // addresses of the two sipps
		fromPort, toPort   int
		remote, me, called string
	}{
		{"from IPv6", "::1", "127.0.0.1", pbxPort, portOf(t, carrier), inside, officeNumber, outsideNumber},
		{"from IPv4", "127.0.0.1", "::1", portOf(t, carrier), pbxPort, n.sip, outsideNumber, officeNumber},
	} {
		t.Run(way.name, func(t *testing.T) {
			before := n.metrics(t)
			callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 20}, Host: way.to, Port: way.toPort, Echo: true}.Start(t)
			siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: way.me, HoldMS: 2000, MediaFile: tone}, Host: way.from, Port: way.fromPort, Remote: way.remote, Service: way.called,
			}.Start(t).Check(t, 1)
			callee.Check(t, 1)
			n.settle(t)
			after := n.metrics(t)
			for _, name := range []string{"riptide_media_received_packets_total", "riptide_media_sent_packets_total"} {
				if packets := sum(after, name) - sum(before, name); packets < 2*50 { // a second, both ways
					t.Errorf("%s: %d", name, packets)
				}
			}
		})
	}
}
