package bridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"riptide/bridge/cluster"
	"riptide/bridge/store"
)

// The calls of a node that is gone are taken over without being asked for: many
// peers would not notice that nobody is there, and others cannot find us. Each
// node begins with its share of them; what nobody has taken by then it takes
// too. That two try the same call harms nothing: one gets it.

const (
	lookEvery = 100 * time.Millisecond
	// missedAfter is how long a node's beats are missing when its death is
	// looked into: two of them, and some. That a claim is made in vain harms nothing.
	missedAfter = 500 * time.Millisecond
	// lateAfter is how long they are missing when the node's host is asked whether
	// its process is gone: one beat, and some. The answer takes a round trip.
	lateAfter  = 250 * time.Millisecond
	goneWithin = 50 * time.Millisecond
	// peersFirst is how long peers that look for their call themselves have, to
	// reach it where they come.
	peersFirst = time.Second
	// nextHeir is how long the one before us in the order has.
	nextHeir = 2 * time.Second
	// sayEvery is how often it is said how many calls were taken over, while more are.
	sayEvery = time.Second
	// tryAgain is when a call that could not be taken over is tried again, and
	// askAgain when its owner was alive: that may have been its last word.
	tryAgain = 5 * time.Second
	askAgain = time.Second
	// catchUpLimit bounds the reading of all records at the start.
	catchUpLimit = 10 * time.Second
)

// Run keeps what a node of a cluster knows of the others' calls, lets go of its
// own when it is cut off, and takes over those of nodes that are gone, until ctx
// ends. It begins before Restore. Without a cluster it only tidies up.
func (b *Bridge) Run(ctx context.Context) error {
	if b.ledger == nil {
		b.tidy(ctx)
		return nil
	}
	var parts sync.WaitGroup
	parts.Go(func() { b.ledger.follow(ctx, b.cfg.Store) })
	parts.Go(func() { b.obeyLease(ctx) })
	parts.Go(func() { b.lookAfter(ctx) })
	parts.Go(func() { b.takeGifts(ctx) })
	parts.Go(func() { b.clearAway(ctx) })
	parts.Wait()
	return nil
}

// couldNot says that a call was not taken over.
func (b *Bridge) couldNot(id string, err error) {
	if errors.Is(err, errFenced) {
		b.ledger.failed(id, b.cfg.Now().Add(askAgain))
		b.cfg.Logger.Debug("call not taken over", "call", id, "why", err)
		return
	}
	b.ledger.failed(id, b.cfg.Now().Add(tryAgain))
	b.cfg.Logger.Error("a call of before could not be taken up again", "call", id, "error", err)
}

// lookAfter takes over what nobody serves, once Restore is through.
func (b *Bridge) lookAfter(ctx context.Context) {
	select {
	case <-b.isRestored:
	case <-ctx.Done():
		return
	}
	queue := newTakings()
	defer queue.stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	missing := map[string]time.Time{} // owners that are not heard, since when
	var taken atomic.Int64
	var said time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		b.closeFoyers()
		b.forgetGiven()
		switch n := taken.Load(); {
		case n == 0:
			said = time.Now()
		case queue.none() || time.Since(said) > sayEvery:
			taken.Add(-n)
			b.cfg.Logger.Info("calls taken over", "calls", n)
		}
		if lease, _ := b.cfg.Members.Lease(); !lease.Held || b.Draining() {
			continue
		}
		for _, id := range b.due(missing, b.goneNodes(ctx)) {
			b.takeOne(queue, id, func(claimed func()) {
				if ctx.Err() != nil || b.Draining() {
					return
				}
				if err := b.inherit(ctx, id, false, claimed); err != nil && !errors.Is(err, errOver) {
					b.couldNot(id, err)
					return
				}
				taken.Add(1)
			})
		}
	}
}

// takeOne adds a call to those that are taken over.
func (b *Bridge) takeOne(to *takings, id string, do func(claimed func())) {
	to.add(toTake{id: id, trunks: b.ledger.trunksOf(id), do: do})
}

// clearAway removes records of calls that ended while the store was away, until ctx
// ends. It waits for the store, and so is nothing that other things wait for.
func (b *Bridge) clearAway(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if lease, _ := b.cfg.Members.Lease(); !lease.Held || b.Draining() {
			continue
		}
		due := b.ledger.unburied(b.cfg.Now())
		each(slices.Collect(maps.Keys(due)), takers, func(id string) {
			log := b.cfg.Logger.With("call", id)
			if b.mayRemove(ctx, id, due[id], log) {
				b.removeRecord(ctx, id, due[id], log)
			}
		})
	}
}

// goneNodes are the nodes whose processes have ended, of those whose beats are late.
func (b *Bridge) goneNodes(ctx context.Context) map[string]bool {
	var late []string
	for _, n := range b.cfg.Members.Nodes() {
		if n.Name != b.cfg.Node && n.Alive && n.Heard > lateAfter && n.Heard <= missedAfter {
			late = append(late, n.Name)
		}
	}
	if len(late) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	var mu sync.Mutex
	gone := map[string]bool{}
	each(late, len(late), func(node string) {
		if b.cfg.Members.Gone(ctx, node) {
			mu.Lock()
			defer mu.Unlock()
			gone[node] = true
		}
	})
	return gone
}

// due are the calls to take over now: our own that we do not serve, and those of
// owners that are not heard, when it is our turn.
func (b *Bridge) due(missing map[string]time.Time, gone map[string]bool) []string {
	now := b.cfg.Now()
	heard := map[string]cluster.Node{}
	for _, n := range b.cfg.Members.Nodes() {
		heard[n.Name] = n
	}
	known := map[string]bool{b.cfg.Node: true}
	lives := func(node string) bool {
		lives, asked := known[node]
		if !asked {
			lives = b.cfg.Members.Alive(node) && heard[node].Heard <= missedAfter && !gone[node]
			known[node] = lives
		}
		return lives
	}
	living := []string{}
	for _, node := range b.cfg.Takers {
		if lives(node) && !heard[node].Retires {
			living = append(living, node)
		}
	}
	since := map[string]time.Time{}
	var ids []string
	b.mu.Lock() // before the ledger's, as everywhere
	defer b.mu.Unlock()
	b.ledger.each(func(id string, e *entry) {
		switch {
		case e.Node == b.cfg.Node:
			if b.calls[id] == nil && b.claims[id] == nil && now.After(e.wait) {
				ids = append(ids, id)
			}
			return
		case lives(e.Node):
			return
		}
		first, ok := missing[e.Node]
		if !ok {
			first = now
		}
		since[e.Node] = first
		wait := turn(id, b.cfg.Node, living)
		if e.A.Seeks || e.B.Seeks {
			wait += peersFirst
		}
		if now.Sub(first) >= wait && b.claims[id] == nil && now.After(e.wait) {
			ids = append(ids, id)
		}
	})
	clear(missing)
	for node, at := range since {
		missing[node] = at
	}
	return ids
}

// turn is how long a node leaves the call of a dead one to the nodes that come
// before it in the order of this call (rendezvous hashing: the orders of all calls
// give each node the same share).
func turn(call, node string, living []string) time.Duration {
	before := 0
	for _, other := range living {
		if other != node && compareHeirs(call, other, node) < 0 {
			before++
		}
	}
	return time.Duration(before) * nextHeir
}

// compareHeirs orders the nodes for a call: the first is less.
func compareHeirs(call, a, b string) int {
	weight := func(of string) []byte {
		sum := sha256.Sum256([]byte(of + "\x00" + call))
		return sum[:]
	}
	return bytes.Compare(weight(b), weight(a))
}

// mayRemove tells whether a call that has ended here under an epoch is still this
// node's on record. While this node was cut off others may have taken it over: it is
// theirs then, whatever became of it here.
func (b *Bridge) mayRemove(ctx context.Context, id string, epoch uint64, log *slog.Logger) bool {
	if b.ledger == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	e, err := b.cfg.Store.Get(ctx, store.Calls, id)
	if errors.Is(err, store.ErrNotFound) {
		return true
	}
	var rec CallRecord
	if err == nil {
		if rec, err = DecodeRecord(e.Value); err != nil {
			err = fmt.Errorf("%w: %w", errRecord, err)
		}
	}
	switch {
	case err != nil && !errors.Is(err, store.ErrUnreadable) && !errors.Is(err, errRecord):
		b.storeFailed(err)
		b.ledger.bury(id, epoch, false, b.cfg.Now())
		log.Debug("whose the record of an ended call is could not be read; it is tried again", "error", err)
		return false
	case err != nil || rec.Epoch > epoch || rec.Node != b.cfg.Node: // what we cannot read we have not written
		b.ledger.exhume(e)
		log.Warn("a call that has ended here goes on at another node, which took it over meanwhile", "node", rec.Node, "epoch", rec.Epoch)
		return false
	}
	return true
}

// removeRecord removes the record of a call that has ended.
func (b *Bridge) removeRecord(ctx context.Context, id string, epoch uint64, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	b.ledger.bury(id, epoch, false, b.cfg.Now())
	if err := b.cfg.Store.Delete(ctx, store.Calls, id); err != nil && !errors.Is(err, store.ErrNotFound) {
		b.storeFailed(err)
		if b.ledger == nil {
			b.leftovers.add(id, b.cfg.Now())
		}
		log.Warn("the record of an ended call was not removed; it is tried again", "error", err)
		return
	}
	b.ledger.bury(id, epoch, true, b.cfg.Now())
}
