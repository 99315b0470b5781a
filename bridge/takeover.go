package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"riptide/bridge/cluster"
	"riptide/bridge/store"
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

	// takers is how many calls are taken up at a time, and takeLimit how long one
	// leg may need.
	takers    = 64
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

// Restored is what became of the calls that were on record at the start.
type Restored struct {
	Resumed int // go on
	Ended   int // had to be ended: not answered yet, forsaken, or over already
	Lost    int // should have gone on and could not, or could not be read
	Took    time.Duration
}

// Restore takes up the calls that this node had when its process ended. It is
// called once the edges have their sockets and before they read them: no request
// of a call may find an edge that does not know it yet. It returns when every
// call is in the table of its edges; peers of calls that do not go on are told
// later, by calls of their own.
func (b *Bridge) Restore(ctx context.Context) (Restored, error) {
	if b.ledger != nil {
		return b.restoreShared(ctx)
	}
	began := time.Now()
	var r Restored
	keys, err := b.cfg.Store.Keys(ctx, store.Calls)
	if err != nil {
		return r, fmt.Errorf("read which calls there were: %w", err)
	}
	found := b.readRecords(ctx, keys)
	legs := map[string]int{} // in how many records of running calls a leg is
	for _, f := range found {
		for _, leg := range f.rec.legs() {
			if f.rec.State != StateEnded {
				legs[leg.ID]++
			}
		}
	}
	var resumed, ended, lost atomic.Int64
	each(found, takers, func(f foundRecord) {
		switch {
		case errors.Is(f.err, store.ErrUnreadable), errors.Is(f.err, errRecord):
			b.leftovers.add(f.key, b.cfg.Now().Add(unreadableFor))
		case f.err == nil && f.rec.Node != b.cfg.Node && b.idle(f.rec) > longestIdle:
			f.err = b.discard(f.rec)
		case f.err == nil:
			f.rec.dropGiven(legs)
			f.err = b.takeUp(ctx, f.rec, f.rev, false)
		}
		switch {
		case f.err == nil:
			resumed.Add(1)
		case errors.Is(f.err, errFenced):
		case errors.Is(f.err, errOver):
			ended.Add(1)
		default:
			lost.Add(1)
			b.cfg.Logger.Error("a call of before could not be taken up again", "call", f.key, "error", f.err)
		}
	})
	return Restored{int(resumed.Load()), int(ended.Load()), int(lost.Load()), time.Since(began)}, nil
}

// discard forgets a call that a box of another name had, too long ago. Where the
// state directory is a copy, the call may go on there: its peers are told nothing.
func (b *Bridge) discard(rec CallRecord) error {
	b.cfg.Logger.Warn("a call of another box is on record here, and too old to go on (was the state directory copied?)", "call", rec.ID, "of", rec.Node, "served", rec.lastServed())
	b.leftovers.add(rec.ID, b.cfg.Now())
	return errOver
}

// foundRecord is a record as the store has it.
type foundRecord struct {
	key string
	rec CallRecord
	rev uint64
	err error
}

func (b *Bridge) readRecords(ctx context.Context, keys []string) []foundRecord {
	found := make([]foundRecord, len(keys))
	for i, key := range keys {
		found[i].key = key
	}
	index := make([]int, len(keys))
	for i := range index {
		index[i] = i
	}
	each(index, takers, func(i int) {
		f := &found[i]
		e, err := b.cfg.Store.Get(ctx, store.Calls, f.key)
		if err == nil {
			f.rec, err = DecodeRecord(e.Value)
			if err != nil {
				err = fmt.Errorf("%w: %w", errRecord, err)
			}
		}
		f.rev, f.err = e.Revision, err
		if errors.Is(err, store.ErrNotFound) {
			f.err = errFenced // over since we asked for the keys
		}
	})
	return found
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

// legs are those of the record.
func (r *CallRecord) legs() []LegRecord {
	legs := []LegRecord{r.A}
	if r.B != nil {
		legs = append(legs, *r.B)
	}
	return legs
}

// dropGiven leaves out the leg that the call gave to another, if that has it on
// record.
func (r *CallRecord) dropGiven(taken map[string]int) {
	switch {
	case r.Gave == ByCaller && taken[r.A.ID] > 0:
		r.A.State, r.A.Protocol = nil, ""
	case r.Gave == ByCallee && r.B != nil && taken[r.B.ID] > 0:
		r.B = nil
	}
}

// errRecord says that a record is not one, or of a newer release.
var errRecord = errors.New("its record cannot be read")

// errOver says that a call was taken up only to be ended.
var errOver = errors.New("the call could not go on")

// idle is how long nobody has served a call. Where the clock was set back since,
// nobody knows: then it is the longest time after which it goes on, since numbers
// that go by it must not come twice.
func (b *Bridge) idle(rec CallRecord) time.Duration {
	idle := b.cfg.Now().Sub(rec.lastServed())
	if idle < 0 {
		return longestIdle
	}
	return idle
}

// takeUp claims a call and continues it, or ends what is left of it (errOver).
// errFenced says that somebody else has it.
func (b *Bridge) takeUp(ctx context.Context, rec CallRecord, rev uint64, moved bool) error {
	idle, watch := b.idle(rec), b.stopwatch()
	// Also where we, or a process of ours before us, had it only so long that its
	// peers still speak to the node of before.
	moved = moved || rec.Moving
	rec.Moving = moved
	c, err := b.own(ctx, rec, rev)
	if err != nil {
		return err
	}
	claimed := watch.lap(PhaseClaim)
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
		over, cause = true, CauseSignallingLost.With("%v", failed).EndedBy(ByBridge)
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
	case over && answered:
		return failed
	case over:
		return errOver
	}
	c.log.Info("call resumed", "idle", idle.Round(time.Millisecond), "epoch", c.rec.Epoch, "moved", moved, "a", c.a.Info().ID, "b", c.b.Info().ID,
		"claimed", claimed.Round(time.Millisecond), "legs", legs.Round(time.Millisecond))
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

// remake makes a call of its record. It has no legs yet.
func (b *Bridge) remake(rec CallRecord, rev uint64) *call {
	c := &call{
		bridge:  b,
		log:     b.cfg.Logger.With("call", rec.ID, "trace", rec.Trace.ID),
		stop:    make(chan Cause, 1),
		leave:   make(chan struct{}, 1),
		over:    make(chan struct{}),
		fenceUp: make(chan struct{}, 1), regained: make(chan uint64, 1),
		wanted: make(chan string, 1),
		came:   b.cfg.Now(),
		asked:  make(chan request, maxRequests),
		rec:    rec, rev: rev, hops: rec.Hops, cancelDial: func() {},
		summary: Summary{
			ID: rec.ID, Trace: rec.Trace.ID, From: string(rec.A.From), To: string(rec.A.To),
			TrunkA: rec.A.Trunk, ProtoA: rec.A.Protocol, Identity: rec.Identity,
			Created: rec.Created, Answered: rec.Answered, Moves: rec.Moves,
		},
	}
	c.terms.CallerCodecs, c.terms.Convert = b.codecs(rec.A.Trunk), Convertible()
	c.knows(sideA, rec.A)
	if rec.B != nil {
		c.summary.TrunkB, c.summary.ProtoB = rec.B.Trunk, rec.B.Protocol
		c.terms.CalledCodecs = b.codecs(rec.B.Trunk)
		if trunks := b.rules.Load().Trunks; trunks != nil {
			c.terms.Clear = !trunks[rec.B.Trunk].Seals
		}
		c.knows(sideB, *rec.B)
	}
	c.terms.Caller = c.tuned[sideA].can
	return c
}

// knows takes over what the record says of a side.
func (c *call) knows(s side, r LegRecord) {
	c.numbers[s] = r.To
	if r.Incoming {
		c.numbers[s] = r.From
	}
	c.held[s] = r.Held
	switch {
	case r.Can != nil:
		c.tuned[s].can = *r.Can
	case r.Plan != nil:
		c.tuned[s].can = r.Plan.Offer()
	}
	if s == sideA {
		c.planA = r.Plan
	} else {
		c.planB = r.Plan
	}
}

// resumeLegs makes both legs again, at the same time. A leg that cannot be
// continued is absent, and the call fails with it; what is not connected to
// anybody is ended in passing.
func (c *call) resumeLegs(ctx context.Context, how Resumption) error {
	var errs [2]error
	var both sync.WaitGroup
	both.Go(func() { c.a, errs[sideA] = c.resumeLeg(ctx, how, c.rec.A, ByCaller) })
	if c.rec.B != nil {
		both.Go(func() { c.b, errs[sideB] = c.resumeLeg(ctx, how, *c.rec.B, ByCallee) })
	}
	if t := c.rec.Transfer; t != nil && t.Leg != nil {
		target := how
		target.State = StateProceeding
		both.Go(func() {
			if leg, err := c.resumeLeg(ctx, target, *t.Leg, t.By); err == nil {
				c.dismiss(ctx, leg, CauseCancelled.With("the process that was transferring the call is gone").EndedBy(ByBridge))
			}
		})
	}
	both.Wait()
	c.rec.Transfer = nil
	c.toA = c.bridge.pump(c.a.Media())
	if c.planA != nil {
		c.toA.use(*c.planA)
	}
	if c.b != nil {
		c.joinB()
	}
	if c.planB != nil && c.b != nil {
		c.toB.use(*c.planB)
	}
	return errors.Join(errs[:]...)
}

// resumeLeg asks the edge. The leg is never nil.
func (c *call) resumeLeg(ctx context.Context, how Resumption, r LegRecord, of Party) (Leg, error) {
	ctx, cancel := context.WithTimeout(ctx, takeLimit)
	defer cancel()
	how.LegRecord = r
	if c.hears != nil && how.State == StateAnswered {
		how.Hears = &c.hears.sides[sideOf(of)]
	}
	var edge Resumer
	if c.bridge.cfg.Resumer != nil {
		edge = c.bridge.cfg.Resumer(r)
	}
	if edge == nil {
		return newAbsent(r), fmt.Errorf("the %s's leg %s cannot be continued: no part of this configuration serves %q calls of trunk %q", of, r.ID, r.Protocol, r.Trunk)
	}
	leg, err := edge.Resume(ctx, how)
	if err != nil {
		return newAbsent(r), fmt.Errorf("the %s's leg %s could not be continued: %w", of, r.ID, err)
	}
	return leg, nil
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
		c.log.Warn(fencedAlone)
		return
	}
	if !over {
		cause, last = c.loop(ctx)
	} else if !c.rec.Answered.IsZero() {
		c.rec.State = StateAnswered // whoever is told must know that it was
	}
	c.close(ctx, cause, last)
}
