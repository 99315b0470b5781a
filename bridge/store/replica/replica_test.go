package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"riptide/bridge/store"
	"riptide/bridge/store/storetest"
)

// line is the bus of some nodes.
type line struct {
	mu   sync.Mutex
	next int
	subs map[int]func([]byte)
}

func (l *line) Publish(_ string, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, each := range l.subs {
		each(data)
	}
	return nil
}

func (l *line) Subscribe(_ string, each func([]byte)) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	n := l.next
	l.subs[n] = each
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.subs, n)
	}, nil
}

func newLine() *line { return &line{subs: map[int]func([]byte){}} }

var quiet = slog.New(slog.DiscardHandler)

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.Store { return New(store.NewMemory(), newLine(), quiet) })
}

// stuck takes no writes, as a store without a leader.
type stuck struct {
	store.Store
	mu  sync.Mutex
	yes bool
}

var errStuck = errors.New("no leader")

func (s *stuck) Update(ctx context.Context, b store.Bucket, key string, value []byte, revision uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.yes {
		return 0, errStuck
	}
	return s.Store.Update(ctx, b, key, value, revision)
}

// TestOthersKnowWhatCannotBeWritten: the state of a call that its node could not
// write any more is known to the node that takes it over, with the revision over
// which it can write.
func TestOthersKnowWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	shared := &stuck{Store: store.NewMemory()}
	bus := newLine()
	owner, other := New(shared, bus, quiet), New(shared, bus, quiet)
	defer other.Close()
	changes, err := other.Watch(ctx, store.Calls)
	if err != nil {
		t.Fatal(err)
	}
	// next is the next change to another value.
	last := ""
	next := func() store.Entry {
		t.Helper()
		for {
			select {
			case e := <-changes:
				if string(e.Value) != last || e.Deleted {
					last = string(e.Value)
					return e
				}
			case <-ctx.Done():
				t.Fatal("no change came")
			}
		}
	}
	rev, err := owner.Create(ctx, store.Calls, "a", []byte("ringing"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if e := next(); string(e.Value) != "ringing" {
		t.Fatalf("%+v", e)
	}
	if _, err := owner.Put(ctx, store.Calls, "mark", []byte("mark")); err != nil { // what came before it is through
		t.Fatal(err)
	}
	for next().Key != "mark" {
	}
	shared.mu.Lock()
	shared.yes = true
	shared.mu.Unlock()
	for _, state := range []string{"answered", "held"} {
		if _, err := owner.Update(ctx, store.Calls, "a", []byte(state), rev); !errors.Is(err, errStuck) {
			t.Fatal(err)
		}
		if e := next(); string(e.Value) != state || e.Revision != rev {
			t.Fatalf("%+v, want %s over revision %d", e, state, rev)
		}
	}
	shared.mu.Lock()
	shared.yes = false
	shared.mu.Unlock()
	taken, err := other.Update(ctx, store.Calls, "a", []byte("taken over"), rev)
	if err != nil {
		t.Fatal(err)
	}
	if e := next(); e.Revision != taken {
		t.Fatalf("%+v", e)
	}
	// What the old owner still wants to write changes nothing, here or there.
	if _, err := owner.Update(ctx, store.Calls, "a", []byte("late"), rev); !errors.Is(err, store.ErrConflict) {
		t.Errorf("written over its successor: %v", err)
	}
	if _, err := other.Put(ctx, store.Calls, "mark", []byte("end")); err != nil {
		t.Fatal(err)
	}
	if e := next(); string(e.Value) != "end" {
		t.Errorf("a late snapshot passed for news: %+v", e)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(snapshot{1, "key", []byte("value"), 7}.append(nil))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parse(b); err == nil && string(s.append(nil)) != string(b) {
			t.Errorf("%q came back as %q", b, s.append(nil))
		}
	})
}
