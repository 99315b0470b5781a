package bridge_test

import (
	"context"
	"testing"
	"time"

	"riptide/bridge"
)

// TestANodeIsEmptied: its calls go to the others, each its share; what is being
// set up goes when it is answered.
func TestANodeIsEmptied(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		const calls = 120
		one := s.nodes["one"]
		legs := one.calls(calls)
		late := leg("pbx", func(info *bridge.LegInfo) { info.ID = "late" })
		rings := one.rig.start(late)
		time.AfterFunc(2*time.Second, func() { rings.PickUp(plan) })
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := one.bridge.HandOver(ctx); err != nil {
			t.Fatal(err)
		}
		one.bridge.ListenOut(ctx)
		got, on := s.active(), s.owners()
		if got["one"] != 0 || got["two"]+got["three"] != calls+1 || got["two"] < calls/4 || got["three"] < calls/4 || on["one"] != 0 {
			t.Errorf("calls %v, on record %v", got, on)
		}
		one.silent(append(legs, late, rings))
		if n := one.bridge.Moved(); n != calls+1 {
			t.Errorf("%d calls were moved", n)
		}
		if err := one.bridge.Accept(t.Context(), leg("pbx", nil)); err == nil {
			t.Error("a new call is taken")
		}
	})
}

// TestANodeIsEmptiedThoughAnHeirDies: what that one was given and did not take
// goes to the other.
func TestANodeIsEmptiedThoughAnHeirDies(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		const calls = 20
		one := s.nodes["one"]
		one.calls(calls)
		s.kill("two") // which counts as alive for a while yet
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := one.bridge.HandOver(ctx); err != nil {
			t.Fatal(err)
		}
		if got, on := s.active(), s.owners(); got["three"] != calls || on["three"] != calls {
			t.Errorf("calls %v, on record %v", got, on)
		}
	})
}

// TestTheDeadAreNoHeirs.
func TestTheDeadAreNoHeirs(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		if !one.bridge.HasHeirs() {
			t.Error("the living are none")
		}
		s.kill("two")
		s.kill("three")
		time.Sleep(5 * time.Second)
		if one.bridge.HasHeirs() {
			t.Error("the dead are")
		}
	})
}
