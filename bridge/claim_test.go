package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/cluster"
	"riptide/bridge/store"
)

// TestARequestBringsItsCall: the node that a peer finds instead of a dead one
// takes the call over.
func TestARequestBringsItsCall(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one, two := s.nodes["one"], s.nodes["two"]
		one.calls(1)
		s.kill("one")
		began := time.Now()
		var asked sync.WaitGroup
		for _, id := range []string{"a0", "dialled-1", "a0"} { // at once
			asked.Go(func() {
				if found, err := two.bridge.Claim(t.Context(), id); !found || err != nil {
					t.Errorf("%s: %v %v", id, found, err)
				}
			})
		}
		asked.Wait()
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if len(two.how) != 2 || !two.how[0].Moved || two.how[0].State != bridge.StateAnswered {
			t.Errorf("resumed: %+v", two.how)
		}
		synctest.Wait()
		if rec, _ := two.record(); rec.Node != "two" || rec.Epoch != 2 {
			t.Errorf("%+v", rec)
		}
		time.Sleep(2 * time.Minute) // for what remains of the first
		if got := s.active(); len(got) != 1 || got["two"] != 1 {
			t.Errorf("calls: %v", got)
		}
		two.resumed["a0"].HangUp(bridge.CauseNormal, nil)
		if act := two.await(two.resumed["dialled-1"], bridgetest.Finished); act.Cause.By != bridge.ByCaller {
			t.Errorf("%+v", act.Cause)
		}
		synctest.Wait()
		if got := s.owners(); len(got) != 0 {
			t.Errorf("on record: %v", got)
		}
	})
}

// TestACallOfALivingNodeStaysThere as long as nobody asks for it, and what nobody
// has is not found.
func TestACallOfALivingNodeStaysThere(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one, two := s.nodes["one"], s.nodes["two"]
		one.calls(1)
		if found, err := one.bridge.Claim(t.Context(), "a0"); !found || err != nil {
			t.Error("where it is:", found, err)
		}
		if found, err := two.bridge.Claim(t.Context(), "nobody's"); found || err != nil {
			t.Error(found, err)
		}
		time.Sleep(time.Minute)
		if got := s.active(); got["one"] != 1 || len(got) != 1 || len(one.how)+len(two.how) != 0 {
			t.Errorf("calls: %v", got)
		}
	})
}

// TestOfTwoThatClaimOneGetsIt: the other leaves the peers alone.
func TestOfTwoThatClaimOneGetsIt(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		const calls = 10
		s.nodes["one"].calls(calls)
		s.kill("one")
		var asked sync.WaitGroup
		for i := range calls {
			for _, name := range []string{"two", "three"} {
				asked.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					_, err := s.nodes[name].bridge.Claim(ctx, fmt.Sprintf("a%d", i))
					if err != nil && !errors.Is(err, cluster.ErrLives) {
						t.Error(err)
					}
				})
			}
		}
		asked.Wait()
		two, three := s.nodes["two"], s.nodes["three"]
		if n := len(two.how) + len(three.how); n != 2*calls {
			t.Errorf("%d legs were resumed, %d and %d", n, len(two.how), len(three.how))
		}
		time.Sleep(2 * time.Minute)
		if got, on := s.active(), s.owners(); got["two"]+got["three"] != calls || got["one"] != 0 || on["two"] != got["two"] || on["three"] != got["three"] {
			t.Errorf("calls %v, on record %v", got, on)
		}
	})
}

// TestPeersAreToldOfAMoveThatWasCutShort: the node that took a call over lost its
// lease before the peers had answered. On record it is the owner then, but they
// speak to the dead one.
func TestPeersAreToldOfAMoveThatWasCutShort(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		s.nodes["one"].calls(1)
		two := s.nodes["two"]
		two.mu.Lock()
		two.answer = time.Minute
		two.mu.Unlock()
		s.kill("one")
		claimed := make(chan error, 1)
		go func() {
			_, err := two.bridge.Claim(t.Context(), "a0")
			claimed <- err
		}()
		time.Sleep(time.Second)
		s.isolate("two", true)
		if err := <-claimed; err == nil {
			t.Error("claimed without a majority")
		}
		if on := s.owners(); on["two"] != 1 {
			t.Errorf("on record %v", on)
		}
		two.mu.Lock()
		two.answer = 10 * time.Millisecond
		two.mu.Unlock()
		s.isolate("two", false)
		time.Sleep(20 * time.Second)
		if got := s.active(); got["two"] != 1 || len(two.how) != 2 {
			t.Fatalf("calls %v, %d legs resumed", got, len(two.how))
		}
		for _, how := range two.how {
			if !how.Moved {
				t.Errorf("leg %s: %+v", how.ID, how)
			}
		}
	})
}

// TestCallsOfADeadNodeAreSharedOut, without anybody asking for them.
func TestCallsOfADeadNodeAreSharedOut(t *testing.T) {
	for _, how := range []string{"killed", "goodbye"} {
		t.Run(how, func(t *testing.T) {
			inSite(t, func(t *testing.T, s *site) {
				const calls = 40
				one := s.nodes["one"]
				legs := one.calls(calls)
				if how == "killed" {
					s.kill("one")
				} else {
					if err := one.bridge.Leave(t.Context()); err != nil {
						t.Fatal(err)
					}
					one.silent(legs)
					if err := one.members.Goodbye(); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(2500 * time.Millisecond)
				got, on := s.active(), s.owners()
				if got["two"]+got["three"] != calls || got["two"] < calls/5 || got["three"] < calls/5 {
					t.Errorf("calls %v", got)
				}
				if on["two"] != got["two"] || on["three"] != got["three"] || on["one"] != 0 {
					t.Errorf("calls %v, on record %v", got, on)
				}
				if n := len(s.nodes["two"].how) + len(s.nodes["three"].how); n != 2*calls {
					t.Errorf("%d legs were resumed", n)
				}
				time.Sleep(2 * time.Minute)
				if got := s.active(); got["two"]+got["three"] != calls || got["one"] != 0 {
					t.Errorf("later: calls %v", got)
				}
			})
		})
	}
}

// TestACallThatIsNotTakenByItsHeir is taken by another node.
func TestACallThatIsNotTakenByItsHeir(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		const calls = 10
		s.nodes["one"].calls(calls)
		go func() { _ = s.nodes["three"].bridge.Drain(t.Context()) }()
		synctest.Wait()
		s.kill("one")
		time.Sleep(10 * time.Second)
		if got := s.active(); got["two"] != calls || got["three"] != 0 {
			t.Errorf("calls %v", got)
		}
		time.Sleep(2 * time.Minute)
	})
}

// TestANodeThatIsCutOffIsSilent before anybody gets its calls, takes no new ones,
// and does not get back what others have.
func TestANodeThatIsCutOffIsSilent(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		legs := one.calls(5)
		s.isolate("one", true)
		time.Sleep(2300 * time.Millisecond)
		one.silent(legs)
		if got := s.active(); len(got) != 0 {
			t.Errorf("calls %v", got)
		}
		err := one.bridge.Accept(t.Context(), leg("pbx", nil))
		if !errors.Is(err, bridge.CauseStore) {
			t.Errorf("a new call: %v", err)
		}
		time.Sleep(10 * time.Second)
		if got := s.active(); got["two"]+got["three"] != 5 || got["one"] != 0 {
			t.Errorf("calls %v", got)
		}
		s.isolate("one", false)
		time.Sleep(time.Minute)
		if got, on := s.active(), s.owners(); got["two"]+got["three"] != 5 || got["one"] != 0 || on["one"] != 0 {
			t.Errorf("calls %v, on record %v", got, on)
		}
		if _, err := one.bridge.Claim(t.Context(), "a0"); err != nil {
			t.Errorf("what others have, and give: %v", err)
		}
		if err := one.bridge.Accept(t.Context(), leg("pbx", nil)); err != nil {
			t.Errorf("a new call: %v", err)
		}
	})
}

// TestAShortCut: a node that is back before others may have its calls goes on
// with them, at the same addresses.
func TestAShortCut(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		legs := one.calls(5)
		s.isolate("one", true)
		time.Sleep(2500 * time.Millisecond)
		one.silent(legs)
		s.isolate("one", false)
		time.Sleep(2 * time.Second)
		if got, on := s.active(), s.owners(); got["one"] != 5 || len(got) != 1 || on["one"] != 5 {
			t.Errorf("calls %v, on record %v", got, on)
		}
		if len(one.how) != 10 || one.how[0].Moved {
			t.Errorf("%d legs, %+v", len(one.how), one.how)
		}
		one.resumed["a0"].HangUp(bridge.CauseNormal, nil)
		one.await(one.resumed["dialled-1"], bridgetest.Finished)
	})
}

// TestATakeoverDoesNotWaitForTheStore: the claim is written when the store is
// back, also over what the dead node wrote last.
func TestATakeoverDoesNotWaitForTheStore(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		two := s.nodes["two"]
		s.nodes["one"].calls(1)
		s.kill("one")
		s.store.set(true)
		began := time.Now()
		if found, err := two.bridge.Claim(t.Context(), "dialled-1"); !found || err != nil {
			t.Fatal(found, err)
		}
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		rec, _ := two.record()
		time.Sleep(7 * time.Second)
		value, err := rec.Encode()
		if err == nil {
			_, err = s.store.Put(t.Context(), store.Calls, rec.ID, value) // which was under way
		}
		if err != nil {
			t.Fatal(err)
		}
		s.store.set(false)
		time.Sleep(10 * time.Second)
		if rec, _ := two.record(); rec.Node != "two" || rec.Epoch != 2 {
			t.Errorf("on record: %+v", rec)
		}
		time.Sleep(2 * time.Minute)
		if got := s.active(); got["two"] != 1 || len(got) != 1 {
			t.Errorf("calls %v", got)
		}
	})
}

// TestAProcessThatIsBackAtOnceHasItsCalls, in a cluster too.
func TestAProcessThatIsBackAtOnceHasItsCalls(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		s.nodes["one"].calls(5)
		old := s.kill("one")
		time.Sleep(20 * time.Millisecond) // no beat of it is late yet: then the others would take them
		again := s.node("one")
		again.start(bridge.Restored{Resumed: 5})
		if len(again.how) != 10 || again.how[0].Moved {
			t.Errorf("%d legs, %+v", len(again.how), again.how)
		}
		time.Sleep(2 * time.Minute)
		if got, on := s.active(), s.owners(); got["one"] != 5 || len(got) != 1 || on["one"] != 5 || old.bridge.Active() != 0 {
			t.Errorf("calls %v, on record %v, of before %d", got, on, old.bridge.Active())
		}
	})
}

// TestACallThatEndedWithoutTheStoreDoesNotComeBack.
func TestACallThatEndedWithoutTheStoreDoesNotComeBack(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		legs := one.calls(1)
		s.store.set(true)
		legs[0].HangUp(bridge.CauseNormal, nil)
		one.summary()
		time.Sleep(20 * time.Second)
		s.store.set(false)
		time.Sleep(20 * time.Second)
		if got, on := s.active(), s.owners(); len(got)+len(on) != 0 || len(one.how) != 0 {
			t.Errorf("calls %v, on record %v, resumed %v", got, on, one.how)
		}
	})
}
