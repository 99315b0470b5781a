package sip

import "testing"

func TestDiscreet(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "busy": "busy", "no route": "no route",
		`trunk "carrier" answered 486`:                     `the other trunk answered 486`,
		`trunk "x" at 192.0.2.7:5060 does not answer`:      `trunk "x" at (address) does not answer`,
		"dial tcp 192.0.2.7:5060: connection refused":      "dial tcp (address): connection refused",
		"connect to [2001:db8::1]:5061: no.":               "connect to (address): no.",
		"at 2001:db8::1.":                                  "at (address).",
		"number +12025550100 is not 3.14 of 10:30":         "number +12025550100 is not 3.14 of 10:30",
		"trunks.pbx.sip: callers (add it)":                 "(key): callers (add it)",
		"trunks.x.sip: callers (trunks.NAME.sip.peer)":     "trunks.x.sip: callers (trunks.NAME.sip.peer)",
		"it has no SRTP (sip.srtp is dtls)":                "it has no SRTP (sip.srtp is dtls)",
		"no certificate: key identity.ca":                  "no certificate: key identity.ca",
		"G.722, SIP/2.0, e.g. 1.5s of v1.2":                "G.722, SIP/2.0, e.g. 1.5s of v1.2",
		"lookup gw1 on 10.0.0.53:53: no such host":         "lookup (name) on (address): no such host",
		"dial tcp: lookup gw1.core.example: i/o timeout":   "dial tcp: lookup (name): i/o timeout",
		`resolve "gw1": ask for A of "gw1.": no answer`:    `resolve (name): ask for A of (name): no answer`,
		`peer "sbc.core.example" has gone`:                 `peer (name) has gone`,
		`Get "https://core.example:8443/ript/x": EOF`:      `Get "(address)": EOF`,
		"at https://core.example/a.":                       "at (address).",
		"moved to sip:+12025550100@gw.core.example:5070":   "moved to sip:+12025550100@(name):5070",
		"certificate is valid for a.example, not b.c":      "certificate is valid for (name), not b.c",
		"connect localhost:8443":                           "connect (address)",
		"open /var/lib/riptide/calls.db: no space left":    "open (file): no space left",
		"486 Busy/No Answer":                               "486 Busy/No Answer",
		`trunk "x" of node "edge-1" is busy`:               `trunk "x" of node (name) is busy`,
		"read udp 10.0.0.1:5060->10.0.0.2:5060: i/o timed": "read udp (address)->(address): i/o timed",
	} {
		if got := discreet(in, "x"); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
