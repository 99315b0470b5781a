package store_test

import (
	"testing"

	"riptide/bridge/store"
	"riptide/bridge/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}
