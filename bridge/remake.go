package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A call that is taken up is made of its record again, and its legs by their edges of
// theirs.

// remake makes a call of its record. It has no legs yet.
func (b *Bridge) remake(rec CallRecord, rev uint64) *call {
	c := &call{
		bridge:  b,
		log:     b.cfg.Logger.With("call", rec.ID, "trace", rec.Trace.ID),
		stop:    make(chan Cause, 1),
		leave:   make(chan struct{}, 1),
		over:    make(chan struct{}),
		fenceUp: make(chan struct{}, 1), regained: make(chan uint64, 1),
		wanted: make(chan string, 1),
		came:   b.cfg.Now(),
		asked:  make(chan request, maxRequests),
		rec:    rec, rev: rev, hops: rec.Hops, cancelDial: func() {},
		summary: Summary{
			ID: rec.ID, Trace: rec.Trace.ID, From: string(rec.A.From), To: string(rec.A.To),
			TrunkA: rec.A.Trunk, ProtoA: rec.A.Protocol, Identity: rec.Identity,
			Created: rec.Created, Answered: rec.Answered, Moves: rec.Moves,
		},
	}
	c.terms.CallerCodecs, c.terms.Convert = b.codecs(rec.A.Trunk), Convertible()
	c.knows(sideA, rec.A)
	if rec.B != nil {
		c.summary.TrunkB, c.summary.ProtoB = rec.B.Trunk, rec.B.Protocol
		c.terms.CalledCodecs = b.codecs(rec.B.Trunk)
		if trunks := b.rules.Load().Trunks; trunks != nil {
			c.terms.Clear = !trunks[rec.B.Trunk].Seals
		}
		c.knows(sideB, *rec.B)
	}
	c.terms.Caller = c.tuned[sideA].can
	return c
}

// knows takes over what the record says of a side.
func (c *call) knows(s side, r LegRecord) {
	c.numbers[s] = r.To
	if r.Incoming {
		c.numbers[s] = r.From
	}
	c.held[s] = r.Held
	switch {
	case r.Can != nil:
		c.tuned[s].can = *r.Can
	case r.Plan != nil:
		c.tuned[s].can = r.Plan.Offer()
	}
	if s == sideA {
		c.planA = r.Plan
	} else {
		c.planB = r.Plan
	}
}

// resumeLegs makes both legs again, at the same time. A leg that cannot be
// continued is absent, and the call fails with it; what is not connected to
// anybody is ended in passing.
func (c *call) resumeLegs(ctx context.Context, how Resumption) error {
	var errs [2]error
	var both sync.WaitGroup
	both.Go(func() { c.a, errs[sideA] = c.resumeLeg(ctx, how, c.rec.A, ByCaller) })
	if c.rec.B != nil {
		both.Go(func() { c.b, errs[sideB] = c.resumeLeg(ctx, how, *c.rec.B, ByCallee) })
	}
	if t := c.rec.Transfer; t != nil && t.Leg != nil {
		target := how
		target.State = StateProceeding
		both.Go(func() {
			if leg, err := c.resumeLeg(ctx, target, *t.Leg, t.By); err == nil {
				c.dismiss(ctx, leg, CauseCancelled.With("the process that was transferring the call is gone").EndedBy(ByBridge))
			}
		})
	}
	both.Wait()
	c.rec.Transfer = nil
	c.toA = c.bridge.pump(c.a.Media())
	if c.planA != nil {
		c.toA.use(*c.planA)
	}
	if c.b != nil {
		c.joinB()
	}
	if c.planB != nil && c.b != nil {
		c.toB.use(*c.planB)
	}
	return errors.Join(errs[:]...)
}

// resumeLeg asks the edge. The leg is never nil.
func (c *call) resumeLeg(ctx context.Context, how Resumption, r LegRecord, of Party) (Leg, error) {
	ctx, cancel := context.WithTimeout(ctx, takeLimit)
	defer cancel()
	how.LegRecord = r
	if c.hears != nil && how.State == StateAnswered {
		how.Hears = &c.hears.sides[sideOf(of)]
		how.Detour = c.detour(sideOf(of))
	}
	var edge Resumer
	if c.bridge.cfg.Resumer != nil {
		edge = c.bridge.cfg.Resumer(r)
	}
	if edge == nil {
		return newAbsent(r), fmt.Errorf("the %s's leg %s cannot be continued: no part of this configuration serves %q calls of trunk %q", of, r.ID, r.Protocol, r.Trunk)
	}
	leg, err := edge.Resume(ctx, how)
	if err != nil {
		return newAbsent(r), fmt.Errorf("the %s's leg %s could not be continued: %w", of, r.ID, err)
	}
	return leg, nil
}
