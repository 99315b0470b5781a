package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"riptide/bridge/store"
)

// watch is one reader of changes. Until it takes them, the last of each key
// waits here; values stay on the disk.
type watch struct {
	waiting []told
	last    map[string]int // key -> index of its last change
	wake    chan struct{}
}

// told is one change, as a watch hears of it.
type told struct {
	key      string // "" = a later one has come
	revision uint64
	deleted  bool
}

// tell lets the watches of a bucket know. The store's lock is held.
func (b *bucket) tell(key string, revision uint64, deleted bool) {
	for w := range b.watches {
		w.add(told{key, revision, deleted})
	}
}

func (w *watch) add(t told) {
	if i, ok := w.last[t.key]; ok {
		w.waiting[i].key = ""
	}
	w.last[t.key] = len(w.waiting)
	w.waiting = append(w.waiting, t)
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

// Watch is of store.Store.
func (s *Store) Watch(ctx context.Context, b store.Bucket) (<-chan store.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	bk := s.buckets[b]
	if bk == nil {
		return nil, fmt.Errorf("store: no bucket %q", b)
	}
	w := &watch{last: map[string]int{}, wake: make(chan struct{}, 1)}
	for _, t := range bk.durable(time.Now()) {
		w.add(t)
	}
	bk.watches[w] = true
	out := make(chan store.Entry, 64)
	s.work.Go(func() {
		defer close(out)
		s.forward(ctx, bk, w, out)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(bk.watches, w)
	})
	return out, nil
}

// durable lists what a bucket holds, in order. What is on its way to the disk
// is told of when it is there.
func (b *bucket) durable(now time.Time) []told {
	var list []told
	for key, s := range b.slots {
		if s.batch == nil && !s.deleted && !s.expired(now) {
			list = append(list, told{key: key, revision: s.revision})
		}
	}
	slices.SortFunc(list, func(a, b told) int { return cmp.Compare(a.revision, b.revision) })
	return list
}

// forward passes changes on until ctx or the store ends.
func (s *Store) forward(ctx context.Context, b *bucket, w *watch, out chan<- store.Entry) {
	for {
		s.mu.Lock()
		batch := w.waiting
		w.waiting, w.last = nil, map[string]int{}
		s.mu.Unlock()
		for _, t := range batch {
			if t.key == "" {
				continue
			}
			e, ok := s.told(ctx, b, t)
			if !ok {
				continue
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			case <-s.life.Done():
				return
			}
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		case <-s.life.Done():
			return
		}
	}
}

// told is what a watch sees of a change, unless a later one of the key is on
// its way to it.
func (s *Store) told(ctx context.Context, b *bucket, t told) (store.Entry, bool) {
	if t.deleted {
		return store.Entry{Key: t.key, Revision: t.revision, Deleted: true}, true
	}
	for {
		e, pending, err := s.get(ctx, b.name, t.key)
		if errors.Is(err, os.ErrClosed) { // it is elsewhere by now
			continue
		}
		return e, pending == nil && err == nil && e.Revision == t.revision
	}
}
