package bridge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"riptide/bridge/cluster"
)

// A node is emptied by giving its calls to the others, so many at a time: the next
// when those before were taken, since nobody is heard while a call is neither here nor
// there. What is being set up is waited for: it is given when it is answered.

const (
	// handOverEvery is how often it is looked which calls are given next.
	handOverEvery = 50 * time.Millisecond
	// handOverAtOnce is how many are on their way, at least, and handOverShare how
	// many of all: thousands have to go, too, in their time.
	handOverAtOnce = 8
	handOverShare  = 40
	// handOverPatience is how long others wait for a call that is not taken.
	handOverPatience = 500 * time.Millisecond
	// giveAgain is how long a node has to take a call before it is given to
	// another one, too.
	giveAgain = 1500 * time.Millisecond
	// noHeirs is how long no other node is heard when there is none.
	noHeirs = 5 * time.Second
)

// heirs are the living nodes that may take calls, without this one.
func (b *Bridge) heirs() []string {
	if b.ledger == nil {
		return nil
	}
	var heirs []string
	for _, n := range b.cfg.Members.Nodes() {
		if n.Name != b.cfg.Node && n.Alive && !n.Retires && n.Heard <= missedAfter && slices.Contains(b.cfg.Takers, n.Name) {
			heirs = append(heirs, n.Name)
		}
	}
	return heirs
}

// HasHeirs tells whether there is another node that could take the calls of this
// one.
func (b *Bridge) HasHeirs() bool {
	return b.ledger != nil && slices.ContainsFunc(b.cfg.Members.Nodes(), func(n cluster.Node) bool {
		return n.Name != b.cfg.Node && n.Alive && !n.Retires && slices.Contains(b.cfg.Takers, n.Name)
	})
}

// Retire has the other nodes give this one no calls any more. Those that are on
// their way here are taken.
func (b *Bridge) Retire() {
	if b.ledger != nil {
		b.cfg.Members.Retire()
	}
}

// Refuse refuses new calls from now on.
func (b *Bridge) Refuse() {
	b.Retire()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = true
}

// Moved is how many calls were given to other nodes.
func (b *Bridge) Moved() int { return int(b.moved.Load()) }

// HandOver gives all calls to other nodes, each its share, and refuses new ones.
// It returns when no call is left here, or ctx ends, or there is no node that
// could take any: then what is left goes on here. Peers that send media here still
// are listened to for some seconds (ListenOut).
func (b *Bridge) HandOver(ctx context.Context) error {
	b.Refuse()
	tick := time.NewTicker(handOverEvery)
	defer tick.Stop()
	heard := b.cfg.Now()
	atOnce := max(handOverAtOnce, b.Active()/handOverShare)
	for {
		heirs := b.heirs()
		if len(heirs) > 0 {
			heard = b.cfg.Now()
		}
		unfetched := b.giveMore(heirs, atOnce)
		left := b.Active()
		switch {
		case left+unfetched == 0:
			return nil
		case !b.HasHeirs() || b.cfg.Now().Sub(heard) > noHeirs:
			return fmt.Errorf("hand calls over: %d are left, and no other node takes any: none is heard that is not to go itself", left+unfetched)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("hand calls over: %d are left: %w", left+unfetched, ctx.Err())
		}
	}
}

// giveMore asks some calls to go to their heirs, and gives those once more, to
// the next, that nobody has fetched. It tells how many of these there are.
func (b *Bridge) giveMore(heirs []string, atOnce int) (unfetched int) {
	b.forgetGiven()
	now := b.cfg.Now()
	again := map[string]gaveCall{}
	b.mu.Lock()
	asked := 0
	for id, g := range b.gone {
		if now.Sub(g.at) < handOverPatience && g.times == 0 && !b.cfg.Members.Taken(id, g.epoch) {
			asked++
		}
	}
	for id, c := range b.calls {
		if len(heirs) == 0 || asked >= atOnce {
			break
		}
		if c.gone.Load() {
			continue
		}
		select {
		case c.wanted <- heirOf(id, heirs, 0):
		default: // it is asked already
		}
		asked++
	}
	for id, g := range b.gone {
		if b.cfg.Members.Taken(id, g.epoch) {
			continue // it will be on record, too
		}
		unfetched++
		if now.Sub(g.at) >= giveAgain && len(heirs) > 0 {
			g.times++
			g.at, g.to = now, heirOf(id, heirs, g.times)
			b.gone[id], again[id] = g, g
		}
	}
	b.mu.Unlock()
	for id, g := range again {
		if err := b.cfg.Members.Give(id, g.epoch, g.to, g.note); err != nil {
			b.cfg.Logger.Warn("a call could not be given once more", "call", id, "to", g.to, "error", err)
		}
	}
	return unfetched
}

// heirOf is the nth heir of a call: each node gets the same share.
func heirOf(call string, heirs []string, n int) string {
	sorted := slices.Clone(heirs)
	slices.SortFunc(sorted, func(a, z string) int { return compareHeirs(call, a, z) })
	return sorted[n%len(sorted)]
}

// ListenOut waits until the peers of calls that were given away are listened to no
// more, or ctx ends.
func (b *Bridge) ListenOut(ctx context.Context) {
	over := make(chan struct{})
	go func() {
		b.listening.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-ctx.Done():
	}
}
