package h3

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"riptide/bridge/store"
)

// fragileStore is a store that can break.
type fragileStore struct {
	store.Store
	broken atomic.Bool
}

var errStoreDown = errors.New("disk on fire")

func (s *fragileStore) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	if s.broken.Load() {
		return 0, errStoreDown
	}
	return s.Store.Create(ctx, b, key, value, ttl)
}

func (s *fragileStore) Get(ctx context.Context, b store.Bucket, key string) (store.Entry, error) {
	if s.broken.Load() {
		return store.Entry{}, errStoreDown
	}
	return s.Store.Get(ctx, b, key)
}

func (s *fragileStore) Put(ctx context.Context, b store.Bucket, key string, value []byte) (uint64, error) {
	if s.broken.Load() {
		return 0, errStoreDown
	}
	return s.Store.Put(ctx, b, key, value)
}
