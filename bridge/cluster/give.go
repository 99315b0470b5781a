package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// A call goes from a living node to another when its owner gives it: the owner
// stops touching it first, and then gives the other its word for that. The claim
// that follows carries this word, so that whoever votes needs neither to have
// heard it nor to wait for the owner's death.

const (
	// askEvery is how often a node asks for a call again, since messages may be
	// lost.
	askEvery = 250 * time.Millisecond
	// giftTime is how long a word that was given is of use. It is less than what
	// its giver remembers.
	giftTime = grantTime / 2
)

// ErrKept says that the owner of a call keeps it. It comes with ErrLives.
var ErrKept = errors.New("the node that has the call keeps it for now")

// word is that a node touches a call no more by what it was granted up to a term
// of its own and an epoch of the call. The zero word is none.
type word struct {
	Term  uint64 `json:"t,omitempty"`
	Epoch uint64 `json:"e,omitempty"`
}

// covers tells whether a grant to the giver is one that it has given up.
func (w word) covers(giver string, g grant) bool {
	return g.Claimant == giver && g.Term <= w.Term && g.Epoch <= w.Epoch
}

// given tells whether the owner has given the claimant what it claims. A word
// about an epoch further back is as good as none.
func (c *claim) given() bool { return c.Given != word{} && c.Given.Epoch+1 == c.Epoch }

// gift is a call that another node gave us.
type gift struct {
	word
	owner string
	note  string
	at    time.Time
}

// gave is a call that we gave away.
type gave struct {
	claim // Owner is us, Claimant who got it, Term ours
	note  string
	at    time.Time
}

// give notes that we have let go of a call, of an epoch, for another node. It is
// false where we may not: without the lease others may have it already.
func (r *roll) give(now time.Time, call string, epoch uint64, to, note string) bool {
	if !r.lease(now) || len(r.gave) >= maxGrants || to == r.self {
		return false
	}
	r.gave[call] = gave{claim{Call: call, Epoch: epoch, Owner: r.self, Claimant: to, Term: r.term}, note, now}
	return true
}

// given notes that a call was given to us.
func (r *roll) given(now time.Time, c claim, note string) bool {
	if len(r.gifts) >= maxGrants {
		return false
	}
	if g, ok := r.gifts[c.Call]; !ok || c.Epoch >= g.Epoch {
		r.gifts[c.Call] = gift{word{c.Term, c.Epoch}, c.Owner, note, now}
	}
	return true
}

// prepare makes a claim of ours what it has to be by what was given: to us, its
// giver's word goes with it; by us, we ask for what comes after it.
func (r *roll) prepare(c *claim) {
	c.Given = word{}
	if g, ok := r.gifts[c.Call]; ok && g.owner != c.Claimant && c.Epoch <= g.Epoch+1 {
		c.Owner, c.Epoch = g.owner, g.Epoch+1
	}
	if g, ok := r.gave[c.Call]; ok {
		c.Epoch = max(c.Epoch, g.Epoch+1)
	}
	if g, ok := r.gifts[c.Call]; ok && g.owner == c.Owner && g.Epoch+1 == c.Epoch {
		c.Given = g.word // an older one says nothing of what its giver has had since
	}
}

// forgetGifts drops what is of no use any more.
func (r *roll) forgetGifts(now time.Time) {
	maps.DeleteFunc(r.gifts, func(_ string, g gift) bool { return now.Sub(g.at) > giftTime })
	maps.DeleteFunc(r.gave, func(_ string, g gave) bool { return now.Sub(g.at) > grantTime })
}

// Partner is the part of this node that has the calls.
type Partner interface {
	// Asked hears that a node wants a call of ours. It must not block. Who gives
	// it calls Give; who says no, Keep.
	Asked(call, by string)
	// Given hears that a call was given to us. It must not block.
	Given(call string)
	// Relayed takes what another node sent with Relay. It must not block.
	Relayed(data []byte)
}

// Serve names who is asked for calls.
func (m *Members) Serve(p Partner) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.partner = p
}

// Ask asks the node that has a call for it. When it returns nil the call was
// given, and Claim gets it without waiting for anybody; note is what the giver
// says of the record to go on from.
func (m *Members) Ask(ctx context.Context, call, owner string) (note string, err error) {
	m.mu.Lock()
	w := m.awaited[call]
	if w == nil {
		w = &awaited{answered: make(chan struct{})}
		m.awaited[call] = w
	}
	w.users++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		if w.users--; w.users == 0 && m.awaited[call] == w {
			delete(m.awaited, call)
		}
		m.mu.Unlock()
	}()
	again := time.NewTicker(askEvery)
	defer again.Stop()
	for {
		m.send(subjectClaim, message{Kind: kindAsk, From: m.cfg.Node, Claims: []claim{{Call: call, Epoch: 1, Owner: owner, Claimant: m.cfg.Node}}})
		select {
		case <-w.answered:
			if w.kept {
				return "", fmt.Errorf("ask node %q for call %s: %w: %w", owner, call, ErrLives, ErrKept)
			}
			_, note, _ := m.Gift(call)
			return note, nil
		case <-again.C:
		case <-ctx.Done():
			return "", fmt.Errorf("ask node %q for call %s: no answer: %w", owner, call, ErrLives)
		case <-m.life.Done():
			return "", fmt.Errorf("ask node %q for call %s: this node has left the cluster", owner, call)
		}
	}
}

// awaited is an answer that some wait for.
type awaited struct {
	users    int
	kept     bool
	answered chan struct{}
}

// Gift is what the giver of a call said of it, at which epoch, if one was given to
// us lately.
func (m *Members) Gift(call string) (epoch uint64, note string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.roll.gifts[call]
	return g.Epoch, g.note, ok
}

// Taken tells whether another node was granted a call, by this one, that it gave away
// at an epoch.
func (m *Members) Taken(call string, epoch uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.roll.grants[call]
	return ok && g.Claimant != m.cfg.Node && g.Epoch > epoch
}

// Give gives a call, which this node touches no more, to another. Given to two,
// one of them gets it.
func (m *Members) Give(call string, epoch uint64, to, note string) error {
	if len(note) > maxName {
		return fmt.Errorf("give call %s: a note of %d bytes", call, len(note))
	}
	m.mu.Lock()
	m.look(time.Now())
	ok := m.roll.give(time.Now(), call, epoch, to, note)
	g := m.roll.gave[call]
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("give call %s to node %q: %w", call, to, ErrCutOff)
	}
	m.sendGiven(g)
	return nil
}

func (m *Members) sendGiven(g gave) {
	m.send(subjectClaim, message{Kind: kindGiven, From: m.cfg.Node, Claims: []claim{g.claim}, Note: g.note})
}

// Keep refuses to give a call.
func (m *Members) Keep(call, to string) {
	m.send(subjectClaim, message{Kind: kindKept, From: m.cfg.Node, Claims: []claim{{Call: call, Epoch: 1, Owner: m.cfg.Node, Claimant: to}}})
}

// onGiving is called for messages about calls that living nodes have.
func (m *Members) onGiving(msg message) {
	c := msg.Claims[0]
	m.mu.Lock()
	partner := m.partner
	switch {
	case msg.Kind == kindAsk && c.Owner == m.cfg.Node:
		g, given := m.roll.gave[c.Call]
		back := given && m.roll.grants[c.Call].Claimant == m.cfg.Node && m.roll.grants[c.Call].Epoch > g.Epoch
		m.mu.Unlock()
		switch {
		case given && !back && g.Claimant == msg.From: // it was not heard
			m.sendGiven(g)
		case partner != nil:
			partner.Asked(c.Call, msg.From)
		}
		return
	case msg.Kind == kindGiven && c.Claimant == m.cfg.Node:
		ok := m.roll.given(time.Now(), c, msg.Note)
		if ok {
			m.answered(c.Call, false)
		}
		m.mu.Unlock()
		if ok && partner != nil {
			partner.Given(c.Call)
		}
		return
	case msg.Kind == kindKept && c.Claimant == m.cfg.Node:
		m.answered(c.Call, true)
	}
	m.mu.Unlock()
}

// answered tells those who asked. The caller holds mu.
func (m *Members) answered(call string, kept bool) {
	if w := m.awaited[call]; w != nil {
		w.kept = kept
		delete(m.awaited, call)
		close(w.answered)
	}
}
