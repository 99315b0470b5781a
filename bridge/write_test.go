package bridge_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
)

// slowStore takes a while for every update, and may lose the acknowledgement of
// one that took place.
type slowStore struct {
	store.Store
	takes time.Duration

	mu      sync.Mutex
	updates int
	lose    bool
}

func (s *slowStore) Update(ctx context.Context, b store.Bucket, key string, value []byte, rev uint64) (uint64, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updates++
	next, err := s.Store.Update(ctx, b, key, value, rev)
	if s.lose {
		s.lose = false
		return 0, fmt.Errorf("update: %w", context.DeadlineExceeded)
	}
	return next, err
}

// racedStore has another write come before the next updates, as of who gave the
// call away and has some under way. A cluster's store holds such a one against
// others until it may be read.
type racedStore struct {
	store.Store
	mu    sync.Mutex
	races int
	held  time.Time // until then every update comes too late
}

func (s *racedStore) Update(ctx context.Context, b store.Bucket, key string, value []byte, rev uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.held) {
		return 0, fmt.Errorf("update: %w", store.ErrConflict)
	}
	if s.races > 0 {
		s.races--
		e, err := s.Store.Get(ctx, b, key)
		if err != nil {
			return 0, err
		}
		if _, err := s.Store.Put(ctx, b, key, e.Value); err != nil {
			return 0, err
		}
	}
	return s.Store.Update(ctx, b, key, value, rev)
}

// TestWritesThatComeBeforeOurs do not keep a call from being on record.
func TestWritesThatComeBeforeOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var raced *racedStore
		r := newRig(t, func(cfg *bridge.Config) {
			raced = &racedStore{Store: cfg.Store}
			cfg.Store = raced
		})
		a := leg("pbx", nil)
		b := r.start(a)
		b.Ring()
		r.await(a, bridgetest.Progressed)
		synctest.Wait()
		raced.mu.Lock()
		raced.races, raced.held = 2, time.Now().Add(45*time.Millisecond)
		raced.mu.Unlock()
		b.PickUp(plan)
		r.await(a, bridgetest.Accepted)
		if rec, ok := r.record(); !ok || rec.State != bridge.StateAnswered {
			t.Errorf("answered, and on record is %+v", rec)
		}
		if n := r.bridge.StoreFailures(); n != 0 {
			t.Errorf("%d failures", n)
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

func newSlowRig(t *testing.T, takes time.Duration) (*rig, *slowStore) {
	var slow *slowStore
	r := newRig(t, func(cfg *bridge.Config) {
		slow = &slowStore{Store: cfg.Store, takes: takes}
		cfg.Store = slow
	})
	return r, slow
}

// TestASlowStoreDelaysNoRinging: the caller hears that it rings at once, and the
// answer when that is on record; what nobody waited for is written together.
func TestASlowStoreDelaysNoRinging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, slow := newSlowRig(t, time.Second)
		a := leg("pbx", nil)
		b := r.start(a)
		began := time.Now()
		b.Ring()
		r.await(a, bridgetest.Progressed)
		if d := time.Since(began); d != 0 {
			t.Errorf("the caller heard it ring after %v", d)
		}
		b.PickUp(plan)
		r.await(a, bridgetest.Accepted)
		if rec, ok := r.record(); !ok || rec.State != bridge.StateAnswered || rec.B == nil {
			t.Errorf("answered, and on record is %+v", rec)
		}
		if slow.updates != 2 {
			t.Errorf("%d writes: want one after the dialling, and one that has the answer", slow.updates)
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

// TestWhatNobodyWaitsForIsWritten: a call that rings for long is on record as
// ringing.
func TestWhatNobodyWaitsForIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newSlowRig(t, time.Second)
		a := leg("pbx", nil)
		b := r.start(a)
		b.Ring()
		time.Sleep(3 * time.Second)
		if rec, ok := r.record(); !ok || rec.State != bridge.StateAlerting || rec.B == nil {
			t.Errorf("on record: %+v", rec)
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

// TestALostAcknowledgementIsNotTheEndOfTheRecord: a write that was reported to
// have failed and took place leaves a revision that we do not know.
func TestALostAcknowledgementIsNotTheEndOfTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, slow := newSlowRig(t, time.Millisecond)
		a := leg("pbx", nil)
		slow.lose = true
		b := r.start(a)
		time.Sleep(time.Second)
		b.PickUp(plan)
		r.await(a, bridgetest.Accepted)
		if rec, ok := r.record(); !ok || rec.State != bridge.StateAnswered {
			t.Errorf("on record: %+v", rec)
		}
		if n := r.bridge.StoreFailures(); n != 1 {
			t.Errorf("%d failures", n)
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

// TestACallOfAnotherOwnerIsLetGoOf: whoever took the call over has raised its
// epoch. Its peers are his: they hear nothing more of us, not even the answer
// that was under way.
func TestACallOfAnotherOwnerIsLetGoOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := newSlowRig(t, time.Millisecond)
		a := leg("pbx", nil)
		b := r.start(a)
		time.Sleep(time.Second)
		rec, _ := r.record()
		rec.Epoch, rec.Node = 2, "other"
		value, err := rec.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.store.Put(t.Context(), store.Calls, rec.ID, value); err != nil {
			t.Fatal(err)
		}
		b.PickUp(plan)
		r.await(a, bridgetest.Abandoned)
		r.await(b, bridgetest.Abandoned)
		synctest.Wait()
		for _, l := range []*bridgetest.Leg{a, b} {
			for _, act := range l.Acts() {
				if act.Kind == bridgetest.Accepted || act.Kind == bridgetest.Finished {
					t.Errorf("leg %s: %+v", l.Info().ID, act)
				}
			}
		}
		if rec, ok := r.record(); !ok || rec.Node != "other" || rec.State == bridge.StateAnswered {
			t.Errorf("on record: %+v", rec)
		}
		if n := r.bridge.Active(); n != 0 || len(r.ended) != 0 {
			t.Errorf("%d calls, %d ended", n, len(r.ended))
		}
	})
}
