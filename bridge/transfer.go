package bridge

import (
	"context"
	"time"

	"riptide/policy"
)

// A transfer replaces one leg of an answered call: the party there has asked
// that the other one be connected to somebody else. The call dials the target
// as that party would, and goes on as it is meanwhile; when the target answers,
// the new leg takes the old one's place, and if it does not, nothing has
// changed. Who asked may hang up before: then the other party waits for the
// target alone.

// transferSteps is what an event of the target's leg does to the transfer. What
// is not here is ignored.
var transferSteps = map[EventKind]func(*call, context.Context, Event) (over bool, cause Cause){
	Proceeding: (*call).transferProceeds,
	Alerting:   (*call).transferProceeds,
	Answered:   (*call).transferAnswered,
	Ended: func(c *call, ctx context.Context, ev Event) (bool, Cause) {
		cause := ev.Cause
		if cause.By == "" {
			cause.By = ByCallee
		}
		return c.transferFailed(ctx, cause)
	},
}

// transfer is one under way. It belongs to the call's goroutine.
type transfer struct {
	from     side // whose peer asked; its leg is to be replaced
	target   policy.Number
	told     func(error)
	moving   func(EventKind) // nil: nobody wants to know
	cancel   context.CancelFunc
	dialling chan dialled // nil once it was received
	handing  chan handed  // of a party that another call has, nil once it was received
	leg      Leg          // nil until dialled
	limit    *time.Timer
	terms    Negotiation
	left     bool // who asked has hung up already
	rings    bool // the target does
	early    bool // and its network sends media
}

// Move is a transfer that took place.
type Move struct {
	By     Party         `json:"by"` // whose leg was replaced
	Target policy.Number `json:"target"`
	Trunk  string        `json:"trunk"`
	At     time.Time     `json:"at"`
}

// TransferRecord is a transfer under way, in a call's record: whoever takes the
// call over must end the leg that nobody is connected to.
type TransferRecord struct {
	By     Party         `json:"by"`
	Target policy.Number `json:"target"`
	Leg    *LegRecord    `json:"leg,omitempty"` // once dialled
}

// The channels of a transfer, nil where there is none: for the call's loop.
func (t *transfer) outcome() chan dialled {
	if t == nil {
		return nil
	}
	return t.dialling
}

func (t *transfer) handover() chan handed {
	if t == nil {
		return nil
	}
	return t.handing
}

func (t *transfer) events() <-chan Event {
	if t == nil || t.leg == nil {
		return nil
	}
	return t.leg.Events()
}

func (t *transfer) late() <-chan time.Time {
	if t == nil {
		return nil
	}
	return t.limit.C
}

// replaces tells whether the side's leg has left the call for good.
func (t *transfer) replaces(s side) bool { return t != nil && t.left && t.from == s }

// legOf is a side's leg.
func (c *call) legOf(s side) Leg {
	if s == sideA {
		return c.a
	}
	return c.b
}

// eventsOf are those of a side's leg, nil where nothing can come any more.
func (c *call) eventsOf(s side) <-chan Event {
	leg := c.legOf(s)
	if leg == nil || c.moving.replaces(s) {
		return nil
	}
	return leg.Events()
}

func (s side) other() side { return sideB - s }

// startTransfer begins a transfer, or says why not.
func (c *call) startTransfer(ctx context.Context, from side, ev Event) {
	told := ev.Transferred
	if told == nil {
		told = func(error) {}
	}
	asked := LegInfo{Trunk: c.legOf(from).Info().Trunk, From: c.numbers[from], To: ev.Target, Hops: c.hops}
	if ev.Instead != nil {
		c.startJoin(ctx, from, ev, told)
		return
	}
	decision, trunk, terms, err := c.mayTransfer(from, asked)
	if err == nil && ev.Replaces != "" && decision.Trunk != asked.Trunk {
		err = CauseTransferRefused.With("to a call of %s: it is no call of ours, and calls to there go over trunk %q, which knows nothing of it", ev.Target, decision.Trunk)
	}
	if err != nil {
		c.log.Info("transfer refused", "by", from.party(), "target", ev.Target, "why", err)
		told(err)
		return
	}
	c.log.Info("transfer begins", "by", from.party(), "target", ev.Target, "via", decision.Trunk)
	ctx, cancel := context.WithCancel(ctx)
	t := &transfer{
		from: from, target: ev.Target, told: told, moving: ev.Moving, cancel: cancel, terms: terms,
		dialling: make(chan dialled, 1), limit: time.NewTimer(c.bridge.cfg.RingTimeout),
	}
	c.moving, c.rec.Transfer = t, &TransferRecord{By: from.party(), Target: ev.Target}
	c.note(ctx)
	t.moves(Proceeding)
	in := Intent{
		Call: c.rec.ID, Trunk: decision.Trunk, From: asked.From, To: ev.Target,
		Media: c.offerFor(terms), Hops: decision.Hops, Trace: c.rec.Trace,
		ReferredBy: asked.From, Replaces: ev.Replaces,
	}
	if from == sideA { // the party that stays anonymous is the one whose number is shown
		in.Facts.Privacy = c.rec.Facts.Privacy
	}
	outcome := t.dialling
	go func() {
		var d dialled
		if in.Passport, d.err = c.bridge.passport(ctx, asked, decision, trunk); d.err == nil {
			d.leg, d.err = trunk.Dialer.Dial(ctx, in)
		}
		outcome <- d
	}()
}

// mayTransfer asks policy: of the trunk that asks, and of the route, as for any
// call that the party would place.
func (c *call) mayTransfer(from side, asked LegInfo) (policy.Decision, Trunk, Negotiation, error) {
	var none Negotiation
	if c.moving != nil {
		return policy.Decision{}, Trunk{}, none, CauseTransferRefused.With("the call is being transferred already")
	}
	if !c.bridge.rules.Load().Policy.Trunks[asked.Trunk].Transfer {
		return policy.Decision{}, Trunk{}, none, CauseTransferRefused.With("trunk %q may not transfer calls (trunks.%s: transfer: allow)", asked.Trunk, asked.Trunk)
	}
	decision, trunk, err := c.bridge.route(asked)
	if err != nil {
		return policy.Decision{}, Trunk{}, none, CauseTransferRefused.With("to %s: %v", asked.To, err)
	}
	stays := c.planOf(from.other())
	if stays == nil {
		return policy.Decision{}, Trunk{}, none, CauseTransferRefused.With("to %s: the call has no media yet", asked.To)
	}
	terms := Negotiation{Caller: stays.Offer(), CalledCodecs: trunk.Codecs, Clear: !trunk.Seals, Convert: Convertible()}
	if _, err := Negotiate(terms); err != nil {
		return policy.Decision{}, Trunk{}, none, CauseTransferRefused.With("to %s: %v", asked.To, err)
	}
	return decision, trunk, terms, nil
}

// offerFor is what the target is offered. The terms were found good before.
func (c *call) offerFor(terms Negotiation) MediaOffer {
	media, err := Negotiate(terms)
	if err != nil {
		return MediaOffer{}
	}
	return media.Offer
}

func (c *call) planOf(s side) *MediaPlan {
	if s == sideA {
		return c.planA
	}
	return c.planB
}

// transferDialled takes the outcome of the dialling.
func (c *call) transferDialled(ctx context.Context, d dialled) (over bool, cause Cause) {
	t := c.moving
	t.dialling = nil
	if d.err != nil {
		return c.transferFailed(ctx, c.dialFailed(d.err))
	}
	t.leg = d.leg
	c.bridge.owns(c, d.leg)
	record := d.leg.Record()
	c.rec.Transfer.Leg = &record
	c.note(ctx)
	return false, Cause{}
}

// onTransfer handles one event of the target's leg.
func (c *call) onTransfer(ctx context.Context, ev Event, ok bool) (over bool, cause Cause) {
	if !ok {
		return c.transferFailed(ctx, CauseSignallingLost.With("the leg of the transfer's target closed").EndedBy(ByBridge))
	}
	defer ev.refuse(CauseTransferRefused.With("the call is being transferred"))
	defer stored(&ev)
	if step := transferSteps[ev.Kind]; step != nil {
		return step(c, ctx, ev)
	}
	return false, Cause{}
}

// transferProceeds tells both parties that the target rings. Whoever waits alone
// hears what the target's network sends.
func (c *call) transferProceeds(_ context.Context, ev Event) (over bool, cause Cause) {
	t := c.moving
	if ev.Kind == Alerting {
		t.rings = true
		t.moves(Alerting)
	}
	if ev.Plan != nil {
		t.early = true
		c.joinEarly()
	}
	c.fill()
	return false, Cause{}
}

// joinEarly lets the party that waits alone hear the target's early media.
func (c *call) joinEarly() {
	if t := c.moving; t.early && t.left {
		t.leg.Media().Join(c.pumpTo(t.from.other()))
	}
}

// moves tells who asked how far the transfer is.
func (t *transfer) moves(k EventKind) {
	if t.moving != nil {
		t.moving(k)
	}
}

// transferLate gives up a target that does not answer.
func (c *call) transferLate(ctx context.Context) (over bool, cause Cause) {
	return c.transferFailed(ctx, CauseNoAnswer.With("the transfer's target did not answer within %v", c.bridge.cfg.RingTimeout).EndedBy(ByBridge))
}

// transferAnswered puts the new leg into the old one's place.
func (c *call) transferAnswered(ctx context.Context, ev Event) (over bool, cause Cause) {
	t := c.moving
	terms := t.terms
	terms.Called = ev.Plan
	if ev.Plan == nil {
		return c.transferFailed(ctx, CauseMediaIncompatible.With("the transfer's target answered without media").EndedBy(ByBridge))
	}
	if _, err := Negotiate(terms); err != nil {
		return c.transferFailed(ctx, CauseOf(err).EndedBy(ByBridge))
	}
	return c.moved(ctx, *ev.Plan, t.terms.CalledCodecs, c.offerFor(t.terms), ev)
}

// moved puts the transfer's leg into the place of the one whose peer asked.
func (c *call) moved(ctx context.Context, plan MediaPlan, codecs []Codec, can MediaOffer, ev Event) (over bool, cause Cause) {
	t := c.moving
	old := c.legOf(t.from)
	c.moving, c.rec.Transfer = nil, nil
	t.stop()
	c.replaceLeg(t.from, t.leg, plan, codecs, can)
	c.numbers[t.from] = t.target
	c.rec.Moves = append(c.rec.Moves, Move{By: t.from.party(), Target: t.target, Trunk: t.leg.Info().Trunk, At: c.bridge.cfg.Now()})
	c.summary.Moves = c.rec.Moves
	c.store(ctx)
	c.log.Info("call transferred", "by", t.from.party(), "target", t.target, "via", t.leg.Info().Trunk, "leg", t.leg.Info().ID)
	t.told(nil)
	if !t.left {
		c.dismiss(ctx, old, CauseNormal.With("transferred to %s", t.target).EndedBy(ByBridge))
	}
	if err := c.settle(ctx, t.from, ev); err != nil {
		return true, CauseOf(err).EndedBy(ByBridge)
	}
	return false, Cause{}
}

// transferFailed lets the call go on as it was. If who asked is gone, there is
// nothing left to go on with.
func (c *call) transferFailed(ctx context.Context, cause Cause) (over bool, _ Cause) {
	t := c.moving
	c.moving, c.rec.Transfer = nil, nil
	t.stop()
	c.log.Info("transfer failed", "by", t.from.party(), "target", t.target, "cause", cause.Code, "why", cause.Text)
	c.fill()
	c.letGo(ctx, t, cause)
	refused := CauseTransferRefused.With("to %s: %v", t.target, cause)
	refused.SIP, refused.Q850 = cause.SIP, cause.Q850Cause()
	t.told(refused)
	if t.left {
		c.left[t.from] = true
		return true, cause
	}
	c.note(ctx)
	return false, Cause{}
}

// abortTransfer ends a transfer because its call is over.
func (c *call) abortTransfer(ctx context.Context) {
	t := c.moving
	if t == nil {
		return
	}
	c.moving, c.rec.Transfer = nil, nil
	t.stop()
	cause := CauseCancelled.With("the call that was to be transferred is over").EndedBy(ByBridge)
	c.letGo(ctx, t, cause)
	t.told(CauseTransferRefused.With("to %s: the call is over", t.target))
	c.left[t.from] = c.left[t.from] || t.left
}

// letGo ends the leg that a transfer was about, as far as there is one or will
// be: a dialler that was asked to give up says yet what became of it.
func (c *call) letGo(ctx context.Context, t *transfer, cause Cause) {
	switch {
	case t.handing != nil:
		c.unhand(ctx, t.handing, cause)
	case t.dialling != nil:
		ctx = context.WithoutCancel(ctx)
		c.dismissed.Go(func() {
			if d := <-t.dialling; d.leg != nil {
				c.sendOff(ctx, d.leg, cause)
			}
		})
	case t.leg != nil:
		t.leg.Media().Join(nil)
		c.dismiss(ctx, t.leg, cause)
	}
}

// leaves takes note that who asked for the transfer under way has hung up.
func (c *call) leaves(ctx context.Context, s side, ev Event) {
	c.moving.left = true
	c.note(ctx)
	stored(&ev)
	leg := c.legOf(s)
	leg.Media().Join(nil)
	c.joinEarly()
	c.fill()
	c.dismiss(ctx, leg, ev.Cause)
}

func (t *transfer) stop() {
	t.limit.Stop()
	t.cancel()
}

// dismiss ends a leg that the call has no more use for, beside it. The call
// waits for it before it is over itself.
func (c *call) dismiss(ctx context.Context, leg Leg, cause Cause) {
	ctx = context.WithoutCancel(ctx)
	c.dismissed.Go(func() { c.sendOff(ctx, leg, cause) })
}

func (c *call) sendOff(ctx context.Context, leg Leg, cause Cause) {
	c.endLeg(ctx, leg, cause)
	c.waitClosed(leg)
}

// refuse answers a wish for a transfer that nobody will fulfil.
func (e *Event) refuse(c Cause) {
	if e.Kind == Transfer && e.Transferred != nil {
		e.Transferred(c)
	}
}
