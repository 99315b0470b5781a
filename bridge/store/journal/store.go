package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"riptide/bridge/store"
)

// Store is a store.Store in a directory.
type Store struct {
	dir  string
	lock *store.Lock

	life context.Context // ends with Close
	end  context.CancelFunc
	wake chan struct{} // there is something to write
	work sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	buckets  map[store.Bucket]*bucket
	revision uint64
	gather   *batch     // what the next sync will cover
	segments []*segment // the oldest first; the last is written to

	sizes  sizes
	spare  []byte // the keeper's, for what gathers next
	moving move   // only the keeper's
	broken bool   // only the keeper's: what lies behind the last sync is not known
}

var _ store.Store = (*Store)(nil)

// writeTimeout bounds one write, so that a disk that does not answer holds no
// call until its own patience ends, with nobody to say why.
const writeTimeout = 2 * time.Second

var errNotWritten = fmt.Errorf("not written within %v (is the disk of the state directory failing, or very busy?)", writeTimeout)

// usable refuses what comes after Close, or after its caller's patience. The
// store's lock is held.
func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return store.ErrClosed
	}
	return ctx.Err()
}

// Create is of store.Store.
func (s *Store) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	return s.put(ctx, "create", b, key, value, ttl, func(now *slot) error {
		if now != nil {
			return store.ErrExists
		}
		return nil
	})
}

// Put is of store.Store.
func (s *Store) Put(ctx context.Context, b store.Bucket, key string, value []byte) (uint64, error) {
	return s.put(ctx, "put", b, key, value, 0, func(*slot) error { return nil })
}

// Update is of store.Store.
func (s *Store) Update(ctx context.Context, b store.Bucket, key string, value []byte, revision uint64) (uint64, error) {
	return s.put(ctx, "update", b, key, value, 0, func(now *slot) error {
		if now == nil || now.revision != revision {
			return store.ErrConflict
		}
		return nil
	})
}

// put writes a key if may, given what it holds, does not object.
func (s *Store) put(ctx context.Context, doing string, b store.Bucket, key string, value []byte, ttl time.Duration, may func(*slot) error) (uint64, error) {
	if err := store.CheckValue(b, key, value); err != nil {
		return 0, err
	}
	now := time.Now()
	var expiry int64
	if life := b.Lifetime(ttl); life > 0 {
		expiry = now.Add(life).UnixMilli()
	}
	s.mu.Lock()
	if err := s.usable(ctx); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	bk := s.buckets[b]
	if err := may(bk.current(key, now)); err != nil {
		// Nobody is told of what may still be lost.
		pending := pendingOf(bk.slots[key])
		s.mu.Unlock()
		if pending != nil {
			_ = pending.await(ctx)
		}
		return 0, said(doing, b, key, err)
	}
	r := record{kind: kindPut, bucket: b, key: key, expiry: expiry, value: value}
	if err := s.makeRoom(bk, r); err != nil {
		s.mu.Unlock()
		return 0, said(doing, b, key, err)
	}
	pending, revision := s.change(bk, r)
	s.mu.Unlock()
	if err := pending.await(ctx); err != nil {
		return 0, said(doing, b, key, err)
	}
	return revision, nil
}

// makeRoom sees to it that a bucket holds no more than it may.
func (s *Store) makeRoom(b *bucket, r record) error {
	most, giveWay := b.name.MaxBytes()
	grown := r.size()
	if old := b.slots[r.key]; old != nil && !old.deleted {
		grown -= old.size
	}
	if grown <= 0 || b.bytes+grown <= most {
		return nil
	}
	if giveWay {
		for _, key := range b.giveWay(most-grown, r.key) {
			s.revision++
			b.tell(key, s.revision, true)
		}
	}
	if b.bytes+grown > most {
		return fmt.Errorf("the bucket is full: it holds %d of %d bytes", b.bytes, most)
	}
	return nil
}

func pendingOf(s *slot) *batch {
	if s == nil {
		return nil
	}
	return s.batch
}

// said says what failed.
func said(doing string, b store.Bucket, key string, err error) error {
	return fmt.Errorf("%s %s %s: %w", doing, b, key, err)
}

// Delete is of store.Store.
func (s *Store) Delete(ctx context.Context, b store.Bucket, key string) error {
	if err := store.Check(b, key); err != nil {
		return err
	}
	s.mu.Lock()
	if err := s.usable(ctx); err != nil {
		s.mu.Unlock()
		return err
	}
	bk := s.buckets[b]
	pending := pendingOf(bk.slots[key])
	if bk.current(key, time.Now()) != nil {
		pending, _ = s.change(bk, record{kind: kindDelete, bucket: b, key: key})
	}
	s.mu.Unlock()
	if pending == nil {
		return nil
	}
	if err := pending.await(ctx); err != nil {
		return said("delete", b, key, err)
	}
	return nil
}

// Get is of store.Store.
func (s *Store) Get(ctx context.Context, b store.Bucket, key string) (store.Entry, error) {
	if err := store.Check(b, key); err != nil {
		return store.Entry{}, err
	}
	for {
		e, pending, err := s.get(ctx, b, key)
		switch {
		case pending != nil:
			// A batch that failed has left what was there before.
			if err := pending.await(ctx); ctx.Err() != nil || errors.Is(err, errNotWritten) {
				return store.Entry{}, said("get", b, key, err)
			}
		case errors.Is(err, store.ErrClosed) || err != nil && ctx.Err() != nil:
			return store.Entry{}, err
		case errors.Is(err, os.ErrClosed): // the segment was removed under our hands: it is elsewhere
		case err != nil:
			return store.Entry{}, said("get", b, key, err)
		default:
			return e, nil
		}
	}
}

// get reads a key, unless its last change is not durable yet.
func (s *Store) get(ctx context.Context, b store.Bucket, key string) (store.Entry, *batch, error) {
	s.mu.Lock()
	if err := s.usable(ctx); err != nil {
		s.mu.Unlock()
		return store.Entry{}, nil, err
	}
	slot := s.buckets[b].slots[key]
	if pending := pendingOf(slot); pending != nil {
		s.mu.Unlock()
		return store.Entry{}, pending, nil
	}
	if slot == nil || slot.expired(time.Now()) {
		s.mu.Unlock()
		return store.Entry{}, nil, store.ErrNotFound
	}
	file, offset, size := slot.segment.file, slot.offset, slot.size
	s.mu.Unlock()
	buf := make([]byte, size)
	if _, err := file.ReadAt(buf, offset); err != nil {
		return store.Entry{}, nil, err
	}
	r, _, err := parseRecord(buf)
	if err == nil && (r.bucket != b || r.key != key) {
		err = errDamaged
	}
	if err != nil {
		return store.Entry{}, nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return store.Entry{Key: key, Value: r.value, Revision: r.revision}, nil, nil
}

// Keys is of store.Store.
func (s *Store) Keys(ctx context.Context, b store.Bucket) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	bk := s.buckets[b]
	if bk == nil {
		return nil, fmt.Errorf("store: no bucket %q", b)
	}
	now := time.Now()
	var keys []string
	for key := range bk.slots {
		if bk.current(key, now) != nil {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Close writes what waits, ends every watch, and lets the directory go.
func (s *Store) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
	if already {
		return nil
	}
	var err error
	for _, seg := range s.segments {
		err = errors.Join(err, seg.file.Close())
	}
	return errors.Join(err, s.lock.Close()) // which unlocks it
}
