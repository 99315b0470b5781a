package embedded_test

import (
	"context"
	"log/slog"
	"testing"

	"riptide/bridge/store"
	"riptide/bridge/store/embedded"
	"riptide/bridge/store/storetest"
)

var kind = storetest.Kind{
	Open: func(ctx context.Context, state string, log *slog.Logger) (store.Store, error) {
		return embedded.OpenAlone(ctx, state, embedded.Peers{}, log)
	},
	Dir:  "store/jetstream",
	File: "*/streams/KV_calls/msgs/*.blk",
}

func TestMain(m *testing.M) { kind.Main(m) }

func TestContract(t *testing.T)      { kind.Contract(t) }
func TestKill(t *testing.T)          { kind.Kill(t) }
func TestReopen(t *testing.T)        { kind.Reopen(t) }
func TestHeld(t *testing.T)          { kind.Held(t) }
func TestDirectory(t *testing.T)     { kind.Directory(t) }
func TestUnreadable(t *testing.T)    { kind.Unreadable(t) }
func TestNothingLeft(t *testing.T)   { kind.NothingLeft(t) }
func TestSoakPowerLoss(t *testing.T) { kind.PowerLoss(t) }

func BenchmarkCalls(b *testing.B) { kind.Calls(b) }
