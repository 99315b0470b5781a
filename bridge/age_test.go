package bridge_test

import (
	"testing"
	"time"

	"riptide/bridge"
)

// TestNodesWhoseClocksDiffer: a call goes on at a node that thinks it is another time
// than the node that had it, and its numbers move on by what may have been sent.
func TestNodesWhoseClocksDiffer(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, 30 * time.Second, -30 * time.Second, -time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			edit := func(cfg *bridge.Config) {
				if cfg.Node == "two" {
					cfg.Now = func() time.Time { return time.Now().Add(by) }
				}
			}
			inSiteOf(t, edit, func(t *testing.T, s *site) {
				one, two := s.nodes["one"], s.nodes["two"]
				one.calls(1)
				time.Sleep(20 * time.Second)
				s.kill("one")
				if found, err := two.bridge.Claim(t.Context(), "a0"); !found || err != nil {
					t.Fatal(found, err)
				}
				time.Sleep(time.Second)
				if got := s.active(); got["two"] != 1 {
					t.Fatalf("calls: %v", got)
				}
				for _, how := range two.how {
					if how.Idle < 20*time.Second || how.Idle > 2*time.Minute {
						t.Errorf("leg %s has been idle for %v", how.ID, how.Idle)
					}
				}
			})
		})
	}
}
