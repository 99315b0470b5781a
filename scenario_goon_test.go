package main_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"
)

// ladders are the rungs of the media ladder that get through a balancer.
func ladders(balancer string) []string {
	all := []string{"auto"}
	if os.Getenv("RIPTIDE_SOAK") == "" {
		return all
	}
	if balancer == "nginx" {
		all = append(all, "trunk", "webtransport")
	}
	return append(all, "striped", "put-get")
}

// TestRIPTCallsGoOnAtAnotherNode: the node of a telco that has calls with an office
// is killed and stays dead. The other takes over those that the office placed,
// whose client finds it through the balancer, and those that it placed itself.
func TestRIPTCallsGoOnAtAnotherNode(t *testing.T) {
	besideOthers(t)
	for name, balancer := range balancers() {
		if name == "Caddy h3 to h3" && size(0, 1) == 0 {
			continue // its nodes die without a word: one of `make soak`
		}
		for _, rung := range ladders(name) {
			t.Run(fmt.Sprintf("%s/%s", name, rung), func(t *testing.T) {
				besideOthers(t)
				calls := size(2, 50) // each way
				if rung == "put-get" {
					// A request for every packet, of the node, the balancer and the office: it is
					// shown at a load that it carries.
					calls = size(2, 8)
				}
				c := startShared(t, sharedOptions{balancer: balancer, media: rung})
				c.pbx.call(0, calls, officeNumber, telcoNumber)
				var at [2]int
				for i, n := range c.nodes {
					at[i] = sum(n.metrics(t), "riptide_calls_active")
				}
				victim := 0
				if at[1] > at[0] {
					victim = 1
				}
				c.carrier.call(victim, calls, telcoNumber, officeNumber)
				time.Sleep(3 * time.Second) // the answers are acknowledged, and on record
				c.kills[victim]()
				c.goneOn(t)
				tellSilence(t, "office to telco", at[victim], c.pbx, c.carrier)
				tellSilence(t, "telco to office", calls, c.carrier, c.pbx)
				c.pbx.end()
				c.carrier.end()
				c.office.settle(t)
				c.nodes[1-victim].settle(t)
				t.Logf("carried by, at the office: %v", c.office.carriers(t))
			})
		}
	}
}

var carriedBy = regexp.MustCompile(`(?m)msg="call ended" .* [ab]\.carrier=([a-z/-]+) .* [ab]\.carrier=([a-z/-]+) `)

// carriers are what calls were on when they ended, and how many each.
func (n node) carriers(t testing.TB) map[string]int {
	all := map[string]int{}
	for _, m := range carriedBy.FindAllStringSubmatch(n.logText(t), -1) {
		for _, on := range m[1:] {
			if on != "rtp" {
				all[on]++
			}
		}
	}
	return all
}
