package sealed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"riptide/bridge/store"
)

// New stands before a store and seals what is secret in it. A value that does
// not open is an error that wraps store.ErrUnreadable: of Get, and in the entry
// of a Watch, which goes on. Closing it closes next.
func New(next store.Store, ring Ring) store.Store {
	s := &sealed{Store: next, ring: ring}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

type sealed struct {
	store.Store
	ring Ring

	// life ends with Close; closing guards the count of what it waits for.
	life    context.Context
	end     context.CancelFunc
	closing sync.RWMutex
	watches sync.WaitGroup
}

// Close is of store.Store.
func (s *sealed) Close() error {
	s.closing.Lock()
	s.end()
	s.closing.Unlock()
	err := s.Store.Close()
	s.watches.Wait()
	return err
}

// seal seals a value if its bucket is secret. The limit is that of what is in it.
func (s *sealed) seal(b store.Bucket, key string, value []byte) ([]byte, error) {
	if !b.Secret() {
		return value, nil
	}
	if err := store.Check(b, key); err != nil {
		return nil, err
	}
	if len(value) > store.MaxValue {
		return nil, fmt.Errorf("value of %s %s has %d bytes, more than %d", b, key, len(value), store.MaxValue)
	}
	out, err := s.ring.seal(b, key, value)
	if err != nil {
		return nil, fmt.Errorf("seal %s %s: %w", b, key, err)
	}
	return out, nil
}

// Unseal opens the value of an entry if its bucket is secret.
func (r Ring) Unseal(b store.Bucket, e store.Entry) store.Entry {
	if e.Deleted || e.Err != nil || !b.Secret() {
		return e
	}
	if b.OnceClear() && len(e.Value) > 0 && e.Value[0] != version {
		return e // text: of a release that did not seal it
	}
	plain, err := r.open(b, e.Key, e.Value)
	if err != nil {
		e.Value, e.Err = nil, fmt.Errorf("%s %s: %w: it %w", b, e.Key, store.ErrUnreadable, err)
		return e
	}
	e.Value = plain
	return e
}

func (s *sealed) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	value, err := s.seal(b, key, value)
	if err != nil {
		return 0, err
	}
	return s.Store.Create(ctx, b, key, value, ttl)
}

func (s *sealed) Put(ctx context.Context, b store.Bucket, key string, value []byte) (uint64, error) {
	value, err := s.seal(b, key, value)
	if err != nil {
		return 0, err
	}
	return s.Store.Put(ctx, b, key, value)
}

func (s *sealed) Update(ctx context.Context, b store.Bucket, key string, value []byte, revision uint64) (uint64, error) {
	value, err := s.seal(b, key, value)
	if err != nil {
		return 0, err
	}
	return s.Store.Update(ctx, b, key, value, revision)
}

func (s *sealed) Get(ctx context.Context, b store.Bucket, key string) (store.Entry, error) {
	e, err := s.Store.Get(ctx, b, key)
	if err != nil {
		return e, err
	}
	e = s.ring.Unseal(b, e)
	return e, e.Err
}

// Watch is of store.Store. What is sealed is opened as it passes.
func (s *sealed) Watch(ctx context.Context, b store.Bucket) (<-chan store.Entry, error) {
	s.closing.RLock()
	defer s.closing.RUnlock()
	in, err := s.Store.Watch(ctx, b)
	if err != nil || !b.Secret() {
		return in, err
	}
	out := make(chan store.Entry)
	s.watches.Go(func() {
		defer close(out)
		for e := range in { // which ends with ctx, and with the store
			select {
			case out <- s.ring.Unseal(b, e):
			case <-ctx.Done():
			case <-s.life.Done():
			}
		}
	})
	return out, nil
}
