package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"riptide/bridge/store"
)

// What a process finds on record when it starts, it takes up before its edges read their
// sockets. (What it is to take up later, lookAfter finds.)

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
			f.err = b.takeUp(ctx, f.rec, f.rev, false, func() {})
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

// restoreShared is Restore in a cluster. What cannot be claimed now is tried
// again later.
func (b *Bridge) restoreShared(ctx context.Context) (Restored, error) {
	began := time.Now()
	defer b.restored()
	reading, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	select {
	case <-b.ledger.caughtUp:
	case <-reading.Done():
		return Restored{}, fmt.Errorf("read which calls there were: the store has not said within %v", catchUpLimit)
	}
	var own []string
	b.ledger.each(func(id string, e *entry) {
		if e.Node == b.cfg.Node {
			own = append(own, id)
		}
	})
	var resumed, ended, lost atomic.Int64
	queue := newTakings()
	for _, id := range own {
		b.takeOne(queue, id, func(claimed func()) {
			switch err := b.inherit(ctx, id, false, claimed); {
			case err == nil:
				resumed.Add(1)
			case errors.Is(err, errOver):
				ended.Add(1)
			case errors.Is(err, errFenced): // another node has it
			default:
				lost.Add(1)
				b.couldNot(id, err)
			}
		})
	}
	queue.wait()
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
