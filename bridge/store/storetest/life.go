package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"riptide/bridge/store"
)

// Kind is a store that keeps its values in a state directory. Its methods are the
// tests of what must hold whatever becomes of the process and the disk.
type Kind struct {
	Open func(ctx context.Context, state string, log *slog.Logger) (store.Store, error)
	Dir  string // what it makes in the state directory
	File string // pattern below Dir of the one file that holds the records of calls
}

var quiet = slog.New(slog.DiscardHandler)

// open opens a store or fails the test.
func (k Kind) open(t testing.TB, state string) store.Store {
	t.Helper()
	s, err := k.Open(t.Context(), state, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Contract is Run, each test in a directory of its own.
func (k Kind) Contract(t *testing.T) {
	Run(t, func(t *testing.T) store.Store { return k.open(t, t.TempDir()) })
}

const writerEnv = "RIPTIDE_STORE_WRITER"

// Main lets the test binary be the process that Kill kills; it belongs into
// TestMain.
func (k Kind) Main(m *testing.M) {
	if state := os.Getenv(writerEnv); state != "" {
		k.write(state)
	}
	os.Exit(m.Run())
}

// write creates and updates keys for ever and prints each acknowledged write.
func (k Kind) write(state string) {
	ctx := context.Background()
	s, err := k.Open(ctx, state, quiet)
	for i := 0; err == nil; i++ {
		key := fmt.Sprintf("call-%d", i)
		var revision uint64
		if revision, err = s.Create(ctx, store.Calls, key, []byte("new"), 0); err != nil {
			break
		}
		fmt.Println(key, "new")
		if _, err = s.Update(ctx, store.Calls, key, []byte("answered"), revision); err != nil {
			break
		}
		fmt.Println(key, "answered")
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Kill: what was acknowledged before a process was killed is there for the
// next one, round after round.
func (k Kind) Kill(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	acknowledged := map[string]string{}
	for round := range 3 {
		clear(acknowledged)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+state)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if n == 200 { // and read on: more was acknowledged before it died
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if key, value, ok := strings.Cut(lines.Text(), " "); ok {
				acknowledged[key] = value
			}
		}
		_ = cmd.Wait()
		if len(acknowledged) < 100 {
			t.Fatalf("round %d: only %d keys were written", round, len(acknowledged))
		}
		s := k.open(t, state)
		for key, value := range acknowledged {
			e, err := s.Get(t.Context(), store.Calls, key)
			// It may have been killed between the write and the line that tells of it.
			if err != nil || string(e.Value) != value && value != "new" {
				t.Errorf("round %d: %s holds %q, %v; want %s", round, key, e.Value, err, value)
			}
		}
		keys, err := s.Keys(t.Context(), store.Calls)
		if err != nil || len(keys) < len(acknowledged) || len(keys) > len(acknowledged)+1 {
			t.Errorf("round %d: %d keys, %v; %d were acknowledged", round, len(keys), err, len(acknowledged))
		}
		for _, key := range keys {
			if err := s.Delete(t.Context(), store.Calls, key); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Reopen: revisions stay good, and grow on.
func (k Kind) Reopen(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	s := k.open(t, state)
	revision, err := s.Create(t.Context(), store.Certificates, "a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = k.open(t, state)
	defer func() { _ = s.Close() }()
	next, err := s.Update(t.Context(), store.Certificates, "a", []byte("2"), revision)
	if err != nil || next <= revision {
		t.Errorf("revision %d after %d, %v", next, revision, err)
	}
}

// Held: one process at a time has a directory, and the next is told which.
func (k Kind) Held(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	s := k.open(t, state)
	_, err := k.Open(t.Context(), state, quiet)
	if !errors.Is(err, store.ErrHeld) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("second open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := k.open(t, state).Close(); err != nil {
		t.Error(err)
	}
}

// Directory: it is made where it is missing, for its owner alone.
func (k Kind) Directory(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "a", "b")
	if err := os.MkdirAll(filepath.Join(state, "store"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := k.open(t, state)
	defer func() { _ = s.Close() }()
	info, err := os.Stat(filepath.Join(state, "store"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = k.Open(t.Context(), file, quiet)
	if !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), "StateDirectory=riptide") {
		t.Errorf("state in a file: %v", err)
	}
}

// Unreadable: damage is an error, not a crash and not an empty store.
func (k Kind) Unreadable(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if err := os.MkdirAll(filepath.Join(state, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, k.Dir), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := k.Open(t.Context(), state, quiet)
	if err == nil {
		_ = s.Close()
		t.Fatal("opened")
	}
	if errors.Is(err, store.ErrHeld) {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(state, k.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := k.open(t, state).Close(); err != nil { // the failure gave the lock back
		t.Error(err)
	}
}

// NothingLeft: a store that was closed leaves nothing behind. It is not parallel:
// it counts the goroutines of the process.
func (k Kind) NothingLeft(t *testing.T) {
	state := t.TempDir()
	if err := k.open(t, state).Close(); err != nil { // what starts once and stays
		t.Fatal(err)
	}
	before, sockets := runtime.NumGoroutine(), openSockets(t)
	for range 3 {
		s := k.open(t, state)
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			changes, err := s.Watch(ctx, store.Calls)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Put(ctx, store.Calls, "a", nil); err != nil {
				t.Fatal(err)
			}
			cancel()
			for range changes {
			}
		}
		if n := openSockets(t); n != sockets {
			t.Errorf("the store opened %d sockets", n-sockets)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// The last ones are on their way out when Close returns.
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func openSockets(t *testing.T) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(links) == 0 {
		t.Fatal("sockets are counted in /proc/self/fd, which is Linux's: mount procfs")
	}
	n := 0
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}
