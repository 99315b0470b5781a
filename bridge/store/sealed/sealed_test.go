package sealed_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"riptide/bridge/store"
	"riptide/bridge/store/sealed"
	"riptide/bridge/store/storetest"
)

const (
	oneKey   = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	otherKey = "ICECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

func ring(t *testing.T, keys ...string) sealed.Ring {
	t.Helper()
	r, err := sealed.ParseRing([]byte(strings.Join(keys, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return sealed.New(store.NewMemory(), ring(t, oneKey)) })
}

// TestTheStoreSeesNoCalls: what lies on the disk of a node, in its backup or in
// somebody else's NATS says nothing about who talks to whom.
func TestTheStoreSeesNoCalls(t *testing.T) {
	t.Parallel()
	under := store.NewMemory()
	s := sealed.New(under, ring(t, oneKey))
	defer s.Close()
	secret := []byte(`{"caller":"+12025550123"}`)
	rev, err := s.Create(t.Context(), store.Calls, "a", secret, 0)
	if err != nil {
		t.Fatal(err)
	}
	first, err := under.Get(t.Context(), store.Calls, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), store.Calls, "a", secret, rev); err != nil {
		t.Fatal(err)
	}
	second, err := under.Get(t.Context(), store.Calls, "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []store.Entry{first, second} {
		if bytes.Contains(e.Value, []byte("2025550123")) || len(e.Value) != len(secret)+store.SealOverhead {
			t.Errorf("stored as %q", e.Value)
		}
	}
	if bytes.Equal(first.Value, second.Value) {
		t.Error("the same value twice shows that it is the same")
	}
	if _, err := s.Put(t.Context(), store.Handlers, "a", secret); err != nil {
		t.Fatal(err)
	}
	if e, err := under.Get(t.Context(), store.Handlers, "a"); err != nil || !bytes.Equal(e.Value, secret) {
		t.Errorf("a bucket without secrets holds %q, %v", e.Value, err)
	}
}

// TestStoredResponsesAreSealed: they describe calls. Those of releases that did not
// seal them can be read.
func TestStoredResponsesAreSealed(t *testing.T) {
	t.Parallel()
	under := store.NewMemory()
	s := sealed.New(under, ring(t, oneKey))
	defer s.Close()
	ctx := t.Context()
	secret := []byte(`{"body":{"from":"+12025550123"}}`)
	if _, err := s.Create(ctx, store.Idempotency, "new", secret, 0); err != nil {
		t.Fatal(err)
	}
	if e, err := under.Get(ctx, store.Idempotency, "new"); err != nil || bytes.Contains(e.Value, []byte("2025550123")) {
		t.Errorf("stored as %q, %v", e.Value, err)
	}
	if _, err := under.Create(ctx, store.Idempotency, "old", secret, 0); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"new", "old"} {
		if e, err := s.Get(ctx, store.Idempotency, key); err != nil || !bytes.Equal(e.Value, secret) {
			t.Errorf("%s: %q, %v", key, e.Value, err)
		}
	}
	if _, err := sealed.New(under, ring(t, otherKey)).Get(ctx, store.Idempotency, "new"); !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("with another key: %v", err)
	}
}

// TestWhatDoesNotOpen: it is an error of that one value, by Get and by Watch, and
// the others are read on.
func TestWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	under := store.NewMemory()
	defer under.Close()
	ctx := t.Context()
	put := func(s store.Store, name, value string) []byte {
		t.Helper()
		if _, err := s.Put(ctx, store.Calls, name, []byte(value)); err != nil {
			t.Fatal(err)
		}
		e, err := under.Get(ctx, store.Calls, name)
		if err != nil {
			t.Fatal(err)
		}
		return e.Value
	}
	s := sealed.New(under, ring(t, oneKey))
	sealedOne := put(s, "moved-from", "1")
	put(sealed.New(under, ring(t, otherKey)), "otherkey", "2")
	put(under, "moved", string(sealedOne))
	put(under, "plain", `{"v":1}`)
	put(under, "empty", "")
	put(under, "newer", "\x02"+string(sealedOne[1:]))
	put(under, "cut", string(sealedOne[:len(sealedOne)-1]))
	put(under, "head", string(sealedOne[:5]))
	flipped := bytes.Clone(sealedOne)
	flipped[len(flipped)-1] ^= 1
	put(under, "flipped", string(flipped))
	put(s, "whole", "3")

	want := map[string]string{
		"otherkey": "sealed with key", "moved": "damaged", "plain": "not sealed", "empty": "not sealed",
		"newer": "newer release", "cut": "damaged", "head": "damaged", "flipped": "damaged", "moved-from": "", "whole": "",
	}
	check := func(what string, e store.Entry, err error) {
		t.Helper()
		text := want[e.Key]
		if text == "" {
			if err != nil || len(e.Value) != 1 {
				t.Errorf("%s %s: %q, %v", what, e.Key, e.Value, err)
			}
			return
		}
		if !errors.Is(err, store.ErrUnreadable) || !strings.Contains(fmt.Sprint(err), text) || !strings.Contains(fmt.Sprint(err), e.Key) || e.Value != nil {
			t.Errorf("%s %s: %q, %v", what, e.Key, e.Value, err)
		}
	}
	for name := range want {
		e, err := s.Get(ctx, store.Calls, name)
		e.Key = name
		check("get", e, err)
	}
	changes, err := s.Watch(ctx, store.Calls)
	if err != nil {
		t.Fatal(err)
	}
	for range want {
		e := <-changes
		check("watch", e, e.Err)
	}
}

// TestKeysChange: while calls run, first every node learns the new key, then it
// seals, then the old one goes.
func TestKeysChange(t *testing.T) {
	t.Parallel()
	under := store.NewMemory()
	defer under.Close()
	ctx := t.Context()
	old := sealed.New(under, ring(t, oneKey))
	learnt := sealed.New(under, ring(t, oneKey, "# new", otherKey))
	changed := sealed.New(under, ring(t, otherKey, oneKey))
	if _, err := old.Put(ctx, store.Calls, "before", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := changed.Put(ctx, store.Calls, "after", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []store.Store{learnt, changed} {
		for _, name := range []string{"before", "after"} {
			if _, err := s.Get(ctx, store.Calls, name); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := old.Get(ctx, store.Calls, "after"); !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("without the new key: %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), sealed.File)
	if _, err := sealed.Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load of nothing: %v", err)
	}
	made, err := sealed.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := sealed.LoadOrCreate(path)
	if err != nil || again.String() != made.String() {
		t.Errorf("the second start has %v, not %v: %v", again, made, err)
	}
	other, err := sealed.LoadOrCreate(filepath.Join(t.TempDir(), sealed.File))
	if err != nil || other.String() == made.String() {
		t.Errorf("two boxes have the key %v: %v", other, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("a key that others may read: %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, shown := range []string{fmt.Sprint(made), fmt.Sprintf("%v %+v %#v %s %x", made, made, made, made, made)} {
		if strings.Contains(shown, lines[len(lines)-1]) || len(shown) > 100 {
			t.Errorf("shown as %s", shown)
		}
	}
}

// TestBrokenKeyFile: a key file that was harmed starts nothing, and is not
// replaced: with a new key the old calls would be lost.
func TestBrokenKeyFile(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "comments": "# nothing\n\n", "short": "AAEC", "long": oneKey[:43] + "AA==", "words": "not a key",
		"twice": oneKey + "\n" + oneKey, "loose": oneKey[:42] + "9=",
		"many": func() string {
			var b strings.Builder
			for i := range 17 {
				fmt.Fprintf(&b, "%c%s\n", 'A'+i, oneKey[1:])
			}
			return b.String()
		}(),
		"huge": strings.Repeat("#\n", 40<<10),
	} {
		path := filepath.Join(t.TempDir(), sealed.File)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := sealed.LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%s: the file was changed to %q, %v", name, now, err)
		}
	}
}
