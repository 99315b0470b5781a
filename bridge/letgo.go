package bridge

import (
	"context"
	"fmt"
)

// A call can be let go of in two ways: its node leaves it to the process that
// follows, or another one has taken it over already. Its peers hear nothing of
// either.

// Leave lets go of all answered calls, for the process that follows here, and
// ends the others. It refuses new ones, and returns when no call is left or ctx
// ends.
func (b *Bridge) Leave(ctx context.Context) error {
	b.Refuse()
	b.mu.Lock()
	b.leaving, b.closing = true, true
	for _, c := range b.calls {
		select {
		case c.leave <- struct{}{}:
		default: // already told
		}
	}
	b.mu.Unlock()
	if err := b.wait(ctx); err != nil {
		return fmt.Errorf("let go of all calls: %w", err)
	}
	return nil
}

// Left is how many calls were left to the process that follows, those among them
// that are silent because this node is cut off.
func (b *Bridge) Left() int {
	left := int(b.left.Load())
	if b.ledger == nil {
		return left
	}
	if lease, _ := b.cfg.Members.Lease(); lease.Held && left == 0 {
		return 0 // what the store's watch has not told yet was given away
	}
	left = 0
	b.mu.Lock() // before the ledger's, as everywhere
	defer b.mu.Unlock()
	b.ledger.each(func(id string, e *entry) {
		if e.Node == b.cfg.Node && b.calls[id] == nil {
			left++
		}
	})
	return left
}

// leaving lets go of the call if it can go on without this process. The cause is
// why it cannot. A transfer under way fails, as it does where the process is killed,
// and who asked for it is told.
func (c *call) leaving(ctx context.Context) Cause {
	down := CauseShuttingDown.With("node %q is going down", c.bridge.cfg.Node).EndedBy(ByBridge)
	if c.rec.State != StateAnswered {
		return down
	}
	if c.moving != nil {
		if over, _ := c.transferFailed(ctx, down); over {
			return down // who asked has hung up, and nobody else is there
		}
		c.dismissed.Wait() // a call that is let go of says nothing to its legs any more
	}
	c.unjoin() // first, so that the record has the last numbers
	c.store(ctx)
	if !c.gone.Swap(true) {
		c.bridge.left.Add(1)
		c.log.Info("call left to the process that follows", "epoch", c.rec.Epoch)
	}
	return Cause{}
}

// fenced notes that another process has the call. Its legs are let go of at once:
// what is under way here must not tell their peers anything.
func (c *call) fenced() {
	if c.gone.Swap(true) {
		return
	}
	c.abandonLegs()
	c.log.Warn("call fenced: another process has taken it over", "epoch", c.rec.Epoch)
}

// abandonLegs lets go of the legs that the call still has.
func (c *call) abandonLegs() {
	if c.yielded {
		return // they hear on for a while
	}
	for _, s := range []side{sideA, sideB} {
		if leg := c.legOf(s); leg != nil && !c.left[s] && !c.given[s] {
			abandon(leg)
		}
	}
}

// relinquish is the end of a call that is not ours any more.
func (c *call) relinquish(ctx context.Context) {
	c.abandonLegs()
	c.abortTransfer(ctx)
	c.bridge.disowned(c)
	c.unjoin()
	c.awaitWrite()
	for _, s := range []side{sideA, sideB} {
		if leg := c.legOf(s); leg != nil && !c.left[s] && !c.given[s] {
			c.waitClosed(leg)
		}
	}
	c.dismissed.Wait()
	c.awaitTaken()
}

// abandon lets go of a leg. One that cannot be let go of says and hears nothing
// more of the bridge, and is its edge's.
func abandon(leg Leg) {
	if a, ok := leg.(Abandoner); ok {
		a.Abandon()
	}
}
