package main_test

import (
	"testing"
	"time"

	"riptide/sip/siptest"
)

// TestSoakBalancedCalls: sipp calls sipp through an office, a balancer and two
// nodes of a telco that know nothing of each other, and nothing fails.
func TestSoakBalancedCalls(t *testing.T) {
	for name, balancer := range map[string]func(*cluster){
		"Caddy h3 to h2": caddy("2"),
		"Caddy h3 to h3": caddy("3"),
	} {
		t.Run(name, func(t *testing.T) {
			calls, rate := size(40, 200), 20.0
			callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Calls: calls, Timeout: 3 * time.Minute}.Start(t)
			c := startCluster(t, clusterOptions{balancer: balancer, callee: callee.Addr})
			caller := siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 2000},
				Remote: c.office.sip, Service: telcoNumber, Calls: calls, Rate: rate, Timeout: 3 * time.Minute,
			}.Start(t)
			for _, run := range []*siptest.SippRun{caller, callee} {
				r := run.Check(t, calls)
				t.Logf("%s: %d calls, %d failed, %d retransmissions, mean set-up %v", run.Addr, r.Successful, r.Failed, r.Retransmissions, r.ResponseTime)
			}
			c.settle()
			each, total := c.calls("riptide_calls_total", `cause="normal"`)
			t.Logf("calls at the nodes: %v", each)
			if total != calls || each[0] == 0 || each[1] == 0 {
				t.Errorf("the nodes counted %v normal calls, want %d, and some at each", each, calls)
			}
		})
	}
}
