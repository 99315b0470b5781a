package bridge_test

import (
	"sync"
	"testing"
	"time"

	"riptide/bridge"
)

// TestPhasesOfATakeover are told once each, in their order.
func TestPhasesOfATakeover(t *testing.T) {
	var mu sync.Mutex
	took := map[bridge.Phase][]time.Duration{}
	inSiteOf(t, func(cfg *bridge.Config) {
		cfg.OnPhase = func(p bridge.Phase, d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			took[p] = append(took[p], d)
		}
	}, func(t *testing.T, s *site) {
		s.nodes["one"].calls(1)
		s.kill("one")
		two := s.nodes["two"]
		if found, err := two.bridge.Claim(t.Context(), "a0"); !found || err != nil {
			t.Fatal(found, err)
		}
		time.Sleep(70 * time.Millisecond)
		frame := &bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)}
		for _, id := range []string{"a0", "a0", "dialled-1", "dialled-1"} {
			two.resumed[id].Peer().Push(frame)
		}
		mu.Lock()
		if len(took[bridge.PhaseClaim]) != 1 || len(took[bridge.PhaseLegs]) != 1 || len(took[bridge.PhaseHeard]) != 1 {
			t.Fatalf("%v", took)
		}
		if legs, heard := took[bridge.PhaseLegs][0], took[bridge.PhaseHeard][0]; legs != two.answer || heard != 70*time.Millisecond {
			t.Errorf("%v", took)
		}
		mu.Unlock()
		time.Sleep(2 * time.Minute) // for what remains of the first
	})
}
