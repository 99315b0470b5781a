package bridge

import (
	"context"
	"errors"
	"sync/atomic"

	"riptide/bridge/cluster"
	"riptide/bridge/store"
)

// Where the configuration says so a node that is cut off goes on with its calls,
// though others may take them over: two nodes may then send for a call. When it
// hears a majority again it claims each where it is, and lets go of those that
// others have by then.

// carryOn claims what this node has, under a lease that came back.
func (b *Bridge) carryOn(ctx context.Context, lease cluster.Lease) {
	var calls []*call
	b.mu.Lock()
	for _, c := range b.calls {
		if !c.under(lease) && !c.gone.Load() {
			calls = append(calls, c)
		}
	}
	b.mu.Unlock()
	switch {
	case len(calls) == 0:
		return
	case !lease.Held:
		b.cfg.Logger.Warn("this node hears no majority of its cluster: its calls go on, and other nodes may have them too", "calls", len(calls))
		return
	}
	var lost atomic.Int64
	each(calls, takers, func(c *call) {
		if !b.regain(ctx, c, lease) {
			lost.Add(1)
		}
	})
	if n := lost.Load(); n > 0 {
		b.cfg.Logger.Warn("calls fenced: other nodes have taken them over", "calls", n)
	}
}

// regain claims a call that goes on here. It tells false where another node has it.
func (b *Bridge) regain(ctx context.Context, c *call, lease cluster.Lease) bool {
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	ctx, over := b.whileLease(ctx, func(now cluster.Lease) bool { return now == lease })
	defer over()
	id := c.rec.ID
	epoch, err := b.cfg.Members.Claim(ctx, id, b.cfg.Node, b.ledger.epochOf(id)+1)
	switch {
	case errors.Is(err, cluster.ErrLives):
		c.lose()
		return false
	case err != nil: // cut off again, or on the way out: the next lease decides
		c.log.Debug("call not claimed anew", "why", err)
	default:
		b.mu.Lock()
		c.term = lease.Term
		b.mu.Unlock()
		select {
		case <-c.regained: // one that it has not looked at
		default:
		}
		c.regained <- epoch
		c.log.Info("call claimed", "epoch", epoch, "of", b.cfg.Node)
	}
	return true
}

// lose lets go of a call that another node has.
func (c *call) lose() {
	if c.gone.Swap(true) {
		return
	}
	b := c.bridge
	var legs []Leg
	b.mu.Lock()
	for leg, of := range b.owners {
		if of == c {
			legs = append(legs, leg)
		}
	}
	b.mu.Unlock()
	each(legs, len(legs), abandon)
	select {
	case c.fenceUp <- struct{}{}:
	default: // told already
	}
	c.log.Debug("call fenced: another node has taken it over")
}

// goesOnAs puts the call on record under the epoch at which it was claimed anew.
func (c *call) goesOnAs(ctx context.Context, epoch uint64) {
	c.rec.Epoch, c.claimed = epoch, true
	c.note(ctx)
}

// current tells whether nobody has changed a record since we learned of it. It is
// asked about calls that nobody has served for longer than votes are remembered:
// a node that was cut off for as long must not end what goes on elsewhere.
func (b *Bridge) current(ctx context.Context, rec *CallRecord) error {
	e, err := b.cfg.Store.Get(ctx, store.Calls, rec.ID)
	if errors.Is(err, store.ErrNotFound) {
		return errFenced
	}
	if err != nil {
		return err
	}
	now, err := DecodeRecord(e.Value)
	if err != nil {
		return err
	}
	if now.Node != rec.Node || now.Epoch != rec.Epoch {
		return errFenced
	}
	return nil
}
