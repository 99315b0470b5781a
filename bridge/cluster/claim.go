package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// probeTime bounds the proof that a process is gone: a host that lives refuses
	// within a round trip.
	probeTime = 300 * time.Millisecond
	probeKeep = 200 * time.Millisecond
	maxProbed = 10_000 // claims that wait for one proof
	// attemptTime bounds the answers to a claim, and is longer than a proof.
	attemptTime = probeTime + 400*time.Millisecond
	// freshBeat is the age up to which a node was heard lately: of one whose beats
	// are missing we wait to see whether it is dead. It is less than the time in
	// which a host that is out of reach does not answer.
	freshBeat = beatEvery + 50*time.Millisecond
)

// attempt is one round of asking for a call.
type attempt struct {
	tally tally
	done  chan verdict // gets the result once
	over  bool
}

// probe finds out whether a node's process is gone.
type probe struct {
	running bool
	refused time.Time // when it was asked and refused; zero = it did not
	waiting []func(refused time.Time)
}

// Claim gets a call that owner had, at the given epoch (that of the record and
// one more) or a higher one, which it returns: the record is to be written with
// it. Claiming what a node itself had, owner is its own name. It waits until the
// owner is dead, has been heard again (ErrLives), or ctx ends. When it returns
// nil no other node touches the call, as long as the lease holds.
func (m *Members) Claim(ctx context.Context, call, owner string, epoch uint64) (uint64, error) {
	c := claim{Call: call, Epoch: max(1, epoch), Owner: owner, Claimant: m.cfg.Node}
	var last error
	for split := 0; ; {
		v, err := m.ask(ctx, &c)
		if err != nil {
			return 0, err
		}
		pause := time.Duration(0)
		switch v.Outcome {
		case granted:
			return c.Epoch, nil
		case lives:
			last = fmt.Errorf("claim call %s: %w: %s", call, ErrLives, v.Owner)
			if v.Wait > deadAfter-freshBeat {
				return 0, last
			}
			pause = min(v.Wait, beatEvery)
		case taken:
			// Perhaps by one that asks at the same time, and gets no majority either.
			pause = time.Duration(10+rand.IntN(30)) * time.Millisecond
			if split++; split%4 == 0 {
				c.Owner, c.Epoch = v.Owner, v.Epoch+1
			}
		case quiet:
			last = fmt.Errorf("claim call %s: the nodes have begun less than %v ago", call, quietTime)
			pause = v.Wait
		default: // not enough answers, perhaps as above: not at the same time again
			pause = time.Duration(rand.IntN(30)) * time.Millisecond
			last = fmt.Errorf("claim call %s: %w", call, ErrCutOff)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if last == nil {
				last = fmt.Errorf("claim call %s: %w", call, ctx.Err())
			}
			return 0, last
		case <-m.life.Done():
			return 0, fmt.Errorf("claim call %s: this node has left the cluster", call)
		}
	}
}

// ask asks every node once, and takes back what was granted in vain.
func (m *Members) ask(ctx context.Context, c *claim) (verdict, error) {
	if err := m.awaitLease(ctx, c); err != nil {
		return verdict{}, err
	}
	m.mu.Lock()
	m.attempt++
	number := m.attempt
	m.roll.prepare(c)
	a := &attempt{tally: newTally(m.roll.majority(), m.cfg.Nodes, *c), done: make(chan verdict, 1)}
	m.attempts[number] = a
	m.mu.Unlock()
	m.send(subjectClaim, message{Kind: kindClaim, From: m.cfg.Node, Attempt: number, Claims: []claim{*c}})
	m.decide(*c, func(v verdict) { m.count(number, m.cfg.Node, v) })

	var v verdict
	timer := time.NewTimer(attemptTime)
	defer timer.Stop()
	select {
	case v = <-a.done:
	case <-timer.C:
	case <-ctx.Done():
	case <-m.life.Done():
	}
	m.mu.Lock()
	delete(m.attempts, number)
	m.look(time.Now())
	won := v.Outcome == granted && m.lease == Lease{true, c.Term}
	if won {
		m.roll.learn(time.Now(), *c)
	} else {
		m.roll.withdraw(*c)
	}
	m.mu.Unlock()
	if won { // also those who said no know whose it is now
		m.send(subjectClaim, message{Kind: kindHeld, From: m.cfg.Node, Claims: []claim{*c}})
		return v, nil
	}
	m.send(subjectClaim, message{Kind: kindWithdraw, From: m.cfg.Node, Claims: []claim{*c}})
	if v.Outcome == granted { // and lost with the lease
		v = verdict{}
	}
	return v, nil
}

// awaitLease waits until we have the lease, and claims under its term.
func (m *Members) awaitLease(ctx context.Context, c *claim) error {
	for {
		lease, changed := m.Lease()
		if lease.Held {
			c.Term = lease.Term
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("claim call %s: %w", c.Call, ErrCutOff)
		case <-m.life.Done():
			return fmt.Errorf("claim call %s: this node has left the cluster", c.Call)
		}
	}
}

// onMessage is called for every message about claims.
func (m *Members) onMessage(data []byte) {
	msg, err := decodeMessage(data)
	if err != nil || msg.From == m.cfg.Node {
		return
	}
	for _, c := range msg.Claims {
		if !c.saidBy(msg.From, msg.Kind) {
			return // nobody speaks for others
		}
	}
	switch msg.Kind {
	case kindAsk, kindGiven, kindKept:
		m.onGiving(msg)
	case kindClaim:
		c := msg.Claims[0]
		m.decide(c, func(v verdict) {
			m.send(subjectClaim, message{Kind: kindVerdict, From: m.cfg.Node, Attempt: msg.Attempt, Claims: []claim{c}, Verdict: v})
		})
	case kindVerdict:
		if msg.Claims[0].Claimant == m.cfg.Node {
			m.count(msg.Attempt, msg.From, msg.Verdict)
		}
	case kindWithdraw:
		m.mu.Lock()
		m.roll.withdraw(msg.Claims[0])
		m.mu.Unlock()
	case kindHeld:
		m.mu.Lock()
		for _, c := range msg.Claims {
			m.roll.learn(time.Now(), c)
		}
		m.mu.Unlock()
	}
}

// saidBy tells whether a message about a claim is a node's to send.
func (c claim) saidBy(node string, k kind) bool {
	switch k {
	case kindVerdict:
		return true
	case kindGiven, kindKept:
		return c.Owner == node
	}
	return c.Claimant == node
}

// count books a verdict on one of our claims.
func (m *Members) count(number uint64, from string, v verdict) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.attempts[number]
	if a == nil || a.over {
		return // it is over
	}
	a.tally.count(from, v)
	if result := a.tally.result(); result.Outcome != "" {
		a.over = true
		a.done <- result
	}
}

// decide votes on a claim, after it has found out whether the owner's process is
// gone.
func (m *Members) decide(c claim, answer func(verdict)) {
	vote := func(refused time.Time) {
		m.mu.Lock()
		// A beat that came later is of the process that follows.
		gone := !refused.IsZero() && !m.roll.peer(c.Owner).heard.After(refused)
		v := m.roll.vote(time.Now(), c, gone)
		m.mu.Unlock()
		answer(v)
	}
	if c.Owner == c.Claimant || c.Owner == m.cfg.Node || c.Owner == "" || c.given() || m.cfg.Refused == nil {
		vote(time.Time{})
		return
	}
	m.mu.Lock()
	if m.roll.alive(time.Now(), c.Owner, false) == 0 { // which needs no proof
		m.mu.Unlock()
		vote(time.Time{})
		return
	}
	p := m.probes[c.Owner]
	if p == nil {
		p = &probe{}
		if len(m.probes) < 2*maxNodes {
			m.probes[c.Owner] = p
		}
	}
	switch {
	case !p.running && !p.refused.IsZero() && time.Since(p.refused) < probeKeep:
		refused := p.refused
		m.mu.Unlock()
		vote(refused)
		return
	case len(p.waiting) >= maxProbed:
		m.mu.Unlock()
		return // the claimant asks again
	}
	p.waiting = append(p.waiting, vote)
	if !p.running && m.life.Err() == nil {
		p.running = true
		m.work.Go(func() { m.probe(c.Owner, p) })
	}
	m.mu.Unlock()
}

// Gone asks a node's host whether its process is gone. It is a hint that the calls
// of the node are to be had: who votes on a claim asks for itself.
func (m *Members) Gone(ctx context.Context, node string) bool {
	if m.cfg.Refused == nil || node == m.cfg.Node {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return m.cfg.Refused(ctx, node)
}

// probe asks the owner's host, and then votes on all claims that wait for it.
func (m *Members) probe(owner string, p *probe) {
	ctx, cancel := context.WithTimeout(m.life, probeTime)
	defer cancel()
	refused := time.Now()
	if !m.cfg.Refused(ctx, owner) {
		refused = time.Time{}
	}
	m.mu.Lock()
	p.running, p.refused = false, refused
	waiting := p.waiting
	p.waiting = nil
	m.mu.Unlock()
	for _, vote := range waiting {
		vote(refused)
	}
}
