package bridge_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/policy"
)

// withMute adds a trunk whose peers will not answer.
func withMute(cfg *bridge.Config) {
	cfg.Policy.Trunks["mute"] = policy.Trunk{Name: "mute", Callers: cfg.Policy.Trunks["pbx"].Callers}
	cfg.Policy.Routes = append(cfg.Policy.Routes, policy.Route{From: "mute", To: "+1*", Via: "telco"})
	cfg.OnEnd = nil // more calls end than a rig has room for
}

// muteCalls makes calls of trunk mute, whose legs are m0, m1 ...
func (n *siteNode) muteCalls(count int) {
	n.t.Helper()
	for i := range count {
		a := leg("mute", func(info *bridge.LegInfo) { info.ID = fmt.Sprintf("m%d", i) })
		n.rig.start(a).PickUp(plan)
		n.await(a, bridgetest.Accepted)
	}
}

// muted makes the peers of a node's trunk mute say nothing when they are told where
// their call is.
func (n *siteNode) muted() {
	n.onResume = func(ctx context.Context, how bridge.Resumption) error {
		if strings.HasPrefix(how.ID, "m") {
			<-ctx.Done()
			return bridge.CauseSignallingLost.With("the peer did not answer in time")
		}
		return nil
	}
}

// heardOf is how many calls were taken over whose peers answer.
func (s *site) heardOf() (good int) {
	for _, n := range s.nodes {
		n.mu.Lock()
		for _, how := range n.how {
			if strings.HasPrefix(how.ID, "a") {
				good++
			}
		}
		n.mu.Unlock()
	}
	return good
}

// TestATrunkWhosePeersAreSilentHoldsUpNoOther: of a dead node, and of one that is
// emptied, the calls of others go on at once.
func TestATrunkWhosePeersAreSilentHoldsUpNoOther(t *testing.T) {
	const mute, good = 160, 20
	for name, lose := range map[string]func(*testing.T, *site){
		"killed": func(_ *testing.T, s *site) { s.kill("one") },
		"drained": func(t *testing.T, s *site) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = s.nodes["one"].bridge.HandOver(ctx)
			}()
			t.Cleanup(func() { cancel(); <-done })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inSiteOf(t, withMute, func(t *testing.T, s *site) {
				one := s.nodes["one"]
				one.muteCalls(mute)
				one.calls(good)
				for _, n := range s.nodes {
					n.muted()
				}
				lose(t, s)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if n := s.heardOf(); n != good {
					t.Errorf("%d of %d calls whose peers answer go on", n, good)
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}
