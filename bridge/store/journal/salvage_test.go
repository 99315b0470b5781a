package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"riptide/bridge/store"
)

// placed is a record and where it is.
type placed struct {
	record
	file, from, to int
}

// readAll finds the records of files that are whole, in order.
func readAll(t *testing.T, files [][]byte) (all []placed) {
	t.Helper()
	for i, data := range files {
		for at := segmentHead; at < len(data); {
			r, n, err := parseRecord(data[at:])
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, placed{r, i, at, at + n})
			at += n
		}
	}
	return all
}

// without is what is held when a byte of a file is another one.
func without(all []placed, file, at int) map[string]string {
	held := map[string]string{}
	for _, r := range all {
		switch {
		case r.file == file && r.from <= at && at < r.to: // not read
		case r.kind == kindDelete:
			delete(held, r.key)
		default:
			held[r.key] = string(r.value)
		}
	}
	return held
}

// TestOneByteHarmsOneRecord, whichever it is of whichever file, and the store goes on
// from there.
func TestOneByteHarmsOneRecord(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 4))
	s := openSized(t, state, sizes{segment: 250, waste: 1 << 20, step: 1000})
	for i := range 16 {
		key := fmt.Sprint("call-", i%11)
		if i%7 == 6 {
			if err := s.Delete(t.Context(), store.Calls, key); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := s.Put(t.Context(), store.Calls, key, []byte(strings.Repeat("x", i)+fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names := logFiles(t, state)
	var files [][]byte
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data)
	}
	if len(files) < 3 {
		t.Fatalf("%d files", len(files))
	}
	all := readAll(t, files)
	dir := t.TempDir()
	every := 4
	if os.Getenv("RIPTIDE_SOAK") != "" {
		every = 1
	}
	for i, whole := range files {
		for at := rng.IntN(every); at < len(whole); at += every {
			after := filepath.Join(dir, fmt.Sprint(i, "-", at))
			if err := os.CopyFS(after, os.DirFS(state)); err != nil {
				t.Fatal(err)
			}
			harmed := append([]byte{}, whole...)
			harmed[at] ^= 1 << rng.IntN(8)
			if err := os.WriteFile(filepath.Join(after, "store", "journal", filepath.Base(names[i])), harmed, 0o600); err != nil {
				t.Fatal(err)
			}
			checkHarmed(t, after, fmt.Sprintf("byte %d of file %d of %d", at, i+1, len(files)), without(all, i, at), rng.IntN(5) == 0)
			if err := os.RemoveAll(after); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checkHarmed opens a store, compares what it holds, and has it go on where that is
// wanted.
func checkHarmed(t *testing.T, state, what string, want map[string]string, on bool) {
	t.Helper()
	opened := func() *Store {
		t.Helper()
		s, err := open(t.Context(), state, quiet, usual)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return s
	}
	s := opened()
	if got := contents(t, s, store.Calls); !maps.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
	if on {
		if _, err := s.Put(t.Context(), store.Calls, "next", []byte("x")); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = opened()
		want = maps.Clone(want)
		want["next"] = "x"
		if got := contents(t, s, store.Calls); !maps.Equal(got, want) {
			t.Fatalf("%s, written to and opened again: %v, want %v", what, got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsTold with the file, how much of it, and whose record it was; and where
// nothing can be read there is an error that says what to do, and no empty store.
func TestDamageIsTold(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	s := openSized(t, state, usual)
	for i := range 3 {
		if _, err := s.Put(t.Context(), store.Calls, fmt.Sprint("call-", i), make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	size := s.segments[0].size
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := logFiles(t, state)[0]
	harm := func(from, to int) {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := from; i < to; i++ {
			data[i] ^= 0xff
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one := (int(size) - segmentHead) / 3
	harm(segmentHead+2*one-50, segmentHead+2*one) // the value of the second
	var log strings.Builder
	s, err := Open(t.Context(), state, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"level=ERROR", "segment=" + file, fmt.Sprint("at=", segmentHead+one), fmt.Sprint("bytes=", one), `record="calls call-1"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("not said: %s: %s", want, &log)
		}
	}
	harm(0, int(size))
	if s, err = Open(context.Background(), state, quiet); err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), "restore") {
		t.Errorf("opened: %v, want an error that says what to do", err)
	}
	if lock, err := store.Hold(filepath.Join(state, "store")); err != nil {
		t.Errorf("the failure kept the lock: %v", err)
	} else {
		_ = lock.Close()
	}
}

// FuzzNextRecord: whatever a disk gives back, reading it ends, and what is found reads.
func FuzzNextRecord(f *testing.F) {
	one := record{kind: kindPut, bucket: store.Calls, key: "a", revision: 1, value: []byte("value")}.append(nil)
	f.Add(append([]byte("rubbish"), one...))
	f.Add(append(one[:20:20], one...))
	f.Fuzz(func(t *testing.T, b []byte) {
		at := nextRecord(b)
		if _, _, err := parseRecord(b[at:]); at < len(b) && err != nil {
			t.Errorf("at %d: %v", at, err)
		}
		whose(b)
	})
}
