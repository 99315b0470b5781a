package bridge_test

import (
	"context"
	"sync"
	"testing"
	"time"
)

// TestTwoNodesAreEmptiedAtOnce, as where somebody restarts both: neither takes the
// other's calls, and none ends. What nobody else could take stays where it is.
func TestTwoNodesAreEmptiedAtOnce(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		const calls = 20
		one, two := s.nodes["one"], s.nodes["two"]
		one.calls(calls)
		two.calls(calls)
		s.kill("three")
		time.Sleep(5 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		var both sync.WaitGroup
		began := time.Now()
		for _, n := range []*siteNode{one, two} {
			both.Go(func() { _ = n.bridge.HandOver(ctx) })
		}
		both.Wait()
		if d := time.Since(began); d > time.Second {
			t.Errorf("they waited %v for each other", d)
		}
		if got := s.active(); got["one"]+got["two"] != 2*calls {
			t.Errorf("calls %v", got)
		}
		for _, n := range []*siteNode{one, two} {
			if err := n.bridge.Leave(t.Context()); err != nil {
				t.Error(err)
			}
		}
		on := s.owners()
		if on["one"]+on["two"] != 2*calls {
			t.Errorf("on record %v", on)
		}
	})
}

// TestCallsAreGivenToANodeThatEnds: what it is given before the giver knows is not
// ended with the calls that it had.
func TestCallsAreGivenToANodeThatEnds(t *testing.T) {
	for _, begun := range []time.Duration{0, 5 * time.Millisecond} {
		inSite(t, func(t *testing.T, s *site) {
			const calls = 20
			one, two := s.nodes["one"], s.nodes["two"]
			one.calls(calls)
			s.kill("three")
			time.Sleep(5 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var both sync.WaitGroup
			both.Go(func() { _ = one.bridge.HandOver(ctx) })
			time.Sleep(begun)
			both.Go(func() {
				if err := two.bridge.Shutdown(ctx); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second) // others of its calls take as long to end
				if err := two.members.Goodbye(); err != nil {
					t.Error(err)
				}
			})
			both.Wait()
			if err := one.bridge.Leave(ctx); err != nil {
				t.Error(err)
			}
			on := s.owners()
			if on["one"]+on["two"] != calls {
				t.Errorf("%v after the beginning: on record %v", begun, on)
			}
		})
	}
}
