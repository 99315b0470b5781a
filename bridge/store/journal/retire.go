package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"riptide/bridge/store"
)

// Kept is a value of a journal, for a store that takes its place.
type Kept struct {
	Bucket store.Bucket
	Key    string
	Value  []byte
	TTL    time.Duration // left to it; 0 = for ever
}

const (
	dirName     = "journal"
	retiredName = "journal-moved"
)

func dirOf(state string) string { return filepath.Join(state, "store", dirName) }

// Exists tells whether a state directory has a journal.
func Exists(state string) bool {
	_, err := os.Stat(dirOf(state))
	return err == nil
}

// All reads everything that the store holds.
func (s *Store) All(ctx context.Context) ([]Kept, error) {
	var all []Kept
	for _, b := range store.Buckets {
		keys, err := s.Keys(ctx, b)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			ttl, ok := s.left(b, key)
			if !ok {
				continue
			}
			e, err := s.Get(ctx, b, key)
			if errors.Is(err, store.ErrNotFound) { // it has expired
				continue
			}
			if err != nil {
				return nil, err
			}
			all = append(all, Kept{Bucket: b, Key: key, Value: e.Value, TTL: ttl})
		}
	}
	return all, nil
}

// left is how long a key stays, and whether it does.
func (s *Store) left(b store.Bucket, key string) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	slot := s.buckets[b].current(key, now)
	if slot == nil {
		return 0, false
	}
	if slot.expiry == 0 {
		return 0, true
	}
	return time.UnixMilli(slot.expiry).Sub(now), true
}

// Retire puts the journal of a state directory aside, as store/journal-moved, in the
// place of one that was put there before.
func Retire(state string) error {
	aside := filepath.Join(state, "store", retiredName)
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("put the store of before aside: %w", err)
	}
	if err := os.Rename(dirOf(state), aside); err != nil {
		return fmt.Errorf("put the store of before aside: %w", err)
	}
	return syncDir(filepath.Dir(aside))
}
