package embedded_test

import (
	"os"
	"testing"

	"riptide/bridge/store"
	"riptide/bridge/store/storetest"
)

// TestSoakPowerLoss: of what was acknowledged nothing is lost, and no call is
// half a call.
func TestSoakPowerLoss(t *testing.T) {
	t.Parallel()
	rounds := 12
	if os.Getenv("RIPTIDE_SOAK") != "" {
		rounds = 100
	}
	storetest.PowerLoss(t, rounds, "store/jetstream/*/streams/KV_calls/msgs/*.blk", func(t *testing.T, state string) store.Store { return open(t, state) })
}
