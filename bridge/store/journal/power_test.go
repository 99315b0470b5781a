package journal_test

import (
	"os"
	"testing"

	"riptide/bridge/store"
	"riptide/bridge/store/storetest"
)

// TestPowerLoss: of what was acknowledged nothing is lost, and no call is half a
// call.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	powerLoss(t, 12)
}

func TestSoakPowerLoss(t *testing.T) {
	if os.Getenv("RIPTIDE_SOAK") == "" {
		t.Skip("long: make soak runs it")
	}
	powerLoss(t, 100)
}

func powerLoss(t *testing.T, rounds int) {
	storetest.PowerLoss(t, rounds, "store/journal/*", func(t *testing.T, state string) store.Store { return open(t, state) })
}
