package bridge_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTheEndOfAProcessIsNoticed by the first of its beats that does not come, if
// its host says that it is gone; not by the second.
func TestTheEndOfAProcessIsNoticed(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		s.nodes["one"].calls(1)
		s.kill("one")
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		if got := s.active(); got["two"]+got["three"] != 1 {
			t.Errorf("calls: %v", got)
		}
		time.Sleep(2 * time.Minute) // for what remains of the first
	})
}

// TestANodeThatIsOnlyLateIsLeftInPeace: its host does not refuse connections.
func TestANodeThatIsOnlyLateIsLeftInPeace(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		s.nodes["one"].calls(1)
		for range 10 {
			s.isolate("one", true)
			time.Sleep(400 * time.Millisecond)
			s.isolate("one", false)
			time.Sleep(400 * time.Millisecond)
		}
		if got := s.active(); got["one"] != 1 || len(got) != 1 {
			t.Errorf("calls: %v", got)
		}
	})
}
