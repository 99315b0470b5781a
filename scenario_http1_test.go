package main_test

import (
	"testing"
	"time"

	"riptide/sip/siptest"
)

// TestBalancedOverHTTP1: balancers that speak HTTP/1.1 to the nodes carry calls, and
// the packets of them: one that holds request bodies back with a request for
// each, one that does not on streams. The first call finds out which it is.
func TestBalancedOverHTTP1(t *testing.T) {
	besideOthers(t)
	for name, tc := range map[string]struct {
		balancer func(*front)
		carrier  string
		share    float64 // of the packets that may come too late: requests do on a busy machine
	}{
		"nginx": {nginxHTTP, "put/get", max(tooLate(), 0.1)},
		"Caddy": {caddy("1.1"), "striped", tooLate()},
	} {
		t.Run(name, func(t *testing.T) {
			besideOthers(t)
			calls, hold := size(2, 10), time.Duration(size(5, 90))*time.Second
			callee := siptest.Sipp{Scenario: siptest.UAS, Calls: calls, Echo: true, Timeout: hold + 2*time.Minute}.Start(t)
			c := startCluster(t, clusterOptions{balancer: tc.balancer, callee: callee.Addr})
			caller := siptest.Sipp{
				Scenario: siptest.UAC, Remote: c.office.sip, Service: telcoNumber, Calls: calls, Rate: 0.5, AtOnce: calls,
				Script:  siptest.Script{From: officeNumber, HoldMS: int(hold.Milliseconds()), MediaFile: siptest.ToneFile(t, 440, 0)},
				Timeout: hold + 2*time.Minute,
			}.Start(t)
			c.check(caller, calls)
			callee.Check(t, calls)
			c.settle()
			c.checkMedia(calls*int(hold/bridgetestPtime), tc.share)
			c.carriedBy(tc.carrier, calls)
			c.keptByways()
		})
	}
}
