package bridge

import (
	"sync/atomic"
	"time"
)

// Phase is a part of the time in which a call whose node is gone is silent. Those
// of the node that takes it over, and those of the client of RIPT that looks for
// it, run beside each other.
type Phase string

// The phases, each from the end of the one before it.
const (
	PhaseClaim Phase = "claim" // a node was asked for the call, until it has it
	PhaseLegs  Phase = "legs"  // until both legs are there and their peers know of it
	PhaseHeard Phase = "heard" // until a frame has come from both peers

	PhaseSeek  Phase = "seek"  // a client has lost the call's byway, until a node answers for the call
	PhaseByway Phase = "byway" // until the byway is open there
	PhaseMedia Phase = "media" // until media come by it
)

// Phases are all of them.
var Phases = []Phase{PhaseClaim, PhaseLegs, PhaseHeard, PhaseSeek, PhaseByway, PhaseMedia}

// stopwatch measures the phases of one call that is taken over.
type stopwatch struct {
	tell    func(Phase, time.Duration) // never nil
	now     func() time.Time
	began   time.Time
	last    time.Time
	waiting atomic.Int32 // sides that were not heard yet
}

func (b *Bridge) stopwatch() *stopwatch {
	w := &stopwatch{tell: b.cfg.OnPhase, now: b.cfg.Now, began: b.cfg.Now()}
	if w.tell == nil {
		w.tell = func(Phase, time.Duration) {}
	}
	w.last = w.began
	return w
}

// lap ends a phase.
func (w *stopwatch) lap(p Phase) time.Duration {
	now := w.now()
	took := now.Sub(w.last)
	w.last = now
	w.tell(p, took)
	return took
}

// listen has the pumps of a call tell of their first frames.
func (c *call) listen(w *stopwatch) {
	first := func() {
		if w.waiting.Add(-1) == 0 {
			w.lap(PhaseHeard)
			c.log.Info("call heard again", "after", w.last.Sub(w.began).Round(time.Millisecond))
		}
	}
	w.waiting.Store(2)
	c.toA.first.Store(&first)
	c.toB.first.Store(&first)
}
