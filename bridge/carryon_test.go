package bridge_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
)

// Create is away, too.
func (s *awayStore) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	if err := s.awaits(ctx); err != nil {
		return 0, err
	}
	return s.Store.Create(ctx, b, key, value, ttl)
}

// Get is away, too.
func (s *awayStore) Get(ctx context.Context, b store.Bucket, key string) (store.Entry, error) {
	if err := s.awaits(ctx); err != nil {
		return store.Entry{}, err
	}
	return s.Store.Get(ctx, b, key)
}

// Watch tells what happened meanwhile some time after it is back.
func (s *awayStore) Watch(ctx context.Context, b store.Bucket) (<-chan store.Entry, error) {
	in, err := s.Store.Watch(ctx, b)
	if err != nil {
		return nil, err
	}
	out := make(chan store.Entry)
	go func() {
		defer close(out)
		for e := range in {
			for s.isAway() && ctx.Err() == nil {
				for s.isAway() && ctx.Err() == nil {
					pause(ctx, time.Second)
				}
				pause(ctx, 3*time.Second)
			}
			select {
			case out <- e:
			case <-ctx.Done():
			}
		}
	}()
	return out, nil
}

// failing is set, but it says so at once.
func (s *awayStore) failing(away bool) {
	s.set(away)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = errors.New("no leader")
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// cutOff takes a node from the others and from the store, or gives it back.
func (s *site) cutOff(name string, v bool) {
	s.nodes[name].way.set(v)
	s.isolate(name, v)
}

func carryingOn(cfg *bridge.Config) { cfg.CarryOn = true }

// TestACutOffNodeCarriesOn where it is told to: its calls go on, though others
// have them too, and are let go of when it hears of those. New ones it refuses.
func TestACutOffNodeCarriesOn(t *testing.T) {
	inSiteOf(t, carryingOn, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		legs := one.calls(5)
		s.cutOff("one", true)
		time.Sleep(10 * time.Second)
		if got := s.active(); got["one"] != 5 || got["two"]+got["three"] != 5 {
			t.Errorf("calls %v", got)
		}
		if err := one.bridge.Accept(t.Context(), leg("pbx", nil)); !errors.Is(err, bridge.CauseStore) {
			t.Errorf("a new call: %v", err)
		}
		s.cutOff("one", false)
		time.Sleep(time.Minute)
		one.silent(legs)
		if got, on := s.active(), s.owners(); got["one"] != 0 || got["two"]+got["three"] != 5 || on["one"] != 0 {
			t.Errorf("calls %v, on record %v", got, on)
		}
	})
}

// TestTheLastNodeCarriesOn where it is told to: with the others gone it has its
// calls to itself, and later they are its own still, without a word to anybody.
func TestTheLastNodeCarriesOn(t *testing.T) {
	inSiteOf(t, carryingOn, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		legs := one.calls(5)
		for _, name := range three { // none hears another
			s.cutOff(name, true)
		}
		time.Sleep(20 * time.Minute)
		legs[0].HangUp(bridge.CauseNormal, nil)
		one.await(legs[1], bridgetest.Finished)
		for _, name := range three {
			s.cutOff(name, false)
		}
		time.Sleep(time.Minute)
		if got, on := s.active(), s.owners(); got["one"] != 4 || len(got) != 1 || on["one"] != 4 || len(on) != 1 {
			t.Errorf("calls %v, on record %v", got, on)
		}
		for _, l := range legs[2:] {
			for _, act := range l.Acts() {
				if act.Kind == bridgetest.Abandoned || act.Kind == bridgetest.Finished {
					t.Errorf("leg %s: %v", l.Info().ID, act)
				}
			}
		}
		if len(one.how) > 0 {
			t.Errorf("%d legs were made again", len(one.how))
		}
		if rec, ok := one.record(); !ok || rec.Epoch < 2 {
			t.Errorf("on record: %+v", rec)
		}
		s.kill("one")
		time.Sleep(10 * time.Second)
		if got := s.active(); got["two"]+got["three"] != 4 {
			t.Errorf("calls %v", got)
		}
	})
}

// TestANodeThatWasAwayForLongEndsNoCall: votes are forgotten by then, and what it
// knows of calls is old.
func TestANodeThatWasAwayForLongEndsNoCall(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		one.calls(5)
		s.cutOff("one", true)
		time.Sleep(30 * time.Minute)
		s.cutOff("one", false)
		time.Sleep(time.Minute)
		if got, on := s.active(), s.owners(); got["two"]+got["three"] != 5 || got["one"] != 0 || on["two"]+on["three"] != 5 {
			t.Errorf("calls %v, on record %v", got, on)
		}
		if len(one.how) > 0 {
			t.Errorf("it made %d legs of calls that go on elsewhere, and ended them", len(one.how))
		}
	})
}

// TestNewCallsWithoutTheStore are refused, or taken where that is the policy: then
// they are put on record when that works, and others know of them meanwhile.
func TestNewCallsWithoutTheStore(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		s.store.set(true)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // as long as the clustered store tries
		defer cancel()
		if err := s.nodes["one"].bridge.Accept(ctx, leg("pbx", nil)); !errors.Is(err, bridge.CauseStore) {
			t.Errorf("a new call: %v", err)
		}
	})
	for name, cluster := range map[string]bool{"alone": false, "one of three": true} {
		t.Run("taken, "+name, func(t *testing.T) {
			test := func(t *testing.T, r *rig, away func(bool)) {
				away(true)
				a := leg("pbx", nil)
				b := r.start(a)
				b.PickUp(plan)
				r.await(a, bridgetest.Accepted)
				time.Sleep(20 * time.Second)
				if n := r.bridge.StoreFailures(); n == 0 {
					t.Error("nobody was told that the store fails")
				}
				away(false)
				time.Sleep(2 * time.Minute)
				rec, ok := r.record()
				if !ok || rec.State != bridge.StateAnswered || rec.Epoch != 1 {
					t.Errorf("on record: %v, %+v", ok, rec)
				}
				a.HangUp(bridge.CauseNormal, nil)
				r.await(b, bridgetest.Finished)
				r.summary()
				synctest.Wait()
				if _, ok := r.record(); ok {
					t.Error("its record remains")
				}
			}
			accept := func(cfg *bridge.Config) { cfg.Unrecorded = true }
			if cluster {
				inSiteOf(t, accept, func(t *testing.T, s *site) {
					test(t, s.nodes["one"].rig, s.nodes["one"].way.failing)
				})
				return
			}
			synctest.Test(t, func(t *testing.T) {
				var way *awayStore
				r := newRig(t, func(cfg *bridge.Config) {
					accept(cfg)
					way = &awayStore{Store: cfg.Store}
					cfg.Store = way
				})
				test(t, r, way.failing)
			})
		})
	}
}
