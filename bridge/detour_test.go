package bridge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
)

// TestWhatIsForAPeerThatHasNotComeYet goes by the node that gave its call, for as long
// as that listens; nothing of it comes back as if the peer had said it.
func TestWhatIsForAPeerThatHasNotComeYet(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one, two := s.nodes["one"], s.nodes["two"]
		legs := one.calls(1)
		heard := [2]*numbers{{}, {}}
		for i, l := range legs {
			l.Peer().Join(heard[i])
		}
		detours := make(chan bridge.Resumption, len(legs))
		two.onResumed = func(_ *bridgetest.Leg, how bridge.Resumption) { detours <- how }
		if found, err := two.bridge.Claim(t.Context(), "a0"); !found || err != nil {
			t.Fatal(found, err)
		}
		for range legs {
			how := <-detours
			i := 0
			if how.ID == "dialled-1" {
				i = 1
			}
			if how.Detour == nil {
				t.Fatalf("leg %s has no other way to its peer", how.ID)
			}
			for n := range uint64(50) {
				how.Detour.Push(frameOf(n))
			}
			synctest.Wait()
			heard[i].check(t, "the peer of "+how.ID, 50)
			defer func() {
				how.Detour.Push(frameOf(50))
				synctest.Wait()
				heard[i].check(t, "the peer of "+how.ID+", later", 50)
			}()
		}
		time.Sleep(6 * time.Second)
	})
}

// TestACallThatNobodyGave has no other way to its peers.
func TestACallThatNobodyGave(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one, two := s.nodes["one"], s.nodes["two"]
		one.calls(1)
		two.onResumed = func(_ *bridgetest.Leg, how bridge.Resumption) {
			if how.Detour != nil {
				t.Errorf("leg %s is sent what is for it by a node that is dead", how.ID)
			}
		}
		s.kill("one")
		time.Sleep(20 * time.Second)
		if got := s.active(); got["two"]+got["three"] != 1 {
			t.Errorf("calls %v", got)
		}
	})
}
