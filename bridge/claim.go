package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"riptide/bridge/cluster"
	"riptide/bridge/store"
)

// Members says which calls a node of a cluster may touch. *cluster.Members does.
type Members interface {
	// Claim gets a call that owner had, at an epoch or a higher one.
	Claim(ctx context.Context, call, owner string, epoch uint64) (uint64, error)
	// Lease is whether this node may touch the calls it has; changed is closed
	// when that is another.
	Lease() (lease cluster.Lease, changed <-chan struct{})
	Fresh() bool // whether it is held at this moment; asked for every frame
	Alive(node string) bool
	// Gone tells of a node that its process has ended, if its host says so.
	Gone(ctx context.Context, node string) bool
	Nodes() []cluster.Node
	// Retire tells the other nodes that this one is to go.
	Retire()

	// Serve names who is asked to give calls, and given some.
	Serve(p cluster.Partner)
	// Ask asks the living owner of a call to give it; Give does so, and Keep says
	// no. Gift is what the giver said.
	Ask(ctx context.Context, call, owner string) (note string, err error)
	Give(call string, epoch uint64, to, note string) error
	Keep(call, to string)
	Gift(call string) (epoch uint64, note string, ok bool)
	// Taken tells whether who it was given to has it, as far as we know.
	Taken(call string, epoch uint64) bool
	// Relay sends another node what came here for a call of its.
	Relay(to string, data []byte)
}

var _ Members = (*cluster.Members)(nil)

// claimLimit bounds the taking over of one call.
const claimLimit = 10 * time.Second

// claiming is the taking over of one call, which others may wait for.
type claiming struct {
	done chan struct{}
	err  error
}

// Claim takes over the call of a leg that an edge does not know: another node
// had it. It returns when the leg was given to its Resumer (found), or there is
// no such call. An error says that the call cannot be served here now: it is with
// a node that lives, or nobody can say.
func (b *Bridge) Claim(ctx context.Context, leg string) (found bool, err error) {
	if b.ledger == nil {
		return false, nil
	}
	select {
	case <-b.ledger.caughtUp:
	case <-ctx.Done():
		return false, fmt.Errorf("look for leg %s: the records of other nodes are not known yet: %w", leg, ctx.Err())
	}
	id, err := b.ledger.callOf(leg)
	if err != nil || id == "" {
		return false, err
	}
	if b.Draining() {
		return true, CauseShuttingDown.With("node %q is going down and takes no calls over", b.cfg.Node)
	}
	switch err := b.inherit(ctx, id, true, func() {}); {
	case err == nil || errors.Is(err, errOver):
		return true, nil
	default:
		return true, fmt.Errorf("take over call %s for its leg %s: %w", id, leg, err)
	}
}

// inherit takes a call over, once for all who want it. A call that this node has
// is no error. One of a living node is asked for, if a request of it has come. It calls
// claimed when it waits for peers, or for others who do.
func (b *Bridge) inherit(ctx context.Context, id string, ask bool, claimed func()) error {
	for {
		b.mu.Lock()
		c, run := b.calls[id], b.claims[id]
		if c != nil && !c.gone.Load() {
			b.mu.Unlock()
			return nil
		}
		if c == nil && run == nil {
			run = &claiming{done: make(chan struct{}), err: errors.New("it was not to be had")}
			b.claims[id] = run
			b.mu.Unlock()
			defer func() {
				b.mu.Lock()
				delete(b.claims, id)
				b.mu.Unlock()
				close(run.done)
			}()
			run.err = b.inheritNow(ctx, id, ask, claimed)
			return run.err
		}
		b.mu.Unlock()
		claimed()
		var over <-chan struct{}
		if run != nil {
			over = run.done
		} else {
			over = c.over // its legs are still being let go of
		}
		select {
		case <-over:
		case <-ctx.Done():
			return fmt.Errorf("wait for its legs: %w", ctx.Err())
		}
		if run != nil {
			return run.err
		}
	}
}

// inheritNow goes on when who asked has gone, since others may wait for it.
func (b *Bridge) inheritNow(ctx context.Context, id string, ask bool, claimed func()) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimLimit)
	defer cancel()
	rec, rev, err := b.lastRecord(ctx, id)
	if err != nil {
		return err
	}
	if b.idle(rec) > longestIdle {
		if err := b.current(ctx, &rec); err != nil {
			return fmt.Errorf("look whether it is anybody's: %w", err)
		}
	}
	err = b.takeUp(ctx, rec, rev, rec.Node != b.cfg.Node, claimed)
	if !ask || !errors.Is(err, cluster.ErrLives) {
		return err
	}
	if err := b.askFor(ctx, rec); err != nil {
		return err
	}
	if rec, rev, err = b.lastRecord(ctx, id); err != nil {
		return err
	}
	return b.takeUp(ctx, rec, rev, rec.Node != b.cfg.Node, claimed)
}

// own makes a record ours, and puts that on record. In a cluster it is ours when
// the others have granted it; the write then is under way, since the store may be
// without a leader for longer than a call can wait.
func (b *Bridge) own(ctx context.Context, rec CallRecord, rev uint64) (*call, error) {
	if b.ledger == nil {
		return b.ownAlone(ctx, rec, rev)
	}
	lease, err := b.awaitLease(ctx)
	if err != nil {
		return nil, err
	}
	epoch, err := b.cfg.Members.Claim(ctx, rec.ID, rec.Node, rec.Epoch+1)
	if errors.Is(err, cluster.ErrLives) {
		return nil, fmt.Errorf("%w: %w", errFenced, err)
	}
	if err != nil {
		return nil, err
	}
	owner := rec.Node
	// Who claims after another one has does not know what that one has sent.
	exact := rec.Given && epoch == rec.Epoch+1
	if epoch > rec.Epoch+1 { // somebody had it who could not put that on record, but tell its peers
		rec.Moving = true
	}
	via := ""
	if exact && rec.Detours && owner != b.cfg.Node {
		via = owner
	}
	rec.Node, rec.Epoch, rec.Given, rec.Detours = b.cfg.Node, epoch, false, false
	value, err := rec.Encode()
	if err != nil {
		return nil, err
	}
	c := b.remake(rec, rev)
	c.log.Info("call claimed", "epoch", epoch, "of", owner)
	c.term, c.claimed, c.exact, c.via = lease.Term, true, exact, via
	c.send(ctx, value)
	return c, nil
}

// ownAlone is own of a node by itself. Nobody but the process that holds the store
// may claim what is in it, so a write that fails does not keep it from the call: a
// full disk must not end calls. It is written as soon as that works.
func (b *Bridge) ownAlone(ctx context.Context, rec CallRecord, rev uint64) (*call, error) {
	rec.Node, rec.Epoch = b.cfg.Node, rec.Epoch+1
	value, err := rec.Encode()
	if err != nil {
		return nil, err
	}
	next, err := b.cfg.Store.Update(ctx, store.Calls, rec.ID, value, rev)
	switch {
	case errors.Is(err, store.ErrConflict):
		return nil, errFenced
	case err == nil:
		return b.remake(rec, next), nil
	}
	c := b.remake(rec, rev)
	c.claimed = true
	c.wrote(written{rev, fmt.Errorf("claim it: %w", err)})
	return c, nil
}

// awaitLease waits until this node may touch calls.
func (b *Bridge) awaitLease(ctx context.Context) (cluster.Lease, error) {
	for {
		lease, changed := b.cfg.Members.Lease()
		if lease.Held {
			return lease, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return lease, fmt.Errorf("wait for a majority of the cluster: %w", cluster.ErrCutOff)
		}
	}
}

// whileOurs is ctx as long as this node may touch the call.
func (b *Bridge) whileOurs(ctx context.Context, c *call) (context.Context, context.CancelFunc) {
	if b.ledger == nil {
		return context.WithCancel(ctx)
	}
	return b.whileLease(ctx, c.under)
}

// whileLease is ctx as long as the lease, which is to be a good one, stays as it
// is.
func (b *Bridge) whileLease(ctx context.Context, good func(cluster.Lease) bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	lease, changed := b.cfg.Members.Lease()
	if !good(lease) {
		cancel()
		return ctx, cancel
	}
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
