package cluster

import (
	"testing"
	"time"
)

// TestAProcessWhoseClockWasSetBack since the one before it began is heard all the
// same, whether that one was declared dead meanwhile or not.
func TestAProcessWhoseClockWasSetBack(t *testing.T) {
	t.Parallel()
	for _, buried := range []bool{false, true} {
		w, now := old("w")
		w.hear(now, beat{Node: "a", Term: 1000})
		if buried {
			now = now.Add(deadAfter)
			if v := w.vote(now, claim{Call: "1", Epoch: 2, Owner: "a", Claimant: "b", Term: 5}, false); v.Outcome != granted {
				t.Fatalf("%+v", v)
			}
		}
		a := newRoll("a", three, 10, now)
		w.hear(now, a.beat(now))
		if w.beat(now).Heard["a"].Term == 10 {
			t.Fatal("a lower term is heard")
		}
		for range 3 { // each hears the other
			now = now.Add(beatEvery)
			a.hear(now, w.beat(now))
			a.lease(now)
			w.hear(now, a.beat(now))
		}
		if !a.lease(now) || a.term <= 1000 {
			t.Errorf("buried %v: held %v, term %d", buried, a.lease(now), a.term)
		}
		if e := w.beat(now).Heard["a"]; e.Term != a.term {
			t.Errorf("buried %v: %+v is confirmed", buried, e)
		}
	}
}

// TestATermThatNobodyCouldReach is not believed.
func TestATermThatNobodyCouldReach(t *testing.T) {
	t.Parallel()
	a := newRoll("a", three, 10, time.Unix(1e9, 0))
	a.hear(a.began, beat{Node: "w", Term: 1, Latest: map[string]uint64{"a": 1<<64 - 1}})
	if a.term != 10 {
		t.Errorf("term %d", a.term)
	}
}
