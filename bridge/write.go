package bridge

import (
	"context"
	"errors"
	"time"

	"riptide/bridge/store"
)

// A call has one write of its record under way at most. What nobody waits for,
// such as that the called party rings, is written on the side; what changes
// meanwhile goes out with the next write. What a peer is to be told of waits
// for its own write: an answer, an end, a change of media that is confirmed.

// written is the outcome of a write.
type written struct {
	rev uint64
	err error
}

// enrol puts a new call on record. Where that is not asked for the call goes on
// without, and nobody waits for the store again until it has taken a write.
func (c *call) enrol(ctx context.Context) error {
	value, err := c.rec.Encode()
	if err != nil {
		return err
	}
	c.rev, err = c.bridge.cfg.Store.Create(ctx, store.Calls, c.rec.ID, value, 0)
	if err == nil {
		return nil
	}
	c.bridge.storeFailed(err)
	if !c.bridge.cfg.Unrecorded || ctx.Err() != nil {
		return err
	}
	c.unsaved = true
	c.log.Warn("a new call is taken though it is not on record: it would not survive a crash", "error", err)
	return nil
}

// unrecorded is why a call is not taken whose record could not be written. The
// store has waited for as long as it does, or the caller has not.
func unrecorded(ctx context.Context, info LegInfo, err error) Cause {
	if errors.Is(ctx.Err(), context.Canceled) {
		return CauseCancelled.With("the caller gave up while the record of the call waited for the store").EndedBy(ByCaller)
	}
	cause := CauseStore.With("call from %s to %s refused, its record cannot be written: %v", info.From, info.To, err)
	cause.RetryAfter = retryStore
	var electing *store.Electing
	if errors.As(err, &electing) && electing.Left() > 0 {
		cause.RetryAfter = max(electing.Left(), time.Second)
	}
	return cause
}

// retryStore is when to call again where nobody knows how long the store will be
// away.
const retryStore = 5 * time.Second

// store puts the call on record as it is now, and returns when it is. A store
// that is away does not hurt a running call: it goes on, and the failure is
// counted.
func (c *call) store(ctx context.Context) {
	if c.unsaved && c.bridge.cfg.Unrecorded {
		c.note(ctx) // it is known to be away
		return
	}
	c.awaitWrite()
	c.startWrite(ctx)
	c.awaitWrite()
}

// note puts the call on record without waiting.
func (c *call) note(ctx context.Context) {
	if c.writing != nil {
		c.unwritten = true
		return
	}
	c.startWrite(ctx)
}

// startWrite begins to write. The record is encoded here, because only the
// call's own goroutine may look at it.
func (c *call) startWrite(ctx context.Context) {
	c.unwritten = false
	c.rec.Served = c.bridge.cfg.Now()
	if !c.given[sideA] {
		c.rec.A = c.recordOf(sideA)
	}
	if c.b != nil && !c.given[sideB] {
		b := c.recordOf(sideB)
		c.rec.B = &b
	}
	value, err := c.rec.Encode()
	if err != nil {
		c.wrote(written{c.rev, err})
		return
	}
	c.send(ctx, value)
}

// send begins to write an encoded record.
func (c *call) send(ctx context.Context, value []byte) {
	done := make(chan written, 1)
	c.writing = done
	rev := c.rev
	c.bridge.ledger.writes(&c.rec, value, rev)
	go func() {
		rev, err := c.write(ctx, value, rev)
		done <- written{rev, err}
	}()
}

// recordOf is the leg of a side as it is recorded.
func (c *call) recordOf(s side) LegRecord {
	return c.completed(s, c.legOf(s).Record())
}

// completed adds what the call knows of a leg.
func (c *call) completed(s side, r LegRecord) LegRecord {
	r.Plan, r.Held = c.planOf(s), c.held[s]
	if can := c.tuned[s].can; len(can.Speech) > 0 {
		r.Can = &can
	}
	return r
}

// awaitWrite waits for the write that is under way, if there is one.
func (c *call) awaitWrite() {
	if c.writing != nil {
		c.wrote(<-c.writing)
	}
}

// wrote notes the outcome of a write.
func (c *call) wrote(w written) {
	c.writing, c.rev = nil, w.rev
	if w.err == nil {
		c.claimed, c.unsaved = false, false
	}
	switch {
	case errors.Is(w.err, errFenced):
		c.fenced()
	case w.err != nil:
		c.bridge.storeFailed(w.err)
		if c.unsaved {
			return // it has been said
		}
		c.unsaved = true
		c.log.Error("the call goes on, but would not survive a crash: its record was not written", "state", c.rec.State, "error", w.err)
	}
}

// writeOn goes on after a write: with what has changed meanwhile, or soon again if
// a call of another node is not on record as ours yet.
func (c *call) writeOn(ctx context.Context, tick *time.Timer) {
	switch {
	case c.unwritten:
		c.startWrite(ctx)
	case c.claimed && c.rec.State == StateAnswered:
		tick.Reset(firstCheckpoint + c.checkpoint()%(4*firstCheckpoint))
	}
}

// lastWrites are the waits before a record is read and written anew because another
// write came before: who had a call before us may have some under way, which a
// cluster's store holds against ours before it lets anybody read them.
var lastWrites = [...]time.Duration{0, 10 * time.Millisecond, 40 * time.Millisecond, 160 * time.Millisecond, 640 * time.Millisecond}

// write replaces the record. A revision that has grown without our knowledge
// is that of a write which timed out and took place all the same, or of who gave
// us the call, unless somebody else owns it by now.
func (c *call) write(ctx context.Context, value []byte, rev uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	st := c.bridge.cfg.Store
	if rev == 0 { // it was taken unrecorded
		next, err := st.Create(ctx, store.Calls, c.rec.ID, value, 0)
		if !errors.Is(err, store.ErrExists) {
			return next, err
		}
	}
	next, err := st.Update(ctx, store.Calls, c.rec.ID, value, rev)
	for _, wait := range lastWrites {
		if !errors.Is(err, store.ErrConflict) {
			break
		}
		select {
		case <-ctx.Done():
			return rev, err
		case <-time.After(wait):
		}
		now, e := c.ours(ctx)
		if e != nil {
			return rev, e
		}
		next, err = st.Update(ctx, store.Calls, c.rec.ID, value, now)
	}
	if err != nil {
		return rev, err
	}
	return next, nil
}

// errFenced says that another process has taken the call over.
var errFenced = errors.New("another process has the call")

// ours is the revision of the record, if it is this node's still. A record that
// is gone is that of a call which its new owner has ended; one of a lower epoch
// is of an owner before us, who did not know that we have the call.
func (c *call) ours(ctx context.Context) (rev uint64, err error) {
	e, err := c.bridge.cfg.Store.Get(ctx, store.Calls, c.rec.ID)
	if errors.Is(err, store.ErrNotFound) {
		return 0, errFenced
	}
	if err != nil {
		return 0, err
	}
	rec, err := DecodeRecord(e.Value)
	if err == nil && (rec.Epoch > c.rec.Epoch || rec.Epoch == c.rec.Epoch && rec.Node != c.bridge.cfg.Node) {
		err = errFenced
	}
	return e.Revision, err
}
