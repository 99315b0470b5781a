package bridge_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"riptide/bridge/cluster"
)

// TestACallIsGivenWhenItsLegsAreNotBusy: an exchange with a peer ends where it began,
// and what a leg has said is heard before it goes.
func TestACallIsGivenWhenItsLegsAreNotBusy(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one, two := s.nodes["one"], s.nodes["two"]
		legs := one.calls(1)
		legs[1].SetStays(true)
		if found, err := two.bridge.Claim(t.Context(), "a0"); !found || !errors.Is(err, cluster.ErrKept) {
			t.Errorf("asked for while a leg is busy: %v, %v", found, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		time.AfterFunc(2*time.Second, func() { legs[1].SetStays(false) })
		began := time.Now()
		if err := one.bridge.HandOver(ctx); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d < 2*time.Second || d > 5*time.Second {
			t.Errorf("it took %v", d)
		}
		if got := s.active(); got["two"]+got["three"] != 1 {
			t.Errorf("calls %v", got)
		}
	})
}

// TestTheTakerOfACallDies before it could put on record that it has it, and after it
// told the peers: who goes on tells them once more.
func TestTheTakerOfACallDies(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one, two := s.nodes["one"], s.nodes["two"]
		one.calls(1)
		two.way.set(true)
		if found, err := two.bridge.Claim(t.Context(), "a0"); !found || err != nil {
			t.Fatal(found, err)
		}
		if len(two.how) != 2 {
			t.Fatalf("%d legs were told", len(two.how))
		}
		s.kill("two")
		time.Sleep(20 * time.Second)
		if got, on := s.active(), s.owners(); got["one"] != 1 || on["one"] != 1 {
			t.Fatalf("calls %v, on record %v", got, on)
		}
		for _, how := range one.how {
			if !how.Moved || how.Exact {
				t.Errorf("leg %s goes on where it was: moved %v, exact %v", how.ID, how.Moved, how.Exact)
			}
		}
		if len(one.how) != 2 {
			t.Errorf("%d legs went on", len(one.how))
		}
	})
}
