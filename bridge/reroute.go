package bridge

import (
	"context"
	"errors"
	"fmt"

	"riptide/policy"
)

// choice is a trunk that a call can go to, and on what terms.
type choice struct {
	name  string
	trunk Trunk
	terms Negotiation
	offer MediaOffer
}

// choose finds out whether a call can go to a trunk.
func (b *Bridge) choose(info LegInfo, name string) (choice, error) {
	trunks := b.rules.Load().Trunks
	if trunks == nil {
		return choice{}, CauseShuttingDown.With("still starting")
	}
	trunk, ok := trunks[name]
	if !ok || trunk.Dialer == nil {
		return choice{}, CauseInternal.With("route leads to trunk %q, which no edge serves", name)
	}
	terms := Negotiation{Caller: info.Media, CallerCodecs: b.codecs(info.Trunk), CalledCodecs: trunk.Codecs, Clear: !trunk.Seals, Convert: Convertible()}
	media, err := Negotiate(terms)
	if errors.Is(err, CauseMediaSealed) {
		return choice{}, CauseMediaSealed.With("the call from trunk %q is encrypted end to end, which trunk %q cannot carry: give this end the keys (trunks.%s.ript.e2e-keys)", info.Trunk, name, info.Trunk)
	}
	if err != nil {
		return choice{}, fmt.Errorf("call from trunk %q over trunk %q: %w", info.Trunk, name, err)
	}
	return choice{name, trunk, terms, media.Offer}, nil
}

// begin makes a call of a leg, to the first trunk of its route that can take it.
// What is wrong with the first one is what the caller hears, if none can.
func (b *Bridge) begin(ctx context.Context, leg Leg, d policy.Decision) (*call, choice, error) {
	info := leg.Info()
	var failed error
	names := append([]string{d.Trunk}, d.Next...)
	for i, name := range names {
		d.Trunk = name
		pick, err := b.choose(info, name)
		var passport string
		if err == nil {
			passport, err = b.passport(ctx, info, d, pick.trunk)
		}
		if err == nil {
			c := b.newCall(leg, d, passport)
			c.terms, c.decision, c.next = pick.terms, d, names[i+1:]
			c.tuned[sideA].can, c.tuned[sideB].can = info.Media.Restrict(pick.terms.CallerCodecs), pick.offer
			if err = b.admit(c); err == nil {
				return c, pick, nil
			}
		}
		if failed == nil {
			failed = err
		}
	}
	return nil, choice{}, failed
}

// dial asks an edge to place the call. passport, if not nil, signs first.
func (c *call) dial(ctx context.Context, trunk Trunk, in Intent, passport func(context.Context) (string, error)) {
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan dialled, 1)
	c.dialling, c.cancelDial, c.intent = answers, cancel, in
	go func() {
		var d dialled
		if passport != nil {
			in.Passport, d.err = passport(ctx)
			d.passport = in.Passport
		}
		if d.err == nil {
			d.leg, d.err = trunk.Dialer.Dial(ctx, in)
		}
		answers <- d
	}()
}

// reroute sends a call that a trunk did not take on to the next one of its
// route. It does so for the causes that the route names, and not once the caller
// has heard something that only the first could say, unless the route says so.
func (c *call) reroute(ctx context.Context, cause Cause) bool {
	status, _ := cause.SIPStatus()
	switch {
	case len(c.next) == 0 || c.rec.State == StateAnswered || !c.decision.Reroute.Wants(status):
		return false
	case c.planB != nil && !c.decision.Reroute.AfterMedia:
		return false
	}
	for len(c.next) > 0 {
		name := c.next[0]
		c.next = c.next[1:]
		pick, err := c.bridge.choose(c.a.Info(), name)
		if err == nil {
			err = c.bridge.move(c, name)
		}
		if err != nil {
			c.log.Info("the call cannot go to the next trunk of its route", "trunk", name, "why", err)
			continue
		}
		c.log.Info("call goes on to the next trunk", "from", c.summary.TrunkB, "to", name, "cause", cause.Code, "why", cause.Text)
		c.leaveB(ctx, cause)
		c.summary.TrunkB, c.decision.Trunk = name, name
		c.terms, c.tuned[sideB].can = pick.terms, pick.offer
		in := c.intent
		in.Trunk, in.Media = name, pick.offer
		info, d := c.a.Info(), c.decision
		c.dial(ctx, pick.trunk, in, func(ctx context.Context) (string, error) { return c.bridge.passport(ctx, info, d, pick.trunk) })
		c.note(ctx)
		return true
	}
	return false
}

// leaveB lets go of a leg B that came to nothing.
func (c *call) leaveB(ctx context.Context, cause Cause) {
	c.cancelDial()
	if c.b == nil {
		return
	}
	c.a.Media().Join(nil)
	c.b.Media().Join(nil)
	c.summary.count(c.toB)
	c.toB.close()
	c.dismiss(ctx, c.b, cause)
	c.b, c.toB, c.planB, c.rec.B = nil, nil, nil, nil
	c.held[sideB] = false
}
