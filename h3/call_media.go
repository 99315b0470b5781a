package h3

import (
	"slices"

	"riptide/bridge"
	"riptide/h3/advert"
	"riptide/h3/agree"
	"riptide/h3/media"
)

// terms are what the media of a call can be at this end: the client's handler
// against what our end can do.
type terms struct {
	handler string   // URI
	advert  string   // what the handler says, for the record
	media   []string // carriers that the client can use; empty: it does not say
	client  advert.Advert
	codecs  []bridge.Codec // our policy
	keyed   bool           // we are an end of the call: sealed on the wire, clear at the bridge
}

// termsOf are the terms of a call on a TG under a handler.
func (g *terminalGroup) termsOf(uri string, h *registration) terms {
	return terms{
		handler: uri, advert: h.Handler.Advertisement, media: h.Handler.Media, client: agree.Only(h.adv, g.cfg.Reachable),
		codecs: g.cfg.Codecs, keyed: g.cfg.Keys != nil,
	}
}

// takes tells whether the client's handler allows a carrier.
func (c *serverCall) takes(r media.Rung) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r == media.PutGet || len(c.terms.media) == 0 || slices.Contains(c.terms.media, r.String())
}

// decide makes directives within the terms, the best that both can do.
func (t terms) decide() (agree.Directives, bridge.MediaPlan, error) {
	d, err := agree.Decide(t.client, t.server(), t.codecs)
	if err != nil {
		return agree.Directives{}, bridge.MediaPlan{}, t.unsealed(err)
	}
	return t.planned(d)
}

// server is what our end can do.
func (t terms) server() advert.Advert {
	a := agree.Server(t.client, t.codecs)
	if t.keyed {
		a = agree.SealedOnly(a)
	}
	return a
}

// planned is what directives come to for the bridge.
func (t terms) planned(d agree.Directives) (agree.Directives, bridge.MediaPlan, error) {
	plan, err := d.Plan(true)
	plan.Sealed = plan.Sealed && !t.keyed
	return d, plan, err
}

// unsealed says what is wrong with a handler of which nothing is sealed, where
// everything must be.
func (t terms) unsealed(err error) error {
	if t.keyed && len(agree.Offer(t.client, true).Speech) == 0 {
		return bridge.CauseMediaSealed.With("calls to this TG are encrypted end to end, and handler %s has no codec with the flag %q: seal what it sends (trunks.NAME.ript.e2e-keys)", t.handler, advert.Sealed)
	}
	return err
}

// afresh makes directives for a call that runs already. The codec in use stays
// in use wherever the handler has it: the other side of the call need not change
// then. Video that the other side did not want does not come back to the same
// handler.
func (t terms) afresh(running bridge.MediaPlan, same bool) (agree.Directives, bridge.MediaPlan, error) {
	order := []bridge.Codec{running.Speech}
	if running.Video != nil {
		order = append(order, running.Video.Codec)
	}
	all := t.codecs
	if len(all) == 0 {
		all = bridge.Codecs()
	}
	for _, c := range all {
		if !slices.Contains(order, c) && !(c.Kind() == bridge.Video && same && running.Video == nil) {
			order = append(order, c)
		}
	}
	if d, err := agree.Decide(t.client, t.server(), order); err == nil {
		if d, plan, err := t.planned(d); err == nil && plan.Speech == running.Speech {
			return d, plan, nil
		}
	}
	return t.decide()
}

// offer is what the bridge may plan for the client, sealed or not.
func (t terms) offer(sealed bool) bridge.MediaOffer {
	o := agree.Offer(agree.Ordered(t.client, t.codecs), sealed || t.keyed)
	o.Sealed = sealed
	return o
}

// directFor makes directives for a plan of the bridge's.
func (t terms) directFor(plan bridge.MediaPlan) (agree.Directives, bridge.MediaPlan, error) {
	o := plan.Offer()
	o.Sealed = o.Sealed || t.keyed
	d, err := agree.Decide(t.client, agree.Advert(o), nil)
	if err != nil {
		return agree.Directives{}, bridge.MediaPlan{}, err
	}
	return t.planned(d)
}

// follow is what can be had of an offer of the bridge's: its first codec that
// the client's handler has.
func (t terms) follow(o bridge.MediaOffer) (agree.Directives, bridge.MediaPlan, error) {
	can := t.offer(o.Sealed)
	for _, c := range o.Speech {
		want := bridge.MediaPlan{Speech: c, Limits: o.Limit(c).Params, Ptime: o.Ptime, Sealed: o.Sealed}
		if len(o.Video) > 0 {
			want.Video = &o.Video[0]
		}
		if plan, err := bridge.PlanFor(can, want); err == nil && plan.Speech == c {
			return t.directFor(plan)
		}
	}
	return agree.Directives{}, bridge.MediaPlan{}, bridge.CauseMediaIncompatible.With("handler %s has none of %v", t.handler, o.Speech)
}

// sameMedia tells whether two plans need no other directives: what they differ
// in is for one end to know.
func sameMedia(p, q bridge.MediaPlan) bool {
	video := p.Video == nil && q.Video == nil ||
		p.Video != nil && q.Video != nil && p.Video.Codec == q.Video.Codec
	return video && p.Speech == q.Speech && p.Sealed == q.Sealed
}

// agreed says what the call is to be on from now: it changes the description,
// the port, and tells the bridge, if told is not nil, with a function that is
// called when the change is on record. The caller holds mu, and announces it.
func (c *serverCall) agreed(t terms, d agree.Directives, plan bridge.MediaPlan) {
	c.terms = t
	c.desc.Handler = t.handler
	c.desc.ClientDirectives, c.desc.ServerDirectives = d.ToServer.String(), d.ToClient.String()
	c.media.change(d, plan)
}

// announceChange tells every byway of the agreement in force. The caller holds
// mu.
func (c *serverCall) announceChange() {
	ev := Event{
		Type: eventHandlerChanged, Handler: c.desc.Handler, ETag: c.tag(),
		ClientDirectives: c.desc.ClientDirectives, ServerDirectives: c.desc.ServerDirectives,
	}
	c.changed = c.announce(ev)
}

// agreedIn takes the agreement over that another event announced.
func (ev *Event) agreedIn(change Event) {
	ev.Handler, ev.ETag = change.Handler, change.ETag
	ev.ClientDirectives, ev.ServerDirectives = change.ClientDirectives, change.ServerDirectives
}

// tag is the entity tag of the agreement. The caller holds mu.
func (c *serverCall) tag() string {
	return agreementTag(c.desc.Handler, c.desc.ClientDirectives, c.desc.ServerDirectives)
}

// replan puts a plan of the bridge's in force, if the client's directives say
// otherwise: it answered with another codec than was foreseen, or without the
// video. The caller holds mu.
func (c *serverCall) replan(plan bridge.MediaPlan) error {
	if _, now := c.media.current(); sameMedia(now, plan) {
		return nil
	}
	d, got, err := c.terms.directFor(plan)
	if err != nil {
		return err
	}
	c.agreed(c.terms, d, got)
	c.announceChange()
	return nil
}

// tellChange tells the bridge what the client's media are now. It is false
// where the bridge has not yet taken up the last changes. The caller holds mu.
func (c *serverCall) tellChange(stored func()) bool {
	if len(c.events) >= callEvents {
		return false
	}
	_, plan := c.media.current()
	offer := c.terms.offer(plan.Sealed)
	c.events <- bridge.Event{Kind: bridge.MediaChanged, At: c.now(), Plan: &plan, Offer: &offer, Stored: stored}
	return true
}

// adapt is the bridge's wish for other media (bridge.Adapter). A handler that
// does not have it leaves everything as it is.
func (c *serverCall) adapt(o bridge.MediaOffer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != live {
		return bridge.CauseCancelled.With("the caller has ended call %s", c.uri)
	}
	if len(c.events) >= callEvents {
		return bridge.CauseOverloaded.With("call %s changes its media faster than that can be handled", c.uri)
	}
	before, _ := c.media.current()
	if d, plan, err := c.terms.follow(o); err == nil && !d.Equal(before) {
		c.agreed(c.terms, d, plan)
		c.announceChange()
	}
	c.tellChange(nil)
	return nil
}
