package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"riptide/bridge/store"
	"riptide/bridge/store/embedded"
)

// leader is the node that takes the writes of a bucket.
func (s *site) leader(ctx context.Context, b store.Bucket) string {
	s.t.Helper()
	for ctx.Err() == nil {
		s.mu.Lock()
		for name, st := range s.stores {
			if st.Leads(b) {
				s.mu.Unlock()
				return name
			}
		}
		s.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("no node takes the writes of %s", b)
	return ""
}

// TestANodeThatStopsHandsTheStoreOver: what is under way when its leader is stopped is
// written all the same, once.
func TestANodeThatStopsHandsTheStoreOver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	writtenOnce(t, s.stores["a"])
	leads := s.leader(ctx, store.Calls)
	var others []*embedded.Store
	for name, st := range s.stores {
		if name != leads {
			others = append(others, st)
		}
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	var mu sync.Mutex
	var longest time.Duration
	wrote, refused := 0, 0
	for i := range 8 {
		writers.Go(func() {
			st, key := others[i%len(others)], fmt.Sprint("call-", i)
			rev, err := st.Create(ctx, store.Calls, key, []byte("0"), 0)
			for n := 1; err == nil; n++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				began := time.Now()
				rev, err = st.Update(ctx, store.Calls, key, fmt.Append(nil, n), rev)
				mu.Lock()
				longest, wrote = max(longest, time.Since(began)), wrote+1
				var electing *store.Electing
				if errors.As(err, &electing) {
					refused++ // where the machine stands still
					rev, err = current(ctx, st, key)
				}
				mu.Unlock()
			}
			t.Errorf("%s: %v", key, err)
		})
	}
	time.Sleep(200 * time.Millisecond)
	began := time.Now()
	s.stop(leads)
	t.Logf("%s has stopped after %v", leads, time.Since(began))
	next := s.leader(ctx, store.Calls)
	time.Sleep(200 * time.Millisecond)
	close(stop)
	writers.Wait()
	t.Logf("%s leads now; %d writes, the longest took %v, %d were refused", next, wrote, longest, refused)
	if refused > 0 && os.Getenv("RIPTIDE_SOAK") != "" {
		t.Error("refused where nothing else runs")
	}
}

// current is the revision of a key, when somebody answers.
func current(ctx context.Context, st *embedded.Store, key string) (uint64, error) {
	for {
		e, err := st.Get(ctx, store.Calls, key)
		if err == nil || ctx.Err() != nil {
			return e.Revision, err
		}
	}
}

// writtenOnce: nobody knows of a write without an answer whether it was done, so it is
// sent again; but who writes the same is somebody else.
func writtenOnce(t *testing.T, s *embedded.Store) {
	t.Helper()
	s.Deafen(3)
	created, err := s.Create(t.Context(), store.Nonces, "n", nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), store.Nonces, "n", nil, time.Minute); !errors.Is(err, store.ErrExists) {
		t.Errorf("created by another: %v", err)
	}
	s.Deafen(2)
	updated, err := s.Update(t.Context(), store.Nonces, "n", []byte("x"), created)
	if err != nil || updated != created+1 {
		t.Errorf("update of %d: %d, %v", created, updated, err)
	}
	s.Deafen(2)
	if rev, err := s.Put(t.Context(), store.Nonces, "n", []byte("y")); err != nil || rev != updated+1 {
		t.Errorf("put after %d: %d, %v", updated, rev, err)
	}
}
