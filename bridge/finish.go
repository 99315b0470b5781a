package bridge

import (
	"context"
	"log/slog"
	"time"
)

// finish ends what is left of the call: the record first, then the leg that
// ended is acknowledged, then the other is told; last, both are waited for.
func (c *call) finish(ctx context.Context, cause Cause, last *Event) {
	ctx = context.WithoutCancel(ctx) // a shutdown must still end calls cleanly
	answered := c.rec.State == StateAnswered
	c.rec.State = StateEnded
	c.rec.Ended = c.bridge.cfg.Now()
	c.abortTransfer(ctx)
	c.bridge.disowned(c)
	c.rec.Cause = &cause
	c.store(ctx)
	if c.gone.Load() {
		c.relinquish(ctx)
		return
	}
	stored(last)

	c.unjoin()
	sides := []side{sideA, sideB}
	if c.b == nil {
		sides = sides[:1]
	}
	for _, s := range sides {
		if !c.left[s] {
			c.endLeg(ctx, c.legOf(s), causeFor(cause, s.party(), answered))
		}
	}
	c.summarise(cause)
	for _, s := range sides {
		if !c.left[s] {
			c.waitClosed(c.legOf(s))
		}
	}
	c.dismissed.Wait()
	c.summary.A, c.summary.B = c.a.Media().Stats(), MediaStats{}
	if c.b != nil {
		c.summary.B = c.b.Media().Stats()
	}
	c.awaitTaken()
	c.forget(ctx)
}

// causeFor is what one party is told. A called party whose caller hung up
// before the answer sees a cancelled call.
func causeFor(c Cause, told Party, answered bool) Cause {
	if !answered && told == ByCallee && c.By == ByCaller && c.Code == CauseNormal.Code {
		c.Code = CauseCancelled.Code
	}
	return c
}

func (c *call) endLeg(ctx context.Context, leg Leg, cause Cause) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if c.gone.Load() {
		abandon(leg)
		return
	}
	if err := leg.End(ctx, cause); err != nil {
		c.log.Warn("the peer may not know that the call is over", "leg", leg.Info().ID, "trunk", leg.Info().Trunk, "error", err)
	}
}

// unjoin ends the flow of media.
func (c *call) unjoin() {
	if c.yielded {
		return
	}
	if !c.given[sideA] {
		c.a.Media().Join(nil)
	}
	if c.b != nil && !c.given[sideB] {
		c.b.Media().Join(nil)
	}
	c.stopMedia()
}

// stopMedia ends what hands frames from side to side.
func (c *call) stopMedia() {
	for _, f := range c.fillers {
		f.close()
	}
	c.fillers = [2]*filler{}
	for _, p := range []*pump{c.toA, c.toB} {
		if p != nil {
			p.close()
		}
	}
}

// waitClosed takes a leg's last events, so that no edge waits for us, until it
// is over.
func (c *call) waitClosed(leg Leg) {
	limit := time.NewTimer(closeTimeout)
	defer limit.Stop()
	for {
		select {
		case ev, ok := <-leg.Events():
			if !ok {
				return
			}
			stored(&ev)
			ev.refuse(CauseTransferRefused.With("the call is over"))
		case <-limit.C:
			c.log.Error("a leg did not close after its call ended", "leg", leg.Info().ID, "protocol", leg.Info().Protocol)
			return
		}
	}
}

// forget removes the record of a call that is over on both sides.
func (c *call) forget(ctx context.Context) {
	if c.unsaved && !c.bridge.mayRemove(ctx, c.rec.ID, c.rec.Epoch, c.log) {
		return
	}
	c.bridge.removeRecord(ctx, c.rec.ID, c.rec.Epoch, c.log)
}

// Summary is a call as it was: for logs, metrics and call records.
type Summary struct {
	ID               string
	Trace            string // W3C trace-id, and SIP's session id of the caller
	From, To         string
	TrunkA, TrunkB   string
	Identity         string // status of the caller's identity as it came in
	Created          time.Time
	Alerting         time.Time // zero: never rang
	Answered         time.Time // zero: never answered
	Ended            time.Time
	Cause            Cause
	A, B             MediaStats
	Passed, Dropped  uint64 // frames the pumps handed on, and could not
	ProtoA, ProtoB   string
	Converted, Noise uint64 // frames converted between codecs, rendered from comfort noise
	Moves            []Move // transfers that took place
}

// SetUp is the time from the request to the answer, 0 if there was none.
func (s Summary) SetUp() time.Duration {
	if s.Answered.IsZero() {
		return 0
	}
	return s.Answered.Sub(s.Created)
}

// Talk is the time from the answer to the end.
func (s Summary) Talk() time.Duration {
	if s.Answered.IsZero() {
		return 0
	}
	return s.Ended.Sub(s.Answered)
}

func (c *call) summarise(cause Cause) {
	s := &c.summary
	s.Answered, s.Ended, s.Cause = c.rec.Answered, c.rec.Ended, cause
	if c.b != nil {
		s.TrunkB, s.ProtoB = c.b.Info().Trunk, c.b.Info().Protocol
	}
	s.count(c.toA)
	s.count(c.toB)
}

// count adds what a pump did.
func (s *Summary) count(p *pump) {
	if p == nil {
		return
	}
	s.Passed += p.passed.Load()
	s.Dropped += p.dropped.Load()
	s.Converted += p.converted.Load()
	s.Noise += p.noise.Load()
}

// logEnd is the second of a call's two info lines.
func (s Summary) logEnd(log *slog.Logger) {
	status := 200
	if s.Answered.IsZero() {
		status, _ = s.Cause.SIPStatus()
	}
	log.Info("call ended",
		"cause", s.Cause.Code, "by", s.Cause.By, "text", s.Cause.Text, "status", status, "q850", s.Cause.Q850Cause(),
		"setup", s.SetUp().Round(time.Millisecond), "talk", s.Talk().Round(time.Millisecond),
		mediaGroup("a", s.A, s.Talk()), mediaGroup("b", s.B, s.Talk()),
		"converted", s.Converted, "unplayable", s.Dropped)
}

func mediaGroup(name string, m MediaStats, talk time.Duration) slog.Attr {
	var words slog.Attr // none is left out
	if w := m.Words(talk); w != "" {
		words = slog.String("media", w)
	}
	return slog.Group(name, words,
		"carrier", m.Carrier, "security", m.Security, "received", m.Received, "lost", m.Lost, "sent", m.Sent,
		"sendDropped", m.SendDropped, "peerLost", m.PeerLost, "unheard", m.Unheard, "duplicate", m.Duplicate, "foreign", m.Foreign,
		"malformed", m.Malformed, "unknownPayload", m.UnknownPayload, "undecrypted", m.Undecrypted, "late", m.Late, "jitter", m.Jitter.Round(time.Microsecond))
}
