package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// memory is the Store of tests. It forgets everything with the process.
type memory struct {
	mu      sync.Mutex
	buckets map[Bucket]*memoryBucket
	done    chan struct{} // closed by Close
	closed  bool
	watches sync.WaitGroup
}

type memoryBucket struct {
	revision uint64
	entries  map[string]*memoryEntry // deleted ones too, for watches
	changed  chan struct{}           // closed and replaced at every change
}

type memoryEntry struct {
	Entry
	expiry *time.Timer // nil = none
}

// NewMemory returns a Store for tests, which keeps nothing.
func NewMemory() Store {
	m := &memory{buckets: map[Bucket]*memoryBucket{}, done: make(chan struct{})}
	for _, b := range Buckets {
		m.buckets[b] = &memoryBucket{entries: map[string]*memoryEntry{}, changed: make(chan struct{})}
	}
	return m
}

func (m *memory) Create(ctx context.Context, b Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	return m.write(ctx, b, key, value, ttl, func(e *memoryEntry) error {
		if e != nil && !e.Deleted {
			return ErrExists
		}
		return nil
	})
}

func (m *memory) Put(ctx context.Context, b Bucket, key string, value []byte) (uint64, error) {
	return m.write(ctx, b, key, value, 0, func(*memoryEntry) error { return nil })
}

func (m *memory) Update(ctx context.Context, b Bucket, key string, value []byte, revision uint64) (uint64, error) {
	return m.write(ctx, b, key, value, 0, func(e *memoryEntry) error {
		if e == nil || e.Deleted || e.Revision != revision {
			return ErrConflict
		}
		return nil
	})
}

// write writes a key if may, given what it holds, does not object.
func (m *memory) write(ctx context.Context, b Bucket, key string, value []byte, ttl time.Duration, may func(*memoryEntry) error) (uint64, error) {
	if err := CheckValue(b, key, value); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return 0, err
	}
	bucket := m.buckets[b]
	if err := may(bucket.entries[key]); err != nil {
		return 0, fmt.Errorf("%s %s: %w", b, key, err)
	}
	e := bucket.set(Entry{Key: key, Value: append([]byte{}, value...)})
	if life := b.Lifetime(ttl); life > 0 {
		e.expiry = time.AfterFunc(life, func() { m.expire(b, e) })
	}
	return e.Revision, nil
}

func (m *memory) expire(b Bucket, e *memoryEntry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if bucket := m.buckets[b]; bucket.entries[e.Key] == e {
		bucket.set(Entry{Key: e.Key, Deleted: true})
	}
}

// set makes an entry current and wakes the watches.
func (b *memoryBucket) set(e Entry) *memoryEntry {
	if old := b.entries[e.Key]; old != nil && old.expiry != nil {
		old.expiry.Stop()
	}
	b.revision++
	e.Revision = b.revision
	current := &memoryEntry{Entry: e}
	b.entries[e.Key] = current
	close(b.changed)
	b.changed = make(chan struct{})
	return current
}

func (m *memory) usable(ctx context.Context) error {
	if m.closed {
		return ErrClosed
	}
	return ctx.Err()
}

func (m *memory) Get(ctx context.Context, b Bucket, key string) (Entry, error) {
	if err := Check(b, key); err != nil {
		return Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return Entry{}, err
	}
	e := m.buckets[b].entries[key]
	if e == nil || e.Deleted {
		return Entry{}, fmt.Errorf("%s %s: %w", b, key, ErrNotFound)
	}
	return e.clone(), nil
}

func (e Entry) clone() Entry {
	e.Value = slices.Clone(e.Value)
	return e
}

func (m *memory) Delete(ctx context.Context, b Bucket, key string) error {
	if err := Check(b, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return err
	}
	if e := m.buckets[b].entries[key]; e != nil && !e.Deleted {
		m.buckets[b].set(Entry{Key: key, Deleted: true})
	}
	return nil
}

func (m *memory) Keys(ctx context.Context, b Bucket) ([]string, error) {
	if !b.Known() {
		return nil, fmt.Errorf("store: no bucket %q", b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	var keys []string
	for key, e := range m.buckets[b].entries {
		if !e.Deleted {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func (m *memory) Watch(ctx context.Context, b Bucket) (<-chan Entry, error) {
	if !b.Known() {
		return nil, fmt.Errorf("store: no bucket %q", b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	out := make(chan Entry)
	first := m.buckets[b].since(0)
	first = slices.DeleteFunc(first, func(e Entry) bool { return e.Deleted })
	revision := m.buckets[b].revision
	m.watches.Go(func() {
		defer close(out)
		m.watch(ctx, m.buckets[b], first, revision, out)
	})
	return out, nil
}

func (m *memory) watch(ctx context.Context, b *memoryBucket, batch []Entry, revision uint64, out chan<- Entry) {
	for {
		for _, e := range batch {
			select {
			case out <- e:
			case <-ctx.Done():
				return
			case <-m.done:
				return
			}
		}
		m.mu.Lock()
		changed := b.changed
		batch, revision = b.since(revision), b.revision
		m.mu.Unlock()
		if len(batch) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-m.done:
			return
		}
	}
}

// since lists the entries written after a revision, in order.
func (b *memoryBucket) since(revision uint64) []Entry {
	var batch []Entry
	for e := range maps.Values(b.entries) {
		if e.Revision > revision {
			batch = append(batch, e.clone())
		}
	}
	slices.SortFunc(batch, func(a, b Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	return batch
}

func (m *memory) Close() error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.done)
		for _, b := range m.buckets {
			for _, e := range b.entries {
				if e.expiry != nil {
					e.expiry.Stop()
				}
			}
		}
	}
	m.mu.Unlock()
	m.watches.Wait()
	return nil
}
