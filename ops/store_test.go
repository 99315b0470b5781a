package ops

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"riptide/bridge/store"
)

// fullStore is one on a disk that is full.
type fullStore struct {
	store.Store
	full bool
}

var errFull = errors.New("no space left on device")

func (s *fullStore) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	if s.full {
		return 0, errFull
	}
	return s.Store.Create(ctx, b, key, value, ttl)
}

func (s *fullStore) Put(ctx context.Context, b store.Bucket, key string, value []byte) (uint64, error) {
	if s.full {
		return 0, errFull
	}
	return s.Store.Put(ctx, b, key, value)
}

// TestReadyOnlyIfCallsCanBeStored: a box whose disk is full refuses new calls, so
// it says that it does, and that it takes them again although no call came to try.
func TestReadyOnlyIfCallsCanBeStored(t *testing.T) {
	s := newServer(t, Sources{})
	disk := &fullStore{Store: store.NewMemory()}
	st := s.Measure(disk, nil)
	ctx := t.Context()
	if err := s.Writable(ctx); err != nil {
		t.Errorf("nothing was written yet: %v", err)
	}
	disk.full = true
	if _, err := st.Create(ctx, store.Calls, "a", nil, 0); err == nil {
		t.Fatal("the disk is not full")
	}
	if err := s.Writable(ctx); err == nil || !strings.Contains(err.Error(), errFull.Error()) {
		t.Errorf("it is full: %v", err)
	}
	disk.full = false
	if err := s.Writable(ctx); err != nil {
		t.Errorf("it is full no more: %v", err)
	}
	if _, err := st.Create(ctx, store.Calls, "a", nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Create(ctx, store.Calls, "a", nil, 0); !errors.Is(err, store.ErrExists) || s.Writable(ctx) != nil {
		t.Errorf("that there is one already is no failure: %v", err)
	}
}
