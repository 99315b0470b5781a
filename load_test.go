package main_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"riptide/h3/h3test"
)

// hold places calls, lets both ends of all of them talk, and hangs up. It
// returns both directions, and checks what carried them.
func (s *loadSite) hold(n int, carrier string, d time.Duration) (up, down *direction) {
	t := s.t
	t.Helper()
	var calls []*loadCall
	for i := range n {
		calls = append(calls, s.dial(i))
	}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		there := 0
		for _, c := range calls {
			if c.out.Media().Stats().Carrier == carrier {
				there++
			}
		}
		if there == n {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d calls are on %s", there, n, carrier)
		}
	}
	begun, used := time.Now(), cpuTime()
	up, down = talk(calls, d)
	t.Logf("%d calls talk for %v: %.2f processors busy in this process, %d connections", n, d,
		(cpuTime()-used).Seconds()/time.Since(begun).Seconds(), s.client.State().Trunks[0].Connections)
	for i, c := range calls {
		if at := c.out.Media().Stats().Carrier; at != carrier {
			t.Errorf("call %d ends on %s", i, at)
		}
	}
	var wg sync.WaitGroup
	for _, c := range calls {
		wg.Go(func() { c.hangUp(t) })
	}
	wg.Wait()
	return up, down
}

// cpuTime is what this process has used of its processors so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestSoakCleanPath: many calls at once with nothing between the two servers.
func TestSoakCleanPath(t *testing.T) {
	besideOthers(t)
	for media, carrier := range map[string]string{"webtransport": "webtransport", "trunk": "trunk-session"} {
		t.Run(media, func(t *testing.T) {
			besideOthers(t)
			s := newLoadSite(t, media, nil)
			up, down := s.hold(size(20, 150), carrier, time.Duration(size(4, 60))*time.Second)
			for _, d := range []*direction{up, down} {
				spoken, lost := d.report(t)
				d.books(t)
				// A short run shares the machine with others.
				if limit := float64(size(1000, 5)) / 10_000; float64(lost) > limit*float64(spoken) {
					t.Errorf("%s: more than %.2f %% lost", d.name, 100*limit)
				}
			}
		})
	}
}

// TestSoakLossyPath: 2 % loss and a round trip of 40 ms. The loss that is heard
// is that of the wire.
func TestSoakLossyPath(t *testing.T) {
	besideOthers(t)
	for media, carrier := range map[string]string{"webtransport": "webtransport", "trunk": "trunk-session"} {
		t.Run(media, func(t *testing.T) {
			besideOthers(t)
			var relay *h3test.Relay
			path := h3test.Path{Delay: 20 * time.Millisecond, Loss: 0.02}
			s := newLoadSite(t, media, over(path, path, 1, &relay))
			up, down := s.hold(size(10, 150), carrier, time.Duration(size(4, 60))*time.Second)
			for _, way := range []struct {
				*direction
				wire h3test.Counts
			}{{up, relay.Up()}, {down, relay.Down()}} {
				spoken, lost := way.report(t)
				way.books(t)
				t.Logf("%s: the wire took %d datagrams and lost %.4f %%", way.name, way.wire.Received, 100*way.wire.LossRate())
				if way.wire.Overflowed != 0 {
					t.Errorf("the relay could not keep up: %+v", way.wire)
				}
				// A short run is too short for the shares to agree.
				if heard := float64(lost) / float64(spoken); heard > way.wire.LossRate()+0.002+slack() {
					t.Errorf("%s: %.4f %% lost, %.4f %% by the wire", way.name, 100*heard, 100*way.wire.LossRate())
				}
			}
		})
	}
}

// slack is what a short run forgives: it is a few thousand frames, and shares the
// machine with others.
func slack() float64 { return float64(size(100, 0)) / 1000 }

// TestSoakBalancedDelay: striped streams through load balancers lose nothing; what
// they add to the delay is printed.
func TestSoakBalancedDelay(t *testing.T) {
	besideOthers(t)
	for name, balancer := range balancers() {
		t.Run(name, func(t *testing.T) {
			besideOthers(t)
			s := newLoadSite(t, "striped", behind(balancer))
			up, down := s.hold(size(6, 40), "striped", time.Duration(size(4, 60))*time.Second)
			for _, d := range []*direction{up, down} {
				spoken, lost := d.report(t)
				d.books(t)
				if float64(lost) > tooLate()*float64(spoken) {
					t.Errorf("%s: %d of %d chunks lost", d.name, lost, spoken)
				}
			}
		})
	}
}
