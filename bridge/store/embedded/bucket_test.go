package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"riptide/bridge/store"
)

func openHere(t *testing.T, log *slog.Logger) *Store {
	t.Helper()
	s, err := OpenAlone(t.Context(), t.TempDir(), Peers{}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestEveryWriteIsSynced(t *testing.T) {
	t.Parallel()
	s := openHere(t, slog.New(slog.DiscardHandler))
	if c := s.server.JetStreamConfig(); c == nil || !c.SyncAlways {
		t.Errorf("configuration %+v", c)
	}
}

// TestDeletedCallsLeaveNothing: a box that carried ten million calls must not
// keep ten million markers.
func TestDeletedCallsLeaveNothing(t *testing.T) {
	t.Parallel()
	s := openHere(t, slog.New(slog.DiscardHandler))
	s.deleted = markerTTL // nobody waits ten minutes here
	for i := range 50 {
		key := fmt.Sprint("call-", i)
		if _, err := s.Create(t.Context(), store.Calls, key, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), store.Calls, key); err != nil {
			t.Fatal(err)
		}
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		stream, err := js.Stream(ctx, "KV_calls") // fetches its state
		if err != nil {
			t.Fatal(err)
		}
		if left := stream.CachedInfo().State.Msgs; left == 0 {
			return
		} else if ctx.Err() != nil {
			t.Fatalf("%d markers left", left)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestFullBucket: what does not fit is refused, and the bucket stays usable.
func TestFullBucket(t *testing.T) {
	t.Parallel()
	s := openHere(t, slog.New(slog.DiscardHandler))
	value := make([]byte, store.MaxValue)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = s.Put(t.Context(), store.Handlers, fmt.Sprint("h", n), value)
	}
	if bytes, _ := size(store.Handlers); err == nil || n < int(bytes/store.MaxValue)/2 {
		t.Fatalf("%d writes, %v", n, err)
	}
	if err := s.Delete(t.Context(), store.Handlers, "h0"); err != nil {
		t.Errorf("delete in a full bucket: %v", err)
	}
	if _, err := s.Put(t.Context(), store.Handlers, "small", []byte("x")); err != nil {
		t.Errorf("put after that: %v", err)
	}
}

// TestServerLog: at debug the store's server says what matters, and what it does all
// the time where that is wanted alone; below it says nothing.
func TestServerLog(t *testing.T) {
	t.Parallel()
	said := func(level slog.Level, all bool) string {
		var out lockedBuilder
		s, err := OpenAlone(t.Context(), t.TempDir(), Peers{Debug: all}, slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), store.Calls, "a", []byte("secret")); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return out.String()
	}
	const line, chatter = `msg="store server"`, `msg="store server" level=debug`
	if text := said(slog.LevelInfo, true); text != "" {
		t.Errorf("logged at info: %s", text)
	}
	if text := said(slog.LevelDebug, false); !strings.Contains(text, line) || strings.Contains(text, chatter) {
		t.Errorf("logged at debug: %s", text)
	}
	if text := said(slog.LevelDebug, true); !strings.Contains(text, chatter) || strings.Contains(text, "secret") {
		t.Errorf("all of it: %s", text)
	}
}
