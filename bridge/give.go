package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"riptide/bridge/cluster"
)

// A call goes from a living node to another when a request of it comes there, or
// when its node is emptied. Its owner lets go of both legs but hears on, puts the
// call on record as it is then, and gives it (package cluster). The other node
// makes the legs again of that record; what the peers still send to the first
// one follows (relay.go).

const (
	// stayTime is how long a call stays where it has come: a peer that is led to
	// two nodes by turns does not have it moved with every request.
	stayTime = 3 * time.Second
	// askLimit bounds the waiting for the owner's answer, and recordLimit that for
	// the last record.
	askLimit    = 2 * time.Second
	recordLimit = 2 * time.Second
	// fetchTime is how long the node that a call is given to has to take it.
	fetchTime = 3 * time.Second
	// maxGifts bounds the calls that wait to be taken up.
	maxGifts = 8 << 10
)

var _ cluster.Partner = (*Bridge)(nil)

// gaveCall is a call that was given away.
type gaveCall struct {
	epoch    uint64
	to, note string
	at       time.Time
	times    int // that it was given again
}

// Asked implements cluster.Partner.
func (b *Bridge) Asked(id, by string) {
	b.mu.Lock()
	c := b.calls[id]
	draining := b.draining
	b.mu.Unlock()
	stays := c == nil || c.gone.Load() || !slices.Contains(b.cfg.Takers, by) || !draining && b.cfg.Now().Sub(c.came) < stayTime
	if !stays {
		select {
		case c.wanted <- by:
		default: // somebody asks already
		}
		return
	}
	b.cfg.Members.Keep(id, by)
}

// Given implements cluster.Partner.
func (b *Bridge) Given(id string) {
	select {
	case b.gifts <- id:
	default: // its giver gives it to another
	}
}

// takeGifts takes up the calls that this node is given, until ctx ends.
func (b *Bridge) takeGifts(ctx context.Context) {
	queue := newTakings()
	defer queue.stop()
	for {
		select {
		case id := <-b.gifts:
			b.takeOne(queue, id, func(claimed func()) {
				if b.stopping() {
					return // its giver has it still, or gives it to another
				}
				if err := b.inherit(ctx, id, false, claimed); err != nil && !errors.Is(err, errOver) {
					b.couldNot(id, err)
				}
			})
		case <-ctx.Done():
			return
		}
	}
}

// noteOf names the state of a record.
func noteOf(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:16])
}

// lastRecord is the record of a call as its giver left it, if it was given to us;
// otherwise as it is known.
func (b *Bridge) lastRecord(ctx context.Context, id string) (CallRecord, uint64, error) {
	if epoch, note, ok := b.cfg.Members.Gift(id); ok {
		ctx, cancel := context.WithTimeout(ctx, recordLimit)
		defer cancel()
		b.ledger.await(ctx, id, func(e *entry) bool {
			return e.Epoch > epoch || e.Epoch == epoch && noteOf(e.value) == note
		}) // what does not come in time is gone on without
	}
	return b.ledger.get(id)
}

// askFor has the living owner of a call give it.
func (b *Bridge) askFor(ctx context.Context, rec CallRecord) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if _, err := b.cfg.Members.Ask(ctx, rec.ID, rec.Node); err != nil {
		return fmt.Errorf("%w: %w", errFenced, err)
	}
	return nil
}

// yielders are the legs of a call that can be given, nil if it cannot be now.
func (c *call) yielders() []Yielder {
	if c.rec.State != StateAnswered || c.moving != nil || c.b == nil || c.left != [2]bool{} || c.given != [2]bool{} {
		return nil
	}
	var legs []Yielder
	for _, leg := range []Leg{c.a, c.b} {
		y, ok := leg.(Yielder)
		if !ok || len(leg.Events()) > 0 || y.Stays() {
			return nil
		}
		legs = append(legs, y)
	}
	return legs
}

// giving gives the call to another node. It tells false where it stays.
func (c *call) giving(ctx context.Context, to string) bool {
	b := c.bridge
	legs := c.yielders()
	if legs == nil || c.gone.Load() {
		b.cfg.Members.Keep(c.rec.ID, to)
		return false
	}
	c.awaitWrite()
	if c.gone.Swap(true) {
		return true
	}
	c.yielded = true
	var relays [2]*relay
	for s := range relays {
		relays[s] = &relay{call: c.rec.ID, side: side(s), send: func(data []byte) { b.cfg.Members.Relay(to, data) }}
		legs[s].(Leg).Media().Join(relays[s])
	}
	c.stopMedia()
	// What a leg gives back came from the other side.
	back := [2]unsent{{call: c.rec.ID, side: sideB}, {call: c.rec.ID, side: sideA}}
	var records [2]LegRecord
	var both sync.WaitGroup
	for s := range legs {
		both.Go(func() { records[s] = legs[s].Yield(&back[s]) })
	}
	both.Wait()
	c.rec.Served = b.cfg.Now()
	c.rec.A = c.completed(sideA, records[sideA])
	z := c.completed(sideB, records[sideB])
	c.rec.B, c.rec.Given, c.rec.Detours = &z, true, true
	forget := b.givenLegs.keep(c.rec.ID, legs)
	value, err := c.rec.Encode()
	if err == nil {
		c.log.Info("call given to another node", "to", to, "epoch", c.rec.Epoch) // whose it is from now on
		b.cfg.Members.Relay(to, appendGiven(nil, c.rec.ID, value))
		c.send(ctx, value)
		b.gave(c.rec.ID, gaveCall{epoch: c.rec.Epoch, to: to, note: noteOf(value), at: b.cfg.Now()})
		err = b.cfg.Members.Give(c.rec.ID, c.rec.Epoch, to, noteOf(value))
	}
	if err != nil {
		c.log.Warn("call left on record: it could not be given", "to", to, "error", err)
	}
	relays[sideA].begin(back[sideB].list)
	relays[sideB].begin(back[sideA].list)
	b.listenOn(legs, forget)
	return true
}

// gave notes a call that was given away. If the other node does not take it, it
// is taken back.
func (b *Bridge) gave(id string, g gaveCall) {
	b.ledger.failed(id, g.at.Add(fetchTime))
	b.moved.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone[id] = g
}

// forgetGiven forgets the calls that another node has by now, or that were taken
// back.
func (b *Bridge) forgetGiven() {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.gone, func(id string, _ gaveCall) bool {
		c := b.calls[id] // its legs may still be let go of
		return c != nil && !c.gone.Load() || !b.ledger.isOf(id, b.cfg.Node)
	})
}

// listenOn keeps the ears of a call open that was given away, for a while.
func (b *Bridge) listenOn(legs []Yielder, forget func()) {
	b.listening.Add(1)
	time.AfterFunc(relayTime, func() {
		defer b.listening.Done()
		forget()
		for _, leg := range legs {
			leg.Abandon()
		}
	})
}
