package bridge_test

import (
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
)

// TestACallThatEndsAtACutOffNode goes on where others have it: who ended its own half
// does not remove the record that is theirs by then.
func TestACallThatEndsAtACutOffNode(t *testing.T) {
	inSiteOf(t, carryingOn, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		legs := one.calls(5)
		s.cutOff("one", true)
		time.Sleep(10 * time.Second)
		legs[0].HangUp(bridge.CauseNormal, nil)
		one.await(legs[1], bridgetest.Finished)
		s.cutOff("one", false)
		time.Sleep(5 * time.Minute)
		if got, on := s.active(), s.owners(); got["one"] != 0 || got["two"]+got["three"] != 5 || on["two"]+on["three"] != 5 {
			t.Errorf("calls %v, on record %v", got, on)
		}
	})
}
