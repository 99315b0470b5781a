package embedded

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"riptide/bridge/store"
)

// TestWhoGetsNoAnswerHearsWhy, and until when that may last.
func TestWhoGetsNoAnswerHearsWhy(t *testing.T) {
	t.Parallel()
	s := openHere(t, slog.New(slog.DiscardHandler))
	s.Deafen(1 << 20)
	_, err := s.Put(t.Context(), store.Calls, "a", nil)
	var electing *store.Electing
	if !errors.As(err, &electing) || electing.Left() > longestElection {
		t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, store.Calls, "a", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("whose caller has gone: %v", err)
	}
	s.streams = s.streams.(*deaf).JetStream
	if _, err := s.Put(t.Context(), store.Calls, "a", nil); err != nil {
		t.Error(err)
	}
}
