package main_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// balancers are those of every run; Traefik, which takes long to build, is one of
// `make soak`.
func balancers() map[string]func(*front) {
	all := map[string]func(*front){"Caddy h3 to h2": caddy("2"), "Caddy h3 to h3": caddy("3"), "nginx": nginx}
	if os.Getenv("RIPTIDE_SOAK") != "" {
		all["Traefik"] = traefik
	}
	return all
}

// besideOthers lets a long run have the machine for itself, and a short one share
// it.
func besideOthers(t *testing.T) {
	if os.Getenv("RIPTIDE_SOAK") == "" {
		t.Parallel()
	}
}

// spreads tells a balancer that ends HTTP: it gives the calls of one client to
// both nodes, and passes no WebTransport.
func spreads(balancer string) bool { return balancer != "nginx" }

// TestSoakBalancedCalls: sipp calls sipp through an office, a balancer and two
// nodes of a telco that know nothing of each other, and nothing fails.
func TestSoakBalancedCalls(t *testing.T) {
	besideOthers(t)
	for name, balancer := range balancers() {
		t.Run(name, func(t *testing.T) {
			besideOthers(t)
			calls, rate := size(40, 200), 20.0
			callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 50}, Calls: calls, Timeout: 3 * time.Minute}.Start(t)
			c := startCluster(t, clusterOptions{balancer: balancer, callee: callee.Addr})
			caller := siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 2000},
				Remote: c.office.sip, Service: telcoNumber, Calls: calls, Rate: rate, Timeout: 3 * time.Minute,
			}.Start(t)
			r := c.check(caller, calls)
			t.Logf("%d calls, %d failed, %d retransmissions, mean set-up %v", r.Successful, r.Failed, r.Retransmissions, r.ResponseTime)
			callee.Check(t, calls)
			c.settle()
			each, total := c.sum("riptide_calls_total", `cause="normal"`)
			t.Logf("calls at the nodes: %v", each)
			if total != calls || spreads(name) && (each[0] == 0 || each[1] == 0) {
				t.Errorf("the nodes counted %v normal calls, want %d, and some at each", each, calls)
			}
			c.keptByways()
		})
	}
}

// keptByways checks that no event stream of the office was opened anew. A short
// run shares the machine with others: there a second in which nothing runs is a
// second in which the other side cannot answer, and is only told.
func (c *cluster) keptByways() {
	c.t.Helper()
	n := sum(c.office.metrics(c.t), "riptide_ript_byways_reopened_total")
	if n != 0 && size(0, 1) == 1 {
		c.t.Errorf("%d byways were lost on the way", n)
	}
	c.t.Logf("%d byways were opened anew", n)
}

// tooLate is the share of the chunks on streams, where none is lost, that may
// come too late to be played: none, but in a short run, which shares its two
// processors with every other test and the race detector. What it shows is that
// calls are heard; how well, the long run measures.
func tooLate() float64 { return float64(size(50, 0)) / 100 }

// TestSoakBalancedMedia holds calls with a tone and its echo through a balancer
// and compares the books of both sides: what came in at one comes out at the
// other.
func TestSoakBalancedMedia(t *testing.T) {
	besideOthers(t)
	for name, balancer := range balancers() {
		t.Run(name, func(t *testing.T) {
			besideOthers(t)
			calls, hold := size(4, 40), time.Duration(size(5, 60))*time.Second
			callee := siptest.Sipp{Scenario: siptest.UAS, Calls: calls, Echo: true, Timeout: hold + 2*time.Minute}.Start(t)
			c := startCluster(t, clusterOptions{balancer: balancer, callee: callee.Addr})
			caller := siptest.Sipp{
				Scenario: siptest.UAC, Remote: c.office.sip, Service: telcoNumber, Calls: calls, Rate: 20, AtOnce: calls,
				Script:  siptest.Script{From: officeNumber, HoldMS: int(hold.Milliseconds()), MediaFile: siptest.ToneFile(t, 440, 0)},
				Timeout: hold + 2*time.Minute,
			}.Start(t)
			c.check(caller, calls)
			callee.Check(t, calls)
			c.settle()
			c.checkMedia(calls*int(hold/bridgetestPtime), tooLate())
			c.carriedBy(map[bool]string{true: "striped", false: "trunk-session"}[spreads(name)], calls)
		})
	}
}

// checkMedia compares what the office and the nodes say of the chunks between
// them, of which there should have been so many in each direction, and of which a
// share may be lost or come too late.
func (c *cluster) checkMedia(want int, share float64) {
	t := c.t
	t.Helper()
	const received, sent, lost = "riptide_media_received_packets_total", "riptide_media_sent_packets_total", "riptide_media_lost_packets_total"
	office := c.office.metrics(t)
	_, nodesReceived := c.sum(received, `"ript"`)
	_, nodesSent := c.sum(sent, `"ript"`)
	_, nodesLost := c.sum(lost, `"ript"`)
	for _, way := range []struct {
		name                 string
		sent, received, lost int
	}{
		{"office to telco", sum(office, sent, `"ript"`), nodesReceived, nodesLost},
		{"telco to office", nodesSent, sum(office, received, `"ript"`), sum(office, lost, `"ript"`)},
	} {
		t.Logf("%s: %d chunks sent, %d received, %d lost", way.name, way.sent, way.received, way.lost)
		if float64(way.sent) < float64(want)*(0.9-share) {
			t.Errorf("%s: only %d of %d chunks were sent", way.name, way.sent, want)
		}
		// The last ones of a call are under way when it ends.
		may := int(share * float64(way.sent))
		if way.lost > may || way.received < way.sent-way.sent/1000-10-may {
			t.Errorf("%s: %d chunks sent, %d received, %d lost", way.name, way.sent, way.received, way.lost)
		}
	}
}

// carriedBy checks by the office's log what carried the media of its calls.
func (c *cluster) carriedBy(carrier string, calls int) {
	c.t.Helper()
	if n := strings.Count(c.office.logText(c.t), fmt.Sprintf(" b.carrier=%s ", carrier)); n != calls {
		c.t.Errorf("%d of %d calls ended on %s", n, calls, carrier)
	}
}

// TestSilentByways holds calls in which nobody says anything for longer than
// balancers let a body be silent, 60 s by default: not one byway is lost.
func TestSilentByways(t *testing.T) {
	t.Parallel()
	hold := time.Duration(size(65, 90)) * time.Second
	for name, balancer := range balancers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const calls = 4
			callee := siptest.Sipp{Scenario: siptest.UAS, Calls: calls, Timeout: hold + 2*time.Minute}.Start(t)
			c := startCluster(t, clusterOptions{balancer: balancer, callee: callee.Addr})
			caller := siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: int(hold.Milliseconds())},
				Remote: c.office.sip, Service: telcoNumber, Calls: calls, Timeout: hold + 2*time.Minute,
			}.Start(t)
			c.check(caller, calls)
			callee.Check(t, calls)
			if n := sum(c.office.metrics(t), "riptide_ript_byways_reopened_total"); n != 0 {
				t.Errorf("%d byways were lost", n)
			}
		})
	}
}

// TestNodeKilled kills one of two nodes without a word: the calls of the other
// one go on, and new calls are taken, at once where TCP tells that a node is gone.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	for name, balancer := range balancers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const calls, hold = 10, 10 * time.Second
			callee := siptest.Sipp{Scenario: siptest.UAS, Calls: 1000, Timeout: 3 * time.Minute}.Start(t)
			c := startCluster(t, clusterOptions{balancer: balancer, callee: callee.Addr})
			place := func(calls int, hold time.Duration) *siptest.SippRun {
				return siptest.Sipp{
					Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: int(hold.Milliseconds())},
					Remote: c.office.sip, Service: telcoNumber, Calls: calls, Rate: 10, Timeout: time.Minute,
				}.Start(t)
			}
			before := place(calls, hold)
			var held [2]int
			for end := time.Now().Add(30 * time.Second); held[0]+held[1] != calls; time.Sleep(50 * time.Millisecond) {
				if held, _ = c.sum("riptide_calls_active"); time.Now().After(end) {
					t.Fatalf("the nodes have %v calls, want %d", held, calls)
				}
			}
			doomed := 0
			if held[1] > held[0] {
				doomed = 1
			}
			t.Logf("the nodes have %v calls; node %d is killed", held, doomed+1)
			c.serving[doomed].Signal(syscall.SIGKILL)
			<-c.serving[doomed].Done()
			if name == "Caddy h3 to h3" {
				// Nothing tells Caddy's QUIC that the node is gone: what it sends
				// there hangs until the health check has failed.
				time.Sleep(3 * time.Second)
			}
			c.check(place(calls, 100*time.Millisecond), calls)
			r, err := before.Result(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// A call of the dead node ends as well if its caller hangs up before
			// anybody has noticed.
			t.Logf("%d calls went on to their end", r.Successful)
			if survived := held[1-doomed]; r.Successful < survived {
				t.Errorf("%d calls went on to their end, %d were at the node that lives", r.Successful, survived)
			}
			c.serve(doomed)
			c.nodes[doomed].awaitReady(t, "")
			time.Sleep(2 * time.Second) // two rounds of health checks
			c.check(place(calls, 100*time.Millisecond), calls)
			callee.Stop()
		})
	}
}
