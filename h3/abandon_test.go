package h3

import (
	"testing"
	"time"

	"riptide/bridge"
)

// letGoOf lets go of a leg, which then has nothing more to say.
func letGoOf(t *testing.T, l bridge.Leg) {
	t.Helper()
	l.(bridge.Abandoner).Abandon()
	l.(bridge.Abandoner).Abandon()
	for {
		select {
		case ev, ok := <-l.Events():
			if !ok {
				return
			}
			t.Errorf("%v %v of a leg that was let go of", ev.Kind, ev.Cause)
		case <-time.After(10 * time.Second):
			t.Fatal("the leg is not over")
		}
	}
}

// A leg that either end lets go of is not over for the other, and goes on from its
// record: here, by and by, in the same process.
func TestAbandonedLegsGoOn(t *testing.T) {
	t.Parallel()
	m := newMortal(t, "auto")
	out, in := m.answered("trunk-session")
	r := again(in, bridge.StateAnswered)
	letGoOf(t, in)
	time.Sleep(300 * time.Millisecond) // the client looks for its call meanwhile
	next, err := m.server.Resume(t.Context(), r)
	must(t, err)
	m.heard(out, next)

	r = again(out, bridge.StateAnswered)
	letGoOf(t, out)
	time.Sleep(300 * time.Millisecond)
	last, err := m.client.Resume(t.Context(), r)
	must(t, err)
	m.heard(last, next)
	must(t, last.End(t.Context(), bridge.CauseNormal))
	if c := awaitEnded(t, next); c.Code != "normal" {
		t.Errorf("ended with %v", c)
	}
}
