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
		"trunks.pbx.sip: callers (add it)":                 "trunks.pbx.sip: callers (add it)",
		"read udp 10.0.0.1:5060->10.0.0.2:5060: i/o timed": "read udp (address)->(address): i/o timed",
	} {
		if got := discreet(in, "x"); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
