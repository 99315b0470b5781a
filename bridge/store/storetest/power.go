package storetest

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"riptide/bridge/store"
)

// The last second of a store in which calls begin, change and end.
const (
	powerWrites = 240
	powerCalls  = 20
)

// done is one acknowledged write, and how long the file was then.
type done struct {
	size  int64
	state map[string]int // of all calls after it: the version of each; what was deleted is not there
}

// PowerLoss cuts the file of the calls at random points of its last second, as a
// loss of power does: what was not synced is missing, zeros, or rubbish. Each
// time the store must open, hold every write that was acknowledged before the
// cut, and nothing that was never written. It is a dozen times, or a hundred with
// RIPTIDE_SOAK.
func (k Kind) PowerLoss(t *testing.T) {
	t.Parallel()
	rounds := 12
	if os.Getenv("RIPTIDE_SOAK") != "" {
		rounds = 100
	}
	file := filepath.Join(k.Dir, k.File)
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	state := t.TempDir()
	s := k.open(t, state)
	history := powerHistory(t, ctx, s, filepath.Join(state, file))
	image := t.TempDir() // as the disk is while the process lives
	if err := os.CopyFS(image, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(uint64(rounds), 7))
	for round := range rounds {
		// Somewhere after the first half, which was synced long ago.
		from := history[len(history)/2].size
		cut := from + rng.Int64N(history[len(history)-1].size-from+1)
		how := []string{"cut off", "zeros", "rubbish"}[round%3]
		t.Run(fmt.Sprintf("%s from byte %d", how, cut), func(t *testing.T) {
			after := t.TempDir()
			if err := os.CopyFS(after, os.DirFS(image)); err != nil {
				t.Fatal(err)
			}
			damage(t, oneFile(t, filepath.Join(after, file)), cut, how, rng)
			s := k.open(t, after)
			checkAfter(t, ctx, s, history, cut)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = k.open(t, after) // what was repaired stays so
			if e := must(s.Get(ctx, store.Calls, "after"))(t); string(e.Value) != "the loss" {
				t.Errorf("written after the loss, and read as %q", e.Value)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// powerHistory lets calls begin, change and end, and notes how long the file was
// after each write.
func powerHistory(t *testing.T, ctx context.Context, s store.Store, file string) []done {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	now := map[string]int{}
	revisions := map[string]uint64{}
	var history []done
	for i := 1; i <= powerWrites; i++ {
		key := fmt.Sprintf("call%d", rng.IntN(powerCalls))
		var err error
		switch _, runs := now[key]; {
		case !runs:
			revisions[key], err = s.Create(ctx, store.Calls, key, powerValue(key, i), 0)
			now[key] = i
		case rng.IntN(4) == 0:
			err = s.Delete(ctx, store.Calls, key)
			delete(now, key)
		default:
			revisions[key], err = s.Update(ctx, store.Calls, key, powerValue(key, i), revisions[key])
			now[key] = i
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(oneFile(t, file))
		if err != nil {
			t.Fatal(err)
		}
		history = append(history, done{info.Size(), maps.Clone(now)})
	}
	return history
}

// powerValue is a value that says which it is from its first byte to its last.
func powerValue(key string, version int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%s=%d;", key, version), 40+version%60))
}

func oneFile(t *testing.T, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) != 1 {
		t.Fatalf("files %v, %v, want one", names, err)
	}
	return names[0]
}

// damage makes everything behind a point what a disk may hold there.
func damage(t *testing.T, file string, cut int64, how string, rng *rand.Rand) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	switch how {
	case "cut off":
		b = b[:min(cut, int64(len(b)))]
	default:
		for i := min(cut, int64(len(b))); i < int64(len(b)); i++ {
			if b[i] = 0; how == "rubbish" {
				b[i] = byte(rng.Uint32())
			}
		}
	}
	if err := os.WriteFile(file, b, fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
}

// checkAfter compares what is there with what was acknowledged before the cut.
func checkAfter(t *testing.T, ctx context.Context, s store.Store, history []done, cut int64) {
	t.Helper()
	last := -1 // the last write that was whole
	for i, d := range history {
		if d.size <= cut {
			last = i
		}
	}
	want := history[last].state
	keys := must(s.Keys(ctx, store.Calls))(t)
	found := map[string]int{}
	for _, key := range keys {
		e := must(s.Get(ctx, store.Calls, key))(t)
		text, _, _ := strings.Cut(string(e.Value), ";")
		version, err := strconv.Atoi(strings.TrimPrefix(text, key+"="))
		if err != nil || string(e.Value) != string(powerValue(key, version)) {
			t.Errorf("%s is corrupt: %.60q", key, e.Value)
			continue
		}
		found[key] = version
	}
	if !maps.Equal(found, want) {
		t.Errorf("after write %d of %d there was %v, and now there is %v", last+1, len(history), want, found)
	}
	for key := range want { // and can be written, at the revision that it says
		e := must(s.Get(ctx, store.Calls, key))(t)
		must(s.Update(ctx, store.Calls, key, e.Value, e.Revision))(t)
	}
	must(s.Create(ctx, store.Calls, "after", []byte("the loss"), 0))(t)
}
