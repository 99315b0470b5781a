package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"riptide/bridge/store"
)

var quiet = slog.New(slog.DiscardHandler)

func openSized(t *testing.T, state string, sizes sizes) *Store {
	t.Helper()
	s, err := open(t.Context(), state, quiet, sizes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// contents is all that a bucket holds.
func contents(t *testing.T, s *Store, b store.Bucket) map[string]string {
	t.Helper()
	keys, err := s.Keys(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, key := range keys {
		e, err := s.Get(t.Context(), b, key)
		if err != nil {
			t.Fatal(err)
		}
		all[key] = string(e.Value)
	}
	return all
}

func logFiles(t *testing.T, state string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(state, "store", "journal", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestPowerLoss: the log may end at any byte, and nothing, zeros or rubbish be behind
// it. What is complete counts, what is not is cut off, and the store goes on from there.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	s := openSized(t, state, usual)
	held := map[string]string{}
	type moment struct {
		size int64
		held map[string]string
	}
	moments := []moment{{s.segments[0].size, map[string]string{}}}
	for i := range 6 {
		key := fmt.Sprint("call-", i%3)
		if i == 4 {
			if err := s.Delete(t.Context(), store.Calls, key); err != nil {
				t.Fatal(err)
			}
			delete(held, key)
		} else {
			value := fmt.Sprint("value ", i)
			if _, err := s.Put(t.Context(), store.Calls, key, []byte(value)); err != nil {
				t.Fatal(err)
			}
			held[key] = value
		}
		s.mu.Lock()
		moments = append(moments, moment{s.segments[0].size, maps.Clone(held)})
		s.mu.Unlock()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := logFiles(t, state)[0]
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rests := [][]byte{nil, make([]byte, 40), bytes.Repeat([]byte{0xff}, 40)}
	for end := range len(whole) + 1 {
		behind := rests[end%3 : end%3+1] // by turns: each is a few syncs
		switch {
		case end < segmentHead:
			behind = rests[:1] // a head is written before the segment is one
		case end >= len(whole)-1:
			behind = rests
		}
		for _, rest := range behind {
			crashed := t.TempDir()
			name := filepath.Join(crashed, "store", "journal", filepath.Base(file))
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, append(slices.Clone(whole[:end]), rest...), 0o600); err != nil {
				t.Fatal(err)
			}
			want := moments[0].held
			for _, m := range moments { // zeros may be what was to come
				if m.size <= int64(end+len(rest)) && bytes.HasPrefix(append(slices.Clone(whole[:end]), rest...), whole[:m.size]) {
					want = m.held
				}
			}
			s, err := open(t.Context(), crashed, quiet, usual)
			if err != nil {
				t.Fatalf("cut at %d: %v", end, err)
			}
			if got := contents(t, s, store.Calls); !maps.Equal(got, want) {
				t.Fatalf("cut at %d: %v, want %v", end, got, want)
			}
			if end%5 != 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if _, err := s.Put(t.Context(), store.Calls, "next", []byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = open(t.Context(), crashed, quiet, usual)
			if err != nil {
				t.Fatalf("cut at %d, written to, opened again: %v", end, err)
			}
			if got := contents(t, s, store.Calls); got["next"] != "x" || len(got) != len(want)+1 {
				t.Fatalf("cut at %d: %v after it went on", end, got)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDiskComesBack: while nothing can be written every write fails and nothing
// has changed; afterwards the store goes on by itself.
func TestDiskComesBack(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	s := openSized(t, state, usual)
	ctx := t.Context()
	one, err := s.Create(ctx, store.Calls, "a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := s.Watch(ctx, store.Calls)
	if err != nil {
		t.Fatal(err)
	}
	<-changes
	deaf, err := os.Open(os.DevNull) // takes no write
	if err != nil {
		t.Fatal(err)
	}
	swap := func(f *os.File) (old *os.File) {
		s.mu.Lock()
		defer s.mu.Unlock()
		last := s.segments[len(s.segments)-1]
		old, last.file = last.file, f
		return old
	}
	disk := swap(deaf)
	for range 2 {
		_, e1 := s.Update(ctx, store.Calls, "a", []byte("2"), one)
		_, e2 := s.Create(ctx, store.Calls, "b", []byte("1"), 0)
		e3 := s.Delete(ctx, store.Calls, "a")
		for i, err := range []error{e1, e2, e3} {
			if err == nil || !strings.Contains(err.Error(), "disk") {
				t.Fatalf("write %d: %v, want an error that points at the disk", i, err)
			}
		}
	}
	_ = swap(disk).Close()
	if _, err := s.Create(ctx, store.Calls, "b", []byte("2"), 0); err != nil {
		t.Fatalf("after the disk came back: %v", err)
	}
	if _, err := s.Update(ctx, store.Calls, "a", []byte("3"), one); err != nil {
		t.Fatalf("the revision from before: %v", err)
	}
	for e := range changes {
		if e.Deleted || string(e.Value) == "2" && e.Key == "a" {
			t.Errorf("a watch saw what was taken back: %+v", e)
		}
		if string(e.Value) == "3" {
			break
		}
	}
	want := map[string]string{"a": "3", "b": "2"}
	if got := contents(t, s, store.Calls); !maps.Equal(got, want) {
		t.Errorf("holds %v, want %v", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSized(t, state, usual)
	if got := contents(t, s, store.Calls); !maps.Equal(got, want) {
		t.Errorf("holds %v after a restart, want %v", got, want)
	}
}

// TestLogStaysSmall: a long life of short calls, beside values that stay, in
// tiny segments and with restarts, leaves what it should and little more.
func TestLogStaysSmall(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	small := sizes{segment: 2000, waste: 8000, step: 500}
	random := rand.New(rand.NewPCG(1, 2))
	held := map[store.Bucket]map[string]string{store.Calls: {}, store.Peers: {}}
	for range 4 {
		s := openSized(t, state, small)
		for b, want := range held {
			if got := contents(t, s, b); !maps.Equal(got, want) {
				t.Fatalf("%s holds %d keys after a restart, want %d: %v, %v", b, len(got), len(want), got, want)
			}
		}
		for i := range 400 {
			b, key := store.Calls, fmt.Sprint(random.IntN(30))
			if i%20 == 0 {
				b, key = store.Peers, fmt.Sprint(random.IntN(10))
			}
			if random.IntN(3) == 0 && b == store.Calls {
				if err := s.Delete(t.Context(), b, key); err != nil {
					t.Fatal(err)
				}
				delete(held[b], key)
				continue
			}
			value := strings.Repeat("x", random.IntN(100)) + fmt.Sprint(i)
			if _, err := s.Put(t.Context(), b, key, []byte(value)); err != nil {
				t.Fatal(err)
			}
			held[b][key] = value
		}
		for b, want := range held {
			if got := contents(t, s, b); !maps.Equal(got, want) {
				t.Fatalf("%s holds %v, want %v", b, got, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var size, live int64
		for _, seg := range s.segments {
			size, live = size+seg.size, live+seg.live
		}
		if size > 2*live+small.waste+3*small.segment {
			t.Errorf("the log holds %d bytes in %d segments, of which %d count", size, len(s.segments), live)
		}
		if files := logFiles(t, state); len(files) != len(s.segments) {
			t.Errorf("%d files, %d segments", len(files), len(s.segments))
		}
	}
}

// TestRemovedStaysRemoved: a removal outlives what it removed, whichever of
// their segments goes first.
func TestRemovedStaysRemoved(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	small := sizes{segment: 1, waste: 1 << 30, step: 1 << 20} // one record each
	s := openSized(t, state, small)
	ctx := t.Context()
	for _, key := range []string{"stays", "goes"} {
		if _, err := s.Put(ctx, store.Calls, key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(ctx, store.Calls, "goes"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	small.waste = 1
	s = openSized(t, state, small) // now all but one segment is waste
	for range 20 {
		if _, err := s.Put(ctx, store.Handlers, "other", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if files := logFiles(t, state); len(files) > 6 {
		t.Errorf("%d segments are left", len(files))
	}
	s = openSized(t, state, small)
	if got := contents(t, s, store.Calls); len(got) != 1 || got["stays"] != "x" {
		t.Errorf("holds %v", got)
	}
}

// TestOldestGiveWay: a full bucket refuses, but for the stored responses.
func TestOldestGiveWay(t *testing.T) {
	t.Parallel()
	s := openSized(t, t.TempDir(), usual)
	value := make([]byte, store.MaxValue)
	n := func(b store.Bucket) (n int, err error) {
		most, _ := b.MaxBytes()
		for ; err == nil && n < int(most/store.MaxValue)+8; n++ {
			_, err = s.Put(t.Context(), b, fmt.Sprint("k", n), value)
		}
		return n, err
	}
	if n, err := n(store.Handlers); err == nil || !strings.Contains(err.Error(), "full") || n < 200 {
		t.Fatalf("%d writes, %v", n, err)
	}
	if err := s.Delete(t.Context(), store.Handlers, "k0"); err != nil {
		t.Errorf("delete in a full bucket: %v", err)
	}
	if _, err := s.Put(t.Context(), store.Handlers, "small", []byte("x")); err != nil {
		t.Errorf("put after that: %v", err)
	}
	b := s.buckets[store.Idempotency]
	s.mu.Lock()
	b.bytes += 512<<20 - 2*store.MaxValue // as if it had long been written to
	s.mu.Unlock()
	for i := range 8 {
		if _, err := s.Create(t.Context(), store.Idempotency, fmt.Sprint("k", i), value, time.Duration(i+1)*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := s.Keys(t.Context(), store.Idempotency)
	slices.Sort(keys)
	if err != nil || !slices.Equal(keys, []string{"k7"}) {
		t.Errorf("holds %v, %v; want the last", keys, err)
	}
}

// TestExpiry: what has expired is gone, also after a restart.
func TestExpiry(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	s := openSized(t, state, usual)
	for _, key := range []string{"a", "b"} {
		if _, err := s.Create(t.Context(), store.Nonces, key, nil, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(t.Context(), store.Nonces, "c", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	s = openSized(t, state, usual)
	if got := contents(t, s, store.Nonces); len(got) != 1 {
		t.Errorf("holds %v", got)
	}
	if _, err := s.Create(context.WithoutCancel(t.Context()), store.Nonces, "a", nil, 0); err != nil {
		t.Error(err)
	}
}

func FuzzParseRecord(f *testing.F) {
	whole := record{kind: kindPut, bucket: store.Calls, key: "a", revision: 1, expiry: 2, value: []byte("value")}.append(nil)
	f.Add(whole)
	f.Add(record{kind: kindDelete, bucket: store.Nonces, key: "jti/x"}.append(nil))
	f.Add(whole[:len(whole)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := parseRecord(b)
		if err != nil {
			return
		}
		if again := r.append(nil); !bytes.Equal(again, b[:n]) || r.size() != int64(n) {
			t.Errorf("%x became %x", b[:n], again)
		}
		for i := range n {
			if _, _, err := parseRecord(b[:i]); !errors.Is(err, errTorn) {
				t.Fatalf("%d of %d bytes: %v", i, n, err)
			}
		}
	})
}
