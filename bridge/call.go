package bridge

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"riptide/policy"
)

// State is where a call is in its life.
type State string

// The states, in order. A call never goes back.
const (
	StateNew        State = "new"        // accepted from leg A, not yet dialled
	StateProceeding State = "proceeding" // leg B was asked
	StateAlerting   State = "alerting"   // leg B rings
	StateAnswered   State = "answered"
	StateEnded      State = "ended"
)

// side names the two legs: A called, B is called.
type side uint8

const (
	sideA side = iota
	sideB
)

// sideOf is that of a party.
func sideOf(p Party) side {
	if p == ByCaller {
		return sideA
	}
	return sideB
}

func (s side) party() Party {
	if s == sideA {
		return ByCaller
	}
	return ByCallee
}

// action is what a call does about an event.
type action uint8

const (
	ignore   action = iota
	progress        // tell A how far it is, with early media if there is any
	answer          // answer A
	adapt           // media changed: adjust the pump
	move            // connect the other party elsewhere
	end             // end the other leg
)

// transitions is the whole of a call's behaviour: what an event of a leg means
// in a state, and which state follows. What is not here is ignored. (A new call
// is dialled before its first event is looked at.)
var transitions = map[State]map[side]map[EventKind]struct {
	do   action
	next State
}{
	StateProceeding: {
		sideA: {MediaChanged: {adapt, StateProceeding}, Ended: {end, StateEnded}},
		sideB: {
			Proceeding:   {progress, StateProceeding},
			Alerting:     {progress, StateAlerting},
			Answered:     {answer, StateAnswered},
			MediaChanged: {adapt, StateProceeding},
			Ended:        {end, StateEnded},
		},
	},
	StateAlerting: {
		sideA: {MediaChanged: {adapt, StateAlerting}, Ended: {end, StateEnded}},
		sideB: {
			// 183 after 180: an announcement. The caller hears of it, but the
			// called party keeps ringing.
			Proceeding:   {progress, StateAlerting},
			Alerting:     {progress, StateAlerting},
			Answered:     {answer, StateAnswered},
			MediaChanged: {adapt, StateAlerting},
			Ended:        {end, StateEnded},
		},
	},
	StateAnswered: {
		sideA: {MediaChanged: {adapt, StateAnswered}, Transfer: {move, StateAnswered}, Ended: {end, StateEnded}},
		sideB: {MediaChanged: {adapt, StateAnswered}, Transfer: {move, StateAnswered}, Ended: {end, StateEnded}},
	},
}

// Time limits of a call's own waits. Edges have their own.
const (
	storeTimeout = 2 * time.Second  // one write; then the call goes on without
	endTimeout   = 10 * time.Second // telling a peer that the call is over
	closeTimeout = 40 * time.Second // a leg's last retransmissions: 64*T1 and a bit
)

// call joins two legs. It is owned by the goroutine that runs it.
type call struct {
	bridge *Bridge
	log    *slog.Logger
	rec    CallRecord
	rev    uint64 // of the record in the store

	writing   chan written // one element; nil while nothing is being written
	unwritten bool         // the record has changed since
	unsaved   bool         // the last write failed, and was complained about

	a, b         Leg // b is nil until dialled
	toA, toB     *pump
	planA, planB *MediaPlan
	held         [2]bool     // sides whose peer wants to hear nothing
	fillers      [2]*filler  // towards the sides; nil where the other one is heard
	terms        Negotiation // who can do what; Called is not set
	tuned        [2]tuning   // of the two sides
	summary      Summary
	places       [2]string     // trunks whose limit the call counts against
	stop         chan Cause    // from Shutdown; one element
	leave        chan struct{} // from Leave; one element
	gone         atomic.Bool   // another process has the call, or will have it: peers hear nothing of us
	fenceUp      chan struct{} // one element: gone was set by others
	wanted       chan string   // from Asked: the node that wants the call; one element
	came         time.Time     // when it was taken up here; zero if it began here
	hears        *foyers       // of a call that was another node's
	exact        bool          // its record is all that was sent
	via          string        // the node that gave it, and still reaches its peers
	yielded      bool          // the legs were given away
	regained     chan uint64   // one element: the epoch at which others granted it anew
	over         chan struct{} // closed when the call is out of the table
	claimed      bool          // and not on record as ours yet
	term         uint64        // of the lease under which the call may be touched; 0 without a cluster
	dialling     chan dialled  // one element; nil once it was received

	decision   policy.Decision
	next       []string // trunks of the route that were not tried yet
	intent     Intent   // what was dialled last
	cancelDial context.CancelFunc

	numbers   [2]policy.Number // of the two sides, as the other one knows them
	hops      int              // that a new leg may cross
	moving    *transfer        // under way, or nil
	left      [2]bool          // sides whose leg is over already, and dismissed
	dismissed sync.WaitGroup

	asked chan request  // by others; maxRequests elements
	owned []Leg         // under the bridge's mutex, as deaf
	deaf  bool          // requests are not taken any more
	given [2]bool       // sides whose leg another call has
	taken chan struct{} // closed when it has it on record; nil: none was given
}

// dialled is the outcome of a Dial.
type dialled struct {
	leg      Leg
	err      error
	passport string // that was signed for it, "" for the call's
}

// run is the call's life, from the record to the last wave of both legs.
func (c *call) run(ctx context.Context, trunk Trunk, intent Intent) {
	c.rec.State = StateProceeding
	c.dial(ctx, trunk, intent, nil)
	cause, last := c.loop(ctx)
	c.cancelDial()
	if c.dialling != nil {
		// The dialler was asked to give up, and says what became of it.
		c.b = (<-c.dialling).leg
	}
	c.close(ctx, cause, last)
}

// close ends the call, or lets go of it.
func (c *call) close(ctx context.Context, cause Cause, last *Event) {
	if c.gone.Load() {
		c.relinquish(ctx)
		return
	}
	c.finish(ctx, cause, last)
}

// loop handles events until the call is over. It returns why, and which leg
// needs not be told: its own Ended event, if it sent one.
func (c *call) loop(ctx context.Context) (Cause, *Event) {
	tick := time.NewTimer(c.bridge.cfg.RingTimeout)
	defer tick.Stop()
	talking := false
	for {
		talking = c.firstTick(tick, talking)
		var over bool
		var cause Cause
		var last *Event
		select {
		case d := <-c.dialling:
			over, cause = c.dialled(ctx, d)
		case ev, ok := <-c.eventsOf(sideA):
			over, cause, last = c.handle(ctx, sideA, ev, ok)
		case ev, ok := <-c.eventsOf(sideB):
			over, cause, last = c.handle(ctx, sideB, ev, ok)
		case d := <-c.moving.outcome():
			over, cause = c.transferDialled(ctx, d)
		case h := <-c.moving.handover():
			over, cause = c.handedOver(ctx, h)
		case q := <-c.asked:
			over, cause = c.requested(ctx, q)
		case ev, ok := <-c.moving.events():
			over, cause = c.onTransfer(ctx, ev, ok)
		case <-c.moving.late():
			over, cause = c.transferLate(ctx)
		case w := <-c.writing:
			c.wrote(w)
			c.writeOn(ctx, tick)
		case <-tick.C:
			over, cause = c.ticked(ctx)
			tick.Reset(c.checkpoint())
		case cause = <-c.stop:
			over, cause = true, cause.EndedBy(ByBridge)
		case <-c.fenceUp: // gone says it
		case to := <-c.wanted:
			over = c.giving(ctx, to)
		case epoch := <-c.regained:
			c.goesOnAs(ctx, epoch)
		case <-c.leave:
			over, cause = true, c.leaving(ctx)
		}
		if over || c.gone.Load() {
			return cause, last
		}
	}
}

// firstTick sets the first checkpoint of a call that is answered by now.
func (c *call) firstTick(tick *time.Timer, set bool) bool {
	if set || c.rec.State != StateAnswered {
		return set
	}
	tick.Reset(firstCheckpoint + c.checkpoint()%firstCheckpoint)
	return true
}

// ticked gives up a call that nobody answers, and notes one that is answered.
func (c *call) ticked(ctx context.Context) (over bool, cause Cause) {
	if c.rec.State != StateAnswered {
		return true, CauseNoAnswer.With("not answered within %v", c.bridge.cfg.RingTimeout).EndedBy(ByBridge)
	}
	c.note(ctx)
	return false, Cause{}
}

// dialled takes the outcome of the dialling of leg B.
func (c *call) dialled(ctx context.Context, d dialled) (over bool, cause Cause) {
	c.dialling = nil
	if d.err != nil {
		cause = c.dialFailed(d.err)
		return !c.reroute(ctx, cause), cause
	}
	c.b = d.leg
	if d.passport != "" {
		c.rec.Passport = d.passport
	}
	c.bridge.owns(c, d.leg)
	c.joinB()
	c.note(ctx)
	return false, Cause{}
}

func (c *call) dialFailed(err error) Cause {
	cause := CauseOf(err)
	if cause.By == "" {
		cause.By = ByCallee
	}
	return cause
}

// handle does what the table says about one event.
func (c *call) handle(ctx context.Context, from side, ev Event, ok bool) (over bool, cause Cause, last *Event) {
	if !ok {
		// A leg that closes without a word has lost its peer.
		return true, CauseSignallingLost.With("the %s's leg closed", from.party()).EndedBy(ByBridge), nil
	}
	t, known := transitions[c.rec.State][from][ev.Kind]
	if !known {
		c.log.Debug("event ignored", "from", from.party(), "event", ev.Kind, "state", c.rec.State)
		stored(&ev)
		ev.refuse(CauseTransferRefused.With("the call is not answered"))
		return false, Cause{}, nil
	}
	if t.do == end && c.moving != nil && c.moving.from == from {
		c.leaves(ctx, from, ev)
		return false, Cause{}, nil
	}
	if t.do == move {
		stored(&ev)
		c.startTransfer(ctx, from, ev)
		return false, Cause{}, nil
	}
	if t.do == end {
		return c.legEnded(ctx, from, ev)
	}
	over, cause = c.proceed(ctx, from, ev, t.do, t.next)
	return over, cause, nil
}

// proceed takes an event that the call goes on with: on record first, then to
// the other leg.
func (c *call) proceed(ctx context.Context, from side, ev Event, do action, next State) (over bool, cause Cause) {
	changed := c.rec.State != next || ev.Plan != nil
	c.rec.State = next
	c.adopt(from, ev)
	if ev.Kind == MediaChanged {
		c.held[from] = ev.Held
	}
	c.fill()
	if do == answer {
		c.rec.Answered = c.bridge.cfg.Now()
		c.rec.Answer = ev.facts()
	}
	switch {
	case changed && (do == answer || ev.Stored != nil):
		c.store(ctx)
	case changed:
		c.note(ctx)
	}
	if c.gone.Load() {
		return true, Cause{} // whoever has the call by now answers
	}
	stored(&ev)
	err := c.act(ctx, do, ev)
	if err == nil && ev.Plan != nil {
		err = c.settle(ctx, from, ev)
	}
	if err != nil {
		return true, CauseOf(err).EndedBy(ByBridge)
	}
	return false, Cause{}
}

// legEnded ends the call with its leg, unless another trunk may have it.
func (c *call) legEnded(ctx context.Context, from side, ev Event) (over bool, cause Cause, last *Event) {
	cause = ev.Cause
	if cause.By == "" {
		cause.By = from.party()
	}
	if from == sideB && c.reroute(ctx, cause) {
		stored(&ev)
		return false, Cause{}, nil
	}
	return true, cause, &ev
}

// act tells leg A what leg B did.
func (c *call) act(ctx context.Context, do action, ev Event) error {
	switch do {
	case progress:
		if ev.Kind == Alerting && c.summary.Alerting.IsZero() {
			c.summary.Alerting = c.bridge.cfg.Now()
		}
		if ev.Kind == Proceeding && c.early() == nil {
			return nil // the caller knows since its 100 or its first event
		}
		return c.a.Progress(ctx, Progress{Alerting: ev.Kind == Alerting, Early: c.early()})
	case answer:
		if c.planA == nil {
			return CauseMediaIncompatible.With("leg %s answered without media", c.b.Info().ID)
		}
		return c.a.Answer(ctx, Answer{Media: *c.planA, Facts: ev.facts()})
	}
	return nil
}

// early is the plan of early media towards A: nil as long as B sends none.
func (c *call) early() *MediaPlan {
	if c.planB == nil {
		return nil
	}
	return c.planA
}

// adopt takes over the media an event brought, on both legs.
func (c *call) adopt(from side, ev Event) {
	if ev.Plan == nil {
		return
	}
	if from == sideA {
		if ev.Offer != nil {
			c.terms.Caller = *ev.Offer
		}
		if c.planA == nil {
			return // its plan is made when there is one of leg B
		}
		c.planA = ev.Plan
		c.toA.use(*ev.Plan)
		return
	}
	c.planB = ev.Plan
	c.toB.use(*ev.Plan)
	if c.planA == nil {
		// Leg A's plan is made once: what a SIP peer was told in a 183 it must
		// be told again in the 200.
		terms := c.terms
		terms.Called = ev.Plan
		media, err := Negotiate(terms)
		if err != nil {
			c.log.Debug("no common codec yet", "error", err)
			return
		}
		c.planA = &media.Plan
		c.toA.use(media.Plan)
	}
	c.join()
}

// joinB makes the pumps of the two directions.
func (c *call) joinB() {
	c.toB = c.bridge.pump(c.b.Media())
}

// join lets media flow. Joining twice is harmless.
func (c *call) join() {
	if c.b == nil || c.planA == nil || c.planB == nil {
		return
	}
	c.a.Media().Join(c.toB)
	c.b.Media().Join(c.toA)
}

// stored acknowledges an event to the edge that waits for it.
func stored(ev *Event) {
	if ev != nil && ev.Stored != nil {
		ev.Stored()
	}
}
