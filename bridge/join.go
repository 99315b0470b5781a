package bridge

import (
	"context"
	"fmt"
	"time"
)

// Two things happen between calls. A party that has two of them may ask that
// the others be joined (an attended transfer): one call gives its far leg to the
// other, and is over. And a leg may arrive to take the place of one that a call
// has (RFC 3891). Each call is asked through its own channel, since nobody else
// may touch it.

// maxRequests is how many requests of others a call lets wait.
const maxRequests = 4

// request is what a call is asked for by others; one of the two is set.
type request struct {
	give *giving
	take *taking
}

// refuse answers a request that nobody will fulfil.
func (q request) refuse(c Cause) {
	if q.give != nil {
		q.give.reply <- handed{err: c}
	}
	if q.take != nil {
		q.take.reply <- c
	}
}

// giving asks a call for the leg of the party behind one of its legs.
type giving struct {
	behind Leg
	stays  MediaPlan   // of the party it will be joined to
	reply  chan handed // one element
}

// handed is a leg that a call has given away.
type handed struct {
	err    error
	leg    Leg
	plan   MediaPlan
	codecs []Codec    // the policy of its trunk
	can    MediaOffer // what its peer can do
	party  LegInfo    // To is its number
	taken  chan struct{}
}

// taking asks a call to take a leg in the place of another.
type taking struct {
	leg     Leg
	instead Leg
	reply   chan error // one element
}

// owns notes which call has a leg.
func (b *Bridge) owns(c *call, leg Leg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owners[leg] = c
	c.owned = append(c.owned, leg)
}

// disowned forgets the legs of a call that is over, but those that another call
// has by now. What it is asked from here on is refused.
func (b *Bridge) disowned(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, leg := range c.owned {
		if b.owners[leg] == c {
			delete(b.owners, leg)
		}
	}
	c.deaf = true
	for {
		select {
		case q := <-c.asked:
			q.refuse(Cause{Code: "call-ended"}.With("the call is over"))
		default:
			return
		}
	}
}

// ask hands a request to the call that has a leg.
func (b *Bridge) ask(leg Leg, by *call, q request) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.owners[leg]
	switch {
	case c == nil || c.deaf:
		return Cause{Code: "call-ended"}.With("there is no such call")
	case c == by:
		return CauseBadRequest.With("it is the same call")
	}
	select {
	case c.asked <- q:
		return nil
	default:
		return CauseOverloaded.With("too much is asked of the call already")
	}
}

// takeOver puts an incoming leg into the place of another.
func (b *Bridge) takeOver(ctx context.Context, leg Leg) error {
	instead := leg.Info().Instead
	t := &taking{leg: leg, instead: instead, reply: make(chan error, 1)}
	if err := b.ask(instead, nil, request{take: t}); err != nil {
		return fmt.Errorf("call from trunk %q in the place of %s: %w", leg.Info().Trunk, instead.Info().ID, err)
	}
	select {
	case err := <-t.reply:
		return err
	case <-ctx.Done():
		return CausePeerTimeout.With("the call whose leg was to be replaced has not answered: %v", ctx.Err())
	}
}

// requested does what another call, or a new leg, asks for.
func (c *call) requested(ctx context.Context, q request) (over bool, cause Cause) {
	if q.give != nil {
		return c.give(q.give)
	}
	return c.take(ctx, q.take)
}

// sideOf finds the side of a leg.
func (c *call) sideOf(leg Leg) (side, bool) {
	switch {
	case leg == c.a:
		return sideA, true
	case leg == c.b:
		return sideB, true
	}
	return 0, false
}

// give hands the leg behind another to the call that asked for it. Then this
// one is over.
func (c *call) give(g *giving) (over bool, cause Cause) {
	s, ok := c.sideOf(g.behind)
	far := s.other()
	var plan *MediaPlan
	if ok {
		plan = c.planOf(far)
	}
	var err error
	switch {
	case !ok || c.moving != nil:
		err = CauseTransferRefused.With("the other call is being transferred itself")
	case c.rec.State != StateAnswered || plan == nil:
		err = CauseTransferRefused.With("the other call is not answered yet")
	case !playable(g.stays, *plan):
		err = CauseMediaIncompatible.With("one party is on %v, the other on %v", g.stays.Speech, plan.Speech)
	}
	if err != nil {
		g.reply <- handed{err: err}
		return false, Cause{}
	}
	c.unjoin()
	c.given[far], c.left[far] = true, true
	c.rec.Gave = far.party()
	info := c.legOf(far).Info()
	info.To = c.numbers[far]
	c.taken = make(chan struct{})
	g.reply <- handed{
		leg: c.legOf(far), plan: *plan, codecs: c.codecsOf(far), can: c.tuned[far].can, party: info, taken: c.taken,
	}
	return true, CauseNormal.With("its party is in another call now").EndedBy(s.party())
}

// awaitTaken keeps the record of a call until its leg is in that of another.
func (c *call) awaitTaken() {
	if c.taken == nil {
		return
	}
	select {
	case <-c.taken:
	case <-time.After(2 * storeTimeout):
	}
}

// startJoin begins an attended transfer to a party of another call of ours.
func (c *call) startJoin(ctx context.Context, from side, ev Event, told func(error)) {
	stays := c.planOf(from.other())
	trunk := c.legOf(from).Info().Trunk
	var err error
	t := &transfer{
		from: from, target: ev.Target, told: told, moving: ev.Moving, cancel: func() {},
		handing: make(chan handed, 1), limit: time.NewTimer(closeTimeout),
	}
	switch {
	case c.moving != nil:
		err = CauseTransferRefused.With("the call is being transferred already")
	case !c.bridge.rules.Load().Policy.Trunks[trunk].Transfer:
		err = CauseTransferRefused.With("trunk %q may not transfer calls (trunks.%s: transfer: allow)", trunk, trunk)
	case stays == nil:
		err = CauseTransferRefused.With("the call has no media yet")
	default:
		if e := c.bridge.ask(ev.Instead, c, request{give: &giving{behind: ev.Instead, stays: *stays, reply: t.handing}}); e != nil {
			err = CauseTransferRefused.With("to another call of the party: %v", e)
		}
	}
	if err != nil {
		t.limit.Stop()
		c.log.Info("transfer refused", "by", from.party(), "why", err)
		told(err)
		return
	}
	c.log.Info("transfer begins", "by", from.party(), "to", "another call of the party")
	c.moving, c.rec.Transfer = t, &TransferRecord{By: from.party(), Target: ev.Target}
	c.note(ctx)
	t.moves(Proceeding)
}

// handedOver takes the leg that the other call gave away.
func (c *call) handedOver(ctx context.Context, h handed) (over bool, cause Cause) {
	t := c.moving
	t.handing = nil
	if h.err != nil {
		return c.transferFailed(ctx, CauseOf(h.err).EndedBy(ByBridge))
	}
	t.leg, t.target = h.leg, h.party.To
	c.bridge.owns(c, h.leg)
	defer close(h.taken)
	return c.moved(ctx, h.plan, h.codecs, h.can, Event{Kind: Answered, Plan: &h.plan})
}

// unhand ends the leg that another call is about to give away, and that nobody
// wants any more.
func (c *call) unhand(ctx context.Context, handing chan handed, cause Cause) {
	ctx = context.WithoutCancel(ctx)
	c.dismissed.Go(func() {
		if h := <-handing; h.leg != nil {
			close(h.taken)
			c.sendOff(ctx, h.leg, cause)
		}
	})
}

// take puts a leg into the place of another one of this call, before or after
// the answer.
func (c *call) take(ctx context.Context, t *taking) (over bool, cause Cause) {
	s, ok := c.sideOf(t.instead)
	answered := c.rec.State == StateAnswered
	if !ok || c.moving != nil || !answered && s != sideB {
		t.reply <- Cause{Code: "call-ended"}.With("the leg is no part of the call any more, or on its way out of it")
		return false, Cause{}
	}
	info := t.leg.Info()
	codecs := c.bridge.codecs(info.Trunk)
	plan, err := c.planFor(s, info.Media.Restrict(codecs))
	if err == nil {
		err = t.leg.Answer(ctx, Answer{Media: plan})
	}
	if err != nil {
		t.reply <- err
		return false, Cause{}
	}
	t.reply <- nil
	c.bridge.owns(c, t.leg)
	c.log.Info("leg replaced", "of", s.party(), "by", info.ID, "trunk", info.Trunk)
	ev := Event{Kind: Answered, Plan: &plan}
	old := c.legOf(s)
	c.replaceLeg(s, t.leg, plan, codecs, info.Media.Restrict(codecs))
	if answered {
		c.store(ctx)
		c.dismiss(ctx, old, CauseNormal.With("its place was taken by call %s", info.ID).EndedBy(ByBridge))
		if err := c.settle(ctx, s, ev); err != nil {
			return true, CauseOf(err).EndedBy(ByBridge)
		}
		return false, Cause{}
	}
	c.dismiss(ctx, old, CauseElsewhere.With("picked up by call %s", info.ID).EndedBy(ByBridge))
	over, cause, _ = c.handle(ctx, s, ev, true)
	return over, cause
}

// planFor is the plan of a leg that comes in on a side.
func (c *call) planFor(s side, can MediaOffer) (MediaPlan, error) {
	other := c.planOf(s.other())
	if other == nil { // nobody has answered the caller yet
		agreed, err := Negotiate(c.terms)
		if err != nil {
			return MediaPlan{}, err
		}
		other = &MediaPlan{Speech: agreed.Offer.Speech[0], Digits: true, Ptime: DefaultPtime, Sealed: agreed.Offer.Sealed}
	}
	return PlanFor(can, *other)
}

// replaceLeg puts a leg with its media into the place of a side's.
func (c *call) replaceLeg(s side, leg Leg, plan MediaPlan, codecs []Codec, can MediaOffer) {
	old, oldPump := c.legOf(s), c.pumpTo(s)
	old.Media().Join(nil)
	to := c.bridge.pump(leg.Media())
	to.use(plan)
	c.summary.count(oldPump)
	if s == sideA {
		c.a, c.toA, c.planA = leg, to, &plan
		c.terms = Negotiation{Caller: plan.Offer(), CallerCodecs: codecs, CalledCodecs: c.terms.CalledCodecs, Clear: c.terms.Clear, Convert: Convertible()}
	} else {
		c.b, c.toB, c.planB = leg, to, &plan
		c.terms.CalledCodecs = codecs
	}
	c.held[s], c.tuned[s] = false, tuning{can: can}
	c.join()
	if oldPump != nil {
		oldPump.close()
	}
	c.fill()
}
