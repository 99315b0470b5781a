package bridge_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
)

// fullStore is on a disk that can be full: it reads, and does not write.
type fullStore struct {
	store.Store
	full atomic.Bool
}

var errFull = errors.New("no space left on device")

func (s *fullStore) Update(ctx context.Context, b store.Bucket, key string, value []byte, rev uint64) (uint64, error) {
	if s.full.Load() {
		return 0, errFull
	}
	return s.Store.Update(ctx, b, key, value, rev)
}

func (s *fullStore) Delete(ctx context.Context, b store.Bucket, key string) error {
	if s.full.Load() {
		return errFull
	}
	return s.Store.Delete(ctx, b, key)
}

// runs has what a bridge does beside its calls done, until the test ends.
func (s *successor) runs() {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.bridge.Run(ctx)
	}()
	s.t.Cleanup(func() {
		cancel()
		<-done
	})
}

// TestAFullDiskEndsNoCallAtARestart: a call goes on although nothing can be put on
// record, is put there when that works, and leaves nothing behind if it ends before.
func TestAFullDiskEndsNoCallAtARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		answeredCall(r)
		if err := r.bridge.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		disk := &fullStore{Store: r.store}
		disk.full.Store(true)
		r.store = disk
		s := follow(r)
		s.runs()
		legs := s.restore(bridge.Restored{Resumed: 1})
		if s.bridge.StoreFailures() == 0 {
			t.Error("nobody was told that the store fails")
		}
		time.Sleep(time.Minute)
		disk.full.Store(false)
		time.Sleep(10 * time.Second)
		if rec, ok := s.record(); !ok || rec.Epoch != 2 {
			t.Errorf("on record: %v, %+v", ok, rec)
		}
		disk.full.Store(true)
		legs["a"].HangUp(bridge.CauseNormal, nil)
		s.await(legs["dialled-1"], bridgetest.Finished)
		s.summary()
		synctest.Wait()
		if _, ok := s.record(); !ok {
			t.Fatal("its record was removed from a disk that takes no write")
		}
		disk.full.Store(false)
		time.Sleep(10 * time.Second)
		if _, ok := s.record(); ok {
			t.Error("a record remains: it would be found again at the next start")
		}
	})
}

// TestARenamedBoxHasItsCalls: whoever holds the state directory has the calls in
// it. Where it seems to be a copy, the calls are the other box's.
func TestARenamedBoxHasItsCalls(t *testing.T) {
	for name, tc := range map[string]struct {
		away time.Duration
		want bridge.Restored
	}{
		"renamed": {time.Second, bridge.Restored{Resumed: 1}},
		"a copy":  {3 * time.Minute, bridge.Restored{Ended: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(c *bridge.Config) { c.Node = "before" })
				answeredCall(r)
				if err := r.bridge.Leave(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tc.away)
				s := follow(r)
				s.runs()
				legs := s.restore(tc.want)
				if tc.want.Resumed == 0 {
					if len(legs) > 0 {
						t.Error("the peers of another box's call were spoken to")
					}
				} else {
					if rec, ok := s.record(); !ok || rec.Node != "test" {
						t.Errorf("on record: %v, %+v", ok, rec)
					}
					legs["a"].HangUp(bridge.CauseNormal, nil)
					s.summary()
				}
				time.Sleep(10 * time.Second)
				if _, ok := s.record(); ok {
					t.Error("a record remains")
				}
			})
		})
	}
}

// TestARecordThatCannotBeRead stays for as long as its call could go on if
// somebody put the key back, and no longer.
func TestARecordThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		if _, err := r.store.Put(t.Context(), store.Calls, "call", []byte(`{"v":99}`)); err != nil {
			t.Fatal(err)
		}
		s := follow(r)
		s.runs()
		s.restore(bridge.Restored{Lost: 1})
		there := func() bool {
			keys, err := s.store.Keys(t.Context(), store.Calls)
			if err != nil {
				t.Fatal(err)
			}
			return len(keys) > 0
		}
		time.Sleep(time.Minute)
		if !there() {
			t.Error("it was removed at once")
		}
		time.Sleep(2 * time.Minute)
		if there() {
			t.Error("it remains for ever")
		}
	})
}

// TestAClockThatWasSetBack: the call goes on, and its numbers move on by the most
// that can have passed: none may be used twice.
func TestAClockThatWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		answeredCall(r)
		if err := r.bridge.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := follow(r, func(c *bridge.Config) {
			c.Now = func() time.Time { return time.Now().Add(-time.Hour) }
		})
		legs := s.restore(bridge.Restored{Resumed: 1})
		if idle := s.how["a"].Idle; idle != 2*time.Minute {
			t.Errorf("it was not served for %v", idle)
		}
		legs["a"].HangUp(bridge.CauseNormal, nil)
		s.summary()
	})
}
