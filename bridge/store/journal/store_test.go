package journal_test

import (
	"log/slog"
	"testing"

	"riptide/bridge/store"
	"riptide/bridge/store/journal"
	"riptide/bridge/store/storetest"
)

func open(t testing.TB, state string) *journal.Store {
	t.Helper()
	s, err := journal.Open(t.Context(), state, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}
