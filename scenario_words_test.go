package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// TestDigitsByINFOOfSipp: jambonz/jambonz-feature-server#128: digits that a caller
// sends by INFO, in either body there is, arrive by INFO, each once.
func TestDigitsByINFOOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "dtmf-info", "sipp")
	s := startSBC(t, func(config string) string {
		return replace(t, config, "  carrier:\n    sip:\n", "  carrier:\n    sip:\n      dtmf: info\n")
	})
	callee := s.server(t, 5060, siptest.UASDigits, rings, 1)
	s.call(t, siptest.UACOffers, siptest.Script{HoldMS: 2000, Offers: []siptest.Offer{
		{Method: "INFO", Type: "application/dtmf-relay", Media: []string{"Signal=5", "Duration=160"}},
		{Method: "INFO", Type: "application/dtmf", Media: []string{"#"}},
	}}, 1)
	callee.Check(t, 1)
	m := callee.Messages()
	if five, hash := strings.Index(m, "Signal=5"), strings.Index(m, "Signal=#"); five < 0 || hash < five {
		t.Errorf("not the digits 5 and #:\n%s", m)
	}
	s.node.settle(t)
}

// TestPrivacyOfSipp: callers who want not to be shown are refused, or their number
// goes to those only who are trusted to keep it to themselves.
func TestPrivacyOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "privacy", "sipp")
	const number = "2025550100"
	private := []string{"P-Asserted-Identity: <sip:" + officeNumber + "@192.0.2.20>", "Privacy: id"}
	for _, tc := range []struct {
		name, pbx, carrier string // more keys of the two trunks
		headers            []string
		status             int      // of a refusal
		says               []string // to the carrier
		number             bool     // is told to the carrier
	}{
		{"refused", "", "", private, 433, nil, false},
		{"trusted", "      anonymous: allow\n", "", private, 0, []string{"anonymous.invalid", "Privacy: id", "P-Asserted-Identity: "}, true},
		{"not trusted", "      anonymous: allow\n", "    facts: {send: none}\n", private, 0, []string{"anonymous.invalid", "Privacy: id"}, false},
		{"not asked for", "", "", private[:1], 0, []string{"P-Asserted-Identity: "}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := startSBC(t, func(config string) string {
				config = replace(t, config, "  pbx:\n    sip:\n", "  pbx:\n    sip:\n"+tc.pbx)
				return replace(t, config, "  carrier:\n    sip:\n", "  carrier:\n"+tc.carrier+"    sip:\n")
			})
			if tc.status != 0 {
				s.call(t, siptest.UACRefused, siptest.Script{Status: tc.status, Headers: tc.headers}, 1)
				return
			}
			callee := s.server(t, 5060, siptest.UAS, rings, 1)
			s.call(t, siptest.UAC, siptest.Script{HoldMS: 50, Headers: tc.headers}, 1)
			callee.Check(t, 1)
			m := callee.Messages()
			for _, text := range tc.says {
				if !strings.Contains(m, text) {
					t.Errorf("no %q:\n%s", text, m)
				}
			}
			if strings.Contains(m, number) != tc.number {
				t.Errorf("the number is told: %v:\n%s", !tc.number, m)
			}
		})
	}
}

// TestNumbersOfSipp: livekit/protocol#737: a PBX that dials as people do and a
// carrier that knows no plus understand each other, in both directions.
func TestNumbersOfSipp(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "numbers", "sipp")
	s := startSBC(t, func(config string) string {
		config = replace(t, config, "  pbx:\n    sip:\n", "  pbx:\n    sip:\n"+
			`      numbers: {country: "1", international: "011", national: "1", write: national, rewrite: [{from: "9", to: ""}]}`+"\n")
		return replace(t, config, "  carrier:\n    sip:\n", "  carrier:\n    sip:\n      numbers: {country: \"1\", bare: e164, write: bare}\n")
	})
	for _, tc := range []struct {
		name           string
		from, to       *siptest.Namespace
		remote         string
		caller, called string
		says           []string
	}{
		{"outside line", s.pbx, s.carrier, s.inside, "12025550100", "913125550100", []string{"INVITE sip:13125550100@", "From: <sip:12025550100@"}},
		{"another country", s.pbx, s.carrier, s.inside, "12025550100", "9011442079460000", []string{"INVITE sip:442079460000@"}},
		{"in", s.carrier, s.pbx, s.outside, "442079460000", "12025550100", []string{"INVITE sip:12025550100@", "From: <sip:011442079460000@"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			callee := siptest.Sipp{Scenario: siptest.UAS, Script: rings, Netns: tc.to, Port: 5060}.Start(t)
			siptest.Sipp{Scenario: siptest.UAC, Script: siptest.Script{From: tc.caller, HoldMS: 50}, Netns: tc.from, Port: 5060, Remote: tc.remote, Service: tc.called}.Start(t).Check(t, 1)
			callee.Check(t, 1)
			m := callee.Messages()
			for _, text := range tc.says {
				if !strings.Contains(m, text) {
					t.Errorf("no %q:\n%s", text, m)
				}
			}
		})
	}
	s.node.settle(t)
}

// TestRingOfKamailio: a proxy that sends every call back where it came from. The
// call is given up after as many hops as we give a call (RFC 3261 section 16.3),
// and nothing of it is left.
func TestRingOfKamailio(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "ring", "kamailio")
	ca := siptest.NewAuthority(t)
	cert, key := ca.Issue("kamailio.test")
	n := siteNode(t, t.TempDir(), "box")
	mirror := siptest.Gateway{Edge: n.sip + ";transport=udp", Next: n.sip, Certificate: cert, Key: key, CA: ca.Roots}.Start(t)
	telephone := loopback(t)
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
state: %q
admin: %s
sip: {listen: %q}
trunks:
  pbx: {sip: {peer: %q, match: 127.0.0.9/32, callers: "*"}}
  carrier: {sip: {peer: %q, callers: "*"}}
routes:
  - {from: pbx, to: "+*", trunk: carrier}
  - {from: carrier, to: "+*", trunk: carrier}
`, filepath.Join(n.dir, "state"), n.admin, n.sip, telephone, mirror.UDP)
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	serveNode(t, n)
	n.awaitReady(t, "")
	siptest.Sipp{
		Scenario: siptest.UACRefused, Script: siptest.Script{From: officeNumber, Status: 483}, Port: portOf(t, telephone), Remote: n.sip, Service: outsideNumber,
	}.Start(t).Check(t, 1)
	n.settle(t)
	if calls := sum(n.metrics(t), "riptide_calls_total"); calls < 2 || calls > 35 {
		t.Errorf("the call went round %d times", calls)
	}
}
