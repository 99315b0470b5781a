package bridge_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
)

// electingStore takes no new key for a while, as between two leaders.
type electingStore struct {
	store.Store
	takes    time.Duration // an election
	patience time.Duration
	waiting  atomic.Int32
}

func (s *electingStore) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	began := time.Now()
	select {
	case <-time.After(min(s.takes, s.patience)):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if s.takes > s.patience {
		return 0, &store.Electing{Since: began, Until: began.Add(s.takes), Now: time.Now(), Why: errors.New("nobody answers")}
	}
	return s.Store.Create(ctx, b, key, value, ttl)
}

// TestANewCallWaitsForTheStore, while its nodes elect who leads it, for as long as the
// store does: then it is refused, and says when to call again. Nobody waits for a
// caller who has gone.
func TestANewCallWaitsForTheStore(t *testing.T) {
	for name, tc := range map[string]struct {
		takes, gives time.Duration // up, if not 0
		want         bridge.Cause
	}{
		"that is elected in time": {takes: time.Second},
		"that is not":             {takes: 9 * time.Second, want: bridge.Cause{Code: "store-unavailable", RetryAfter: 6 * time.Second}},
		"and gives up":            {takes: 9 * time.Second, gives: time.Second, want: bridge.CauseCancelled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var st *electingStore
				r := newRig(t, func(cfg *bridge.Config) {
					st = &electingStore{Store: cfg.Store, takes: tc.takes, patience: 3 * time.Second}
					cfg.Store = st
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tc.gives > 0 {
					time.AfterFunc(tc.gives, cancel)
				}
				a := leg("pbx", nil)
				err := r.bridge.Accept(ctx, a)
				cause := bridge.CauseOf(err)
				if err == nil {
					a.HangUp(bridge.CauseNormal, nil)
					r.summary()
					return
				}
				if cause.Code != tc.want.Code || cause.RetryAfter != tc.want.RetryAfter {
					t.Errorf("%v, call again after %v", err, cause.RetryAfter)
				}
				if n := r.bridge.Active(); n != 0 || st.waiting.Load() != 0 {
					t.Errorf("%d calls are left, %d wait", n, st.waiting.Load())
				}
			})
		})
	}
}
