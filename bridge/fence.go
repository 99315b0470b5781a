package bridge

import (
	"context"

	"riptide/bridge/cluster"
)

// A node that hears no majority of its cluster may not touch its calls: others
// take them over from some moment on, which it cannot know. It lets go of them
// all without a word, and claims them again when it is back, like any other's:
// what it is not granted has gone on elsewhere. Only to be silent, and to go on
// with what it still owns, would need legs that can be stopped and started at
// every point; what was put on record is continued anyway, by the same way as
// after a restart.

// fencedAlone is logged when nothing of a call is sent any more, and fencedAll once for
// all calls of the node. Whether two nodes ever had a call at a time can be read from
// their logs: a node has it from "call started" or "call claimed" until "call fenced",
// "calls fenced", "call left", "call given" or "call ended", or the end of its process.
const (
	fencedAlone = "call fenced: this node hears no majority of its cluster"
	fencedAll   = "calls fenced: this node hears no majority of its cluster"
)

// under tells whether the call may be touched under a lease.
func (c *call) under(lease cluster.Lease) bool { return lease.Held && lease.Term == c.term }

// obeyLease lets go of calls when the lease is lost, until ctx ends.
func (b *Bridge) obeyLease(ctx context.Context) {
	for {
		lease, changed := b.cfg.Members.Lease()
		if b.cfg.CarryOn && !b.stopping() {
			b.carryOn(ctx, lease)
		} else {
			b.fence(lease)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// fence lets go of all calls that may not be touched under a lease. When it
// returns nothing of them is sent any more.
func (b *Bridge) fence(lease cluster.Lease) {
	var legs []Leg
	var fenced []*call
	b.mu.Lock()
	for leg, c := range b.owners {
		if !c.under(lease) {
			legs = append(legs, leg)
		}
	}
	for _, c := range b.calls {
		if c.under(lease) || c.gone.Swap(true) {
			continue
		}
		fenced = append(fenced, c)
		select {
		case c.fenceUp <- struct{}{}:
		default: // told already
		}
	}
	b.mu.Unlock()
	each(legs, len(legs), abandon) // at once: each may wait for its edge
	for _, c := range fenced {
		c.log.Debug(fencedAlone)
	}
	if len(fenced) > 0 {
		b.cfg.Logger.Warn(fencedAll, "calls", len(fenced))
	}
}

// Silent tells whether nothing may be said now about calls that were let go of: the
// process is on its way out, or may not touch any.
func (b *Bridge) Silent() bool {
	if b.stopping() || b.ledger == nil {
		return true
	}
	lease, _ := b.cfg.Members.Lease()
	return !lease.Held
}

// cutOff is why a node of a cluster takes no new call now; nil = it does.
func (b *Bridge) cutOff(c *call) error {
	if b.ledger == nil {
		return nil
	}
	lease, _ := b.cfg.Members.Lease()
	if !lease.Held {
		return CauseStore.With("node %q hears no majority of its cluster", b.cfg.Node)
	}
	c.term = lease.Term
	return nil
}
