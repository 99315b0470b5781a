package embedded

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"riptide/bridge/store"
)

// TestWriteWithoutAnswer: without a majority, and on full disks, the server takes a
// write and says nothing more of it. Here it is gone altogether, which looks the same.
func TestWriteWithoutAnswer(t *testing.T) {
	t.Parallel()
	s, err := OpenAlone(context.Background(), t.TempDir(), Peers{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.server.Shutdown()
	s.server.WaitForShutdown()
	for name, write := range map[string]func() error{
		"create": func() error { _, err := s.Create(context.Background(), store.Calls, "a", []byte("x"), 0); return err },
		"put":    func() error { _, err := s.Put(context.Background(), store.Calls, "b", []byte("x")); return err },
		"update": func() error { _, err := s.Update(context.Background(), store.Calls, "c", []byte("x"), 1); return err },
		"delete": func() error { return s.Delete(context.Background(), store.Calls, "d") },
	} {
		t.Run(name, func(t *testing.T) {
			if err := write(); err == nil || !strings.Contains(err.Error(), "majority") {
				t.Errorf("%v, want an error that points at the other nodes", err)
			}
		})
	}
}
