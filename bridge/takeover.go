package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"riptide/bridge/cluster"
)

// A call is older than the process that serves it: its record is claimed, both
// legs are made again, and it runs on as any other call. What was not answered
// when its process died is ended, since nobody can say what was under way; so is
// what nobody has served for so long that its parties have hung up.
//
// Who claims a call raises the epoch of its record, and every write is one of a
// revision that the writer knows. So the owner that was finds out with its next
// write, and lets go of the call without a word.

const (
	// checkpointEvery is how old the record of an answered call gets: peers'
	// numbering is continued from it.
	checkpointEvery = time.Minute

	// firstCheckpoint is when it is written for the first time, at least: by then
	// the caller has acknowledged the answer, and media has begun.
	firstCheckpoint = time.Second

	// forsakenAfter is how long nobody may have served a call, beyond the age that
	// its record has anyway, for it to go on.
	forsakenAfter = time.Minute
	longestIdle   = checkpointEvery + forsakenAfter

	// takeLimit is how long one leg may need.
	takeLimit = 10 * time.Second
)

// checkpoint is when the record is written next, if nothing happens: spread, so
// that calls which were taken up together do not write together.
func (c *call) checkpoint() time.Duration {
	var spread time.Duration
	for _, b := range []byte(c.rec.ID) {
		spread = (spread*31 + time.Duration(b)) % 15_000
	}
	return checkpointEvery - spread*time.Millisecond
}

// each does something for all items, n at a time, and waits.
func each[T any](items []T, n int, do func(T)) {
	var workers sync.WaitGroup
	var next atomic.Int64
	for range min(n, len(items)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(items); i = int(next.Add(1)) - 1 {
				do(items[i])
			}
		})
	}
	workers.Wait()
}

// errOver says that a call was taken up only to be ended.
var errOver = errors.New("the call could not go on")

// takeUp claims a call and continues it, or ends what is left of it (errOver).
// errFenced says that somebody else has it. It calls claimed when only peers are waited
// for any more.
func (b *Bridge) takeUp(ctx context.Context, rec CallRecord, rev uint64, moved bool, claimed func()) error {
	idle, watch := b.idle(rec), b.stopwatch()
	// Also where we, or a process of ours before us, had it only so long that its
	// peers still speak to the node of before.
	moved = moved || rec.Moving
	rec.Moving = moved
	c, err := b.own(ctx, rec, rev)
	claimed()
	if err != nil {
		return err
	}
	claim := watch.lap(PhaseClaim)
	if moved = c.rec.Moving; moved {
		c.hears = b.foyersOf(rec.ID)
	}
	cause, over := unfit(rec, idle)
	how := Resumption{Call: rec.ID, Trace: rec.Trace, State: rec.State, Moved: moved, Idle: idle, Exact: c.exact}
	resuming, cancel := b.whileOurs(ctx, c)
	failed := c.resumeLegs(resuming, how)
	cancel()
	c.rec.Moving = moved && failed != nil // the peers were told before the legs were there
	answered := !over
	if !over && failed != nil {
		over, cause = true, whyOver(failed)
	}
	legs := watch.lap(PhaseLegs)
	kept := b.enter(c)
	if kept == nil && !over {
		c.listen(watch)
		c.connect()
	}
	go func() {
		defer b.ended(c)
		c.resumed(context.WithoutCancel(ctx), cause, over)
	}()
	switch {
	case kept != nil:
		return kept
	case over && answered && cause.Code != CauseNormal.Code:
		return failed
	case over:
		return errOver
	}
	c.log.Info("call resumed", "idle", idle.Round(time.Millisecond), "epoch", c.rec.Epoch, "moved", moved, "a", c.a.Info().ID, "b", c.b.Info().ID,
		"claimed", claim.Round(time.Millisecond), "legs", legs.Round(time.Millisecond))
	return nil
}

// lastServed is when the owner of the record was alive for certain.
func (r *CallRecord) lastServed() time.Time {
	for _, t := range []time.Time{r.Served, r.Answered} {
		if !t.IsZero() {
			return t
		}
	}
	return r.Created
}

// unfit tells why a call does not go on.
func unfit(rec CallRecord, idle time.Duration) (Cause, bool) {
	switch {
	case rec.State == StateEnded && rec.Cause != nil:
		return *rec.Cause, true
	case rec.State != StateAnswered:
		cause := CauseShuttingDown.With("the process that was setting up the call is gone").EndedBy(ByBridge)
		cause.RetryAfter = time.Second
		return cause, true
	case idle > longestIdle:
		return CauseSignallingLost.With("nobody has served the call for %v", idle.Round(time.Second)).EndedBy(ByBridge), true
	case rec.B == nil || rec.A.Plan == nil || rec.B.Plan == nil:
		return CauseInternal.With("its record is not complete").EndedBy(ByBridge), true
	}
	return Cause{}, false
}

// enter puts a call that exists already into the table, whatever its limits. The
// error says that it may not be touched any more.
func (b *Bridge) enter(c *call) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[c.rec.ID] = c
	for _, leg := range []Leg{c.a, c.b} {
		if leg != nil {
			b.owners[leg] = c
			c.owned = append(c.owned, leg)
		}
	}
	c.places = [2]string{c.summary.TrunkA, c.summary.TrunkB}
	for _, trunk := range c.places {
		b.busy[trunk]++
	}
	b.done.Add(1)
	switch {
	case b.leaving, b.closing && c.hears != nil: // what another node had shall not end with this one
		c.leave <- struct{}{}
	case b.closing:
		c.stop <- CauseShuttingDown.With("node %q is going down", b.cfg.Node)
	}
	if b.ledger == nil {
		return nil
	}
	if lease, _ := b.cfg.Members.Lease(); !c.under(lease) {
		c.gone.Store(true)
		return fmt.Errorf("the call was let go of again: %w", cluster.ErrCutOff)
	}
	return nil
}

// connect lets media flow between the legs of a call that was taken up, what has
// waited first.
func (c *call) connect() {
	if c.hears != nil {
		c.hears.sides[sideA].admit(c.toB)
		c.hears.sides[sideB].admit(c.toA)
	}
	c.join()
	c.fill()
}

// resumed is the rest of the call's life.
func (c *call) resumed(ctx context.Context, cause Cause, over bool) {
	var last *Event
	if c.gone.Load() {
		c.relinquish(ctx)
		c.log.Info(fencedAlone)
		return
	}
	if !over {
		cause, last = c.loop(ctx)
	} else if !c.rec.Answered.IsZero() {
		c.rec.State = StateAnswered // whoever is told must know that it was
	}
	c.close(ctx, cause, last)
}
