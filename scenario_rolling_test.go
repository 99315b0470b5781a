package main_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/policy"
)

// streamTalk is how long a call of a stream lasts: of many a second, not long, since
// it is their setting up that is looked at.
func streamTalk() time.Duration { return time.Duration(size(3000, 500)) * time.Millisecond }

// streamNumber calls for a moment, where others hold the line.
const streamNumber = "+12025550101"

// TestRollingUpgradeUnderCalls: both nodes of a telco are emptied, ended and started
// again, with the next release, one after the other, while an office places calls.
// None of these should fail, and those that last go on.
func TestRollingUpgradeUnderCalls(t *testing.T) {
	besideOthers(t)
	for name, balancer := range balancers() {
		if name != "Caddy h3 to h2" && size(0, 1) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			besideOthers(t)
			held := size(2, 5) // each way: with the stream as many as two processors carry, telephones and balancer included
			c := startShared(t, sharedOptions{balancer: balancer})
			next := nextRelease(t)
			c.pbx.call(0, held, officeNumber, telcoNumber)
			c.carrier.call(0, held, telcoNumber, officeNumber)
			stood := standstill()
			stream := c.pbx.stream(time.Second / time.Duration(size(5, 20)))
			for i := range c.nodes {
				time.Sleep(5 * time.Second) // until the other node votes
				c.upgrade(t, i, next)
			}
			placed, failed, lost := stream()
			c.tellCalls(t, placed, failed, lost)
			// While the store of the nodes elects a leader new calls are refused: a short
			// run, beside other tests, shows that most are not.
			if len(failed)+len(lost) > placed*size(50, 0)/100 {
				c.mustNot(t, "of %d calls %d failed and %d were lost", placed, len(failed), len(lost))
			}
			c.goneOn(t)
			tellFrames(t, "from the office to the telco", c.carrier)
			tellFrames(t, "from the telco to the office", c.pbx)
			all, longest := stood()
			t.Logf("this process, of which the telephones are part, stood still for %v of that time, %v at the longest", round(all), round(longest))
			for _, p := range []*telephone{c.pbx, c.carrier} {
				if size(0, 1) == 1 {
					p.tellHoles()
				}
				p.end()
			}
		})
	}
}

// standstill measures for how long this process does not run: then its telephones
// say nothing, and nothing of that is lost on its way.
func standstill() (stop func() (all, longest time.Duration)) {
	const every, usual = 10 * time.Millisecond, 20 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	var all, longest time.Duration
	watch.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			time.Sleep(every)
			if d := time.Since(began) - usual; d > 0 {
				all, longest = all+d, max(longest, d)
			}
		}
	})
	return func() (time.Duration, time.Duration) {
		cancel()
		watch.Wait()
		return all, longest
	}
}

// outcome is how a call of a stream went wrong.
type outcome struct {
	call string
	err  error
}

// stream places a short call every so often, until it is told to stop; then it
// says how many there were, which of them were not answered, and which ended before
// the caller hung up.
func (p *telephone) stream(every time.Duration) (stop func() (placed int, failed, lost []outcome)) {
	ctx, cancel := context.WithCancel(p.talking)
	var calls sync.WaitGroup
	var mu sync.Mutex
	var placed int
	var failed, lost []outcome
	place := func(n int) {
		caller := bridgetest.Caller{Dialer: p.agent, Hz: p.hz, TalkFor: streamTalk()}
		h, err := caller.Call(p.talking, bridge.Intent{
			Call: fmt.Sprint("stream-", n), Trunk: p.trunks[0], From: policy.Number(streamNumber), To: policy.Number(telcoNumber), Hops: bridge.DefaultHops,
			Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}},
		})
		mu.Lock()
		defer mu.Unlock()
		placed++
		switch {
		case err != nil:
			failed = append(failed, outcome{h.Info.ID, err})
		case h.Cause.By != bridge.ByCaller:
			lost = append(lost, outcome{h.Info.ID, h.Cause})
		}
	}
	calls.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
				calls.Go(func() { place(n) })
			case <-ctx.Done():
				return
			}
		}
	})
	return func() (int, []outcome, []outcome) {
		cancel()
		calls.Wait()
		return placed, failed, lost
	}
}
