// Package storetest is what every store.Store has to pass, and Kind, what those
// that keep their values on a disk have to besides.
//
//	storetest.Run(t, func(t *testing.T) store.Store { return store.NewMemory() })
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge/store"
)

// patience is how long anything may take before a test gives up. Nothing is
// measured against it.
const patience = 30 * time.Second

// Run tests the stores that open makes. Each test opens one and closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, tc := range []struct {
		name string
		test func(t *testing.T, ctx context.Context, s store.Store)
	}{
		{"Values", testValues},
		{"Create", testCreate},
		{"Update", testUpdate},
		{"UpdateRace", testUpdateRace},
		{"Delete", testDelete},
		{"Limits", testLimits},
		{"Aliasing", testAliasing},
		{"Keys", testKeys},
		{"Buckets", testBuckets},
		{"TTL", testTTL},
		{"Watch", testWatch},
		{"WatchSlow", testWatchSlow},
		{"Context", testContext},
		{"Close", testClose},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			defer func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			tc.test(t, ctx, s)
		})
	}
}

// must fails the test on an error and passes the value on.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func testValues(t *testing.T, ctx context.Context, s store.Store) {
	_, err := s.Get(ctx, store.Calls, "a")
	wantErr(t, "get of nothing", err, store.ErrNotFound)
	one := must(s.Put(ctx, store.Calls, "a", []byte("1")))(t)
	two := must(s.Put(ctx, store.Calls, "a", []byte("2")))(t)
	if two <= one {
		t.Errorf("revisions %d, %d do not grow", one, two)
	}
	e := must(s.Get(ctx, store.Calls, "a"))(t)
	if e.Key != "a" || string(e.Value) != "2" || e.Revision != two || e.Deleted {
		t.Errorf("got %+v", e)
	}
	must(s.Put(ctx, store.Calls, "empty", nil))(t)
	if e := must(s.Get(ctx, store.Calls, "empty"))(t); len(e.Value) != 0 {
		t.Errorf("got %+v", e)
	}
}

func testCreate(t *testing.T, ctx context.Context, s store.Store) {
	must(s.Create(ctx, store.Calls, "a", []byte("1"), 0))(t)
	_, err := s.Create(ctx, store.Calls, "a", []byte("2"), 0)
	wantErr(t, "second create", err, store.ErrExists)
	if e := must(s.Get(ctx, store.Calls, "a"))(t); string(e.Value) != "1" {
		t.Errorf("overwritten with %s", e.Value)
	}
	if err := s.Delete(ctx, store.Calls, "a"); err != nil {
		t.Fatal(err)
	}
	must(s.Create(ctx, store.Calls, "a", []byte("3"), 0))(t)
}

func testUpdate(t *testing.T, ctx context.Context, s store.Store) {
	_, err := s.Update(ctx, store.Calls, "a", nil, 1)
	wantErr(t, "update of nothing", err, store.ErrConflict)
	_, err = s.Update(ctx, store.Calls, "a", nil, 0)
	wantErr(t, "update of nothing at revision 0", err, store.ErrConflict)
	one := must(s.Create(ctx, store.Calls, "a", []byte("1"), 0))(t)
	two := must(s.Update(ctx, store.Calls, "a", []byte("2"), one))(t)
	if two <= one {
		t.Errorf("revisions %d, %d do not grow", one, two)
	}
	_, err = s.Update(ctx, store.Calls, "a", []byte("3"), one)
	wantErr(t, "stale update", err, store.ErrConflict)
	if err := s.Delete(ctx, store.Calls, "a"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Update(ctx, store.Calls, "a", []byte("4"), two)
	wantErr(t, "update of what was deleted", err, store.ErrConflict)
}

// testUpdateRace: of several that hold the same revision one wins, whatever
// happens at the same time.
func testUpdateRace(t *testing.T, ctx context.Context, s store.Store) {
	revision := must(s.Create(ctx, store.Calls, "a", nil, 0))(t)
	for round := range 10 {
		var won atomic.Uint64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				rev, err := s.Update(ctx, store.Calls, "a", fmt.Append(nil, i), revision)
				if err == nil && !won.CompareAndSwap(0, rev) {
					t.Error("two winners")
				}
				if err != nil && !errors.Is(err, store.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() == 0 {
			t.Fatalf("round %d: nobody won", round)
		}
		revision = won.Load()
	}
}

func testDelete(t *testing.T, ctx context.Context, s store.Store) {
	if err := s.Delete(ctx, store.Calls, "a"); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
	must(s.Put(ctx, store.Calls, "a", []byte("1")))(t)
	for range 2 {
		if err := s.Delete(ctx, store.Calls, "a"); err != nil {
			t.Error(err)
		}
	}
	_, err := s.Get(ctx, store.Calls, "a")
	wantErr(t, "get after delete", err, store.ErrNotFound)
}

func testLimits(t *testing.T, ctx context.Context, s store.Store) {
	key := strings.Repeat("k", 256)
	value := bytes.Repeat([]byte{0xff, 0}, store.MaxValue/2)
	must(s.Put(ctx, store.Calls, key, value))(t)
	if e := must(s.Get(ctx, store.Calls, key))(t); !bytes.Equal(e.Value, value) {
		t.Error("the largest value came back changed")
	}
	must(s.Put(ctx, store.Calls, "aZ09-/_=.x", nil))(t)
	for _, bad := range []string{"", key + "k", "a b", "a*", "a>", ".a", "a.", "a..b", "ä", "a\n"} {
		_, e1 := s.Create(ctx, store.Calls, bad, nil, 0)
		_, e2 := s.Put(ctx, store.Calls, bad, nil)
		_, e3 := s.Update(ctx, store.Calls, bad, nil, 1)
		_, e4 := s.Get(ctx, store.Calls, bad)
		e5 := s.Delete(ctx, store.Calls, bad)
		if e1 == nil || e2 == nil || e3 == nil || e4 == nil || e5 == nil {
			t.Errorf("key %q: %v, %v, %v, %v, %v", bad, e1, e2, e3, e4, e5)
		}
	}
	if _, err := s.Put(ctx, store.Calls, "a", append(value, make([]byte, store.SealOverhead+1)...)); err == nil {
		t.Error("took a value past the limit")
	}
	if _, err := s.Put(ctx, "no-such-bucket", "a", nil); err == nil {
		t.Error("took an unknown bucket")
	}
}

func testAliasing(t *testing.T, ctx context.Context, s store.Store) {
	value := []byte("before")
	must(s.Put(ctx, store.Calls, "a", value))(t)
	copy(value, "after!")
	e := must(s.Get(ctx, store.Calls, "a"))(t)
	if string(e.Value) != "before" {
		t.Error("the store kept the caller's bytes")
	}
	copy(e.Value, "after!")
	if e := must(s.Get(ctx, store.Calls, "a"))(t); string(e.Value) != "before" {
		t.Error("the store gave its own bytes away")
	}
}

func testKeys(t *testing.T, ctx context.Context, s store.Store) {
	if keys := must(s.Keys(ctx, store.Calls))(t); len(keys) != 0 {
		t.Errorf("an empty bucket has keys %v", keys)
	}
	var want []string
	for i := range 300 {
		key := fmt.Sprintf("call.%03d", i)
		must(s.Put(ctx, store.Calls, key, []byte("x")))(t)
		if i%3 != 0 {
			want = append(want, key)
		} else if err := s.Delete(ctx, store.Calls, key); err != nil {
			t.Fatal(err)
		}
	}
	keys := must(s.Keys(ctx, store.Calls))(t)
	slices.Sort(keys)
	if !slices.Equal(keys, want) {
		t.Errorf("got %d keys %v, want %d", len(keys), keys, len(want))
	}
}

func testBuckets(t *testing.T, ctx context.Context, s store.Store) {
	for _, b := range store.Buckets {
		must(s.Create(ctx, b, "same", []byte(b), 0))(t)
	}
	for _, b := range store.Buckets {
		if e := must(s.Get(ctx, b, "same"))(t); string(e.Value) != string(b) {
			t.Errorf("%s holds %s", b, e.Value)
		}
	}
}

func testTTL(t *testing.T, ctx context.Context, s store.Store) {
	changes := must(s.Watch(ctx, store.Nonces))(t)
	must(s.Create(ctx, store.Nonces, "brief", []byte("x"), time.Millisecond))(t)
	must(s.Create(ctx, store.Nonces, "rewritten", []byte("x"), time.Second))(t)
	must(s.Put(ctx, store.Nonces, "rewritten", []byte("y")))(t)
	must(s.Create(ctx, store.Nonces, "lasting", []byte("x"), time.Hour))(t)
	for e := range changes {
		if e.Deleted && e.Key != "brief" {
			t.Errorf("%s was removed", e.Key)
		}
		if e.Deleted {
			break
		}
	}
	_, err := s.Get(ctx, store.Nonces, "brief")
	wantErr(t, "get of what expired", err, store.ErrNotFound)
	must(s.Create(ctx, store.Nonces, "brief", []byte("again"), 0))(t)
	must(s.Get(ctx, store.Nonces, "lasting"))(t)
	must(s.Get(ctx, store.Nonces, "rewritten"))(t)
}

func testWatch(t *testing.T, ctx context.Context, s store.Store) {
	must(s.Put(ctx, store.Calls, "gone", nil))(t)
	if err := s.Delete(ctx, store.Calls, "gone"); err != nil {
		t.Fatal(err)
	}
	must(s.Put(ctx, store.Calls, "a", []byte("1")))(t)
	must(s.Put(ctx, store.Calls, "b", []byte("2")))(t)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	changes := must(s.Watch(watching, store.Calls))(t)
	other := must(s.Watch(watching, store.Handlers))(t)
	next := func() store.Entry {
		t.Helper()
		select {
		case e, ok := <-changes:
			if !ok {
				t.Fatal("the watch ended")
			}
			return e
		case <-ctx.Done():
			t.Fatal("no change came")
		}
		return store.Entry{}
	}
	expect := func(key, value string, deleted bool) {
		t.Helper()
		if e := next(); e.Key != key || string(e.Value) != value || e.Deleted != deleted || deleted && e.Value != nil {
			t.Fatalf("got %+v, want %s=%s deleted %v", e, key, value, deleted)
		}
	}
	expect("a", "1", false)
	expect("b", "2", false)
	must(s.Put(ctx, store.Calls, "a", []byte("3")))(t)
	expect("a", "3", false)
	if err := s.Delete(ctx, store.Calls, "b"); err != nil {
		t.Fatal(err)
	}
	expect("b", "", true)
	revision := must(s.Create(ctx, store.Calls, "b", []byte("4"), 0))(t)
	if e := next(); e.Revision != revision {
		t.Errorf("got revision %d, want %d", e.Revision, revision)
	}
	stop()
	for range changes { // until it is closed
	}
	for e := range other {
		t.Errorf("a change of another bucket: %+v", e)
	}
}

// testWatchSlow: a watch that nobody reads hurts nobody, and loses no key.
func testWatchSlow(t *testing.T, ctx context.Context, s store.Store) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	changes := must(s.Watch(watching, store.Calls))(t)
	const n = 1000
	for i := range n {
		must(s.Put(ctx, store.Calls, fmt.Sprintf("k%d", i%500), fmt.Append(nil, i)))(t)
	}
	last := map[string]string{}
	var revision uint64
	for e := range changes {
		if e.Revision <= revision {
			t.Fatalf("revision %d after %d", e.Revision, revision)
		}
		revision = e.Revision
		last[e.Key] = string(e.Value)
		if string(e.Value) == fmt.Sprint(n-1) {
			stop()
			break
		}
	}
	for i := range 500 {
		if got, want := last[fmt.Sprintf("k%d", i)], fmt.Sprint(i+500); got != want {
			t.Fatalf("k%d is %q, want %s", i, got, want)
		}
	}
}

func testContext(t *testing.T, ctx context.Context, s store.Store) {
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, e1 := s.Create(over, store.Calls, "a", nil, 0)
	_, e2 := s.Put(over, store.Calls, "a", nil)
	_, e3 := s.Update(over, store.Calls, "a", nil, 1)
	_, e4 := s.Get(over, store.Calls, "a")
	e5 := s.Delete(over, store.Calls, "a")
	_, e6 := s.Keys(over, store.Calls)
	_, e7 := s.Watch(over, store.Calls)
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
		wantErr(t, fmt.Sprintf("call %d", i+1), err, context.Canceled)
	}
}

func testClose(t *testing.T, ctx context.Context, s store.Store) {
	must(s.Put(ctx, store.Calls, "a", nil))(t)
	changes := must(s.Watch(ctx, store.Calls))(t)
	idle := must(s.Watch(ctx, store.Handlers))(t)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for range changes { // until it is closed
	}
	for range idle {
	}
	_, e1 := s.Create(ctx, store.Calls, "b", nil, 0)
	_, e2 := s.Put(ctx, store.Calls, "b", nil)
	_, e3 := s.Update(ctx, store.Calls, "b", nil, 1)
	_, e4 := s.Get(ctx, store.Calls, "b")
	e5 := s.Delete(ctx, store.Calls, "b")
	_, e6 := s.Keys(ctx, store.Calls)
	_, e7 := s.Watch(ctx, store.Calls)
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
		wantErr(t, fmt.Sprintf("call %d", i+1), err, store.ErrClosed)
	}
}
