package sip

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"riptide/bridge"
)

// A request of a call that another node had reaches us: the call is taken over,
// and the request is served. What comes meanwhile waits its turn, and a call that
// is not to be had does not exist.
func TestRequestOfACallElsewhere(t *testing.T) {
	t.Parallel()
	a, tr, d, l, _ := callFor(t, "uas", 40000)
	rec := l.Record()
	crash(t, a)
	gate := make(chan struct{})
	legs := make(chan bridge.Leg, 1)
	var asked atomic.Int32
	var b *Agent
	ready := make(chan struct{})
	b = startAgent(t, newAcceptor(), tr, func(c *Config) {
		c.Claim = func(ctx context.Context, callID string) (bool, error) {
			<-ready
			asked.Add(1)
			if callID != rec.ID && asked.Load() == 1 {
				return false, nil
			}
			if callID != rec.ID {
				return false, errors.New("the store is away")
			}
			<-gate
			again, err := b.Resume(ctx, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered, Moved: true})
			if err != nil {
				t.Error(err)
				return false, nil
			}
			legs <- again
			return true, nil
		}
	})
	close(ready)
	d.to = b.Addr()
	other := d.peer.caller(b)
	other.remote += ";tag=unknown"
	other.do("INFO", "")
	other.answer(481, "INFO")
	other.do("BYE", "")
	if res := other.answer(500, "BYE"); len(headerValues(res, "Retry-After")) != 1 {
		t.Errorf("%s", res)
	}
	d.do("INFO", "")
	d.do("OPTIONS", "") // which must not overtake it
	d.do("INFO", "")
	close(gate)
	re := d.request("INVITE")
	d.peer.respond(re, 200, "OK", "", offerSDP(2, 40000))
	again := <-legs
	d.answer(200, "INFO")
	event(t, again, bridge.MediaChanged)
	hangUp(t, d, again)
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
}
