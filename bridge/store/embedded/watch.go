package embedded

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

// Watch is of store.Store.
func (s *Store) Watch(ctx context.Context, b store.Bucket) (<-chan store.Entry, error) {
	s.closing.RLock()
	defer s.closing.RUnlock()
	kv, ok := s.buckets[b]
	if err := s.usable(ctx); err != nil || !ok {
		return nil, errors.Join(err, unknown(b, ok))
	}
	// Not the caller's ctx: the client unsubscribes behind our back when it
	// ends. One for each watch: the client keeps a goroutine until it ends.
	life, end := context.WithCancel(s.life)
	w, err := kv.WatchAll(life)
	if err != nil {
		end()
		return nil, s.wrap(ctx, err, "watch", b, "")
	}
	out := make(chan store.Entry, 64)
	s.watches.Go(func() {
		defer close(out)
		s.forward(ctx, w, out)
		end()
		finish(w)
	})
	return out, nil
}

// forward passes changes on until ctx or the store ends. What the reader does
// not take waits in the stream, not in memory.
func (s *Store) forward(ctx context.Context, w jetstream.KeyWatcher, out chan<- store.Entry) {
	current := false // whether we have sent what the bucket held at first
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return
			}
			if e == nil {
				current = true
				continue
			}
			entry := entryOf(e)
			if entry.Deleted && !current {
				continue // a marker that has not gone yet
			}
			select {
			case out <- entry:
			case <-ctx.Done():
				return
			case <-s.life.Done():
				return
			}
		case <-ctx.Done():
			return
		case <-s.life.Done():
			return
		}
	}
}

// finish unsubscribes, and takes what the client still wants to deliver: its
// goroutine waits for us with a lock held.
func finish(w jetstream.KeyWatcher) {
	_ = w.Stop() // an error says that it was stopped before
	for range w.Updates() {
	}
}

func entryOf(e jetstream.KeyValueEntry) store.Entry {
	entry := store.Entry{Key: e.Key(), Revision: e.Revision()}
	if e.Operation() == jetstream.KeyValuePut {
		entry.Value = e.Value()
	} else {
		entry.Deleted = true
	}
	return entry
}
