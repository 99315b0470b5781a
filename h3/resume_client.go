package h3

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"riptide/bridge"
	"riptide/h3/advert"
	"riptide/h3/agree"
	"riptide/h3/media"
)

// A client that is started again attaches to the calls of the process before it
// at the servers where they live on: with their cookies, and numbers that are
// ahead of all that was used.

var _ bridge.Resumer = (*Client)(nil)

// legState is the client's part of a call record.
type legState struct {
	Version          int               `json:"v"`
	Call             string            `json:"call"` // URI, after migrations
	TG               string            `json:"tg"`
	Handler          string            `json:"handler"`
	State            string            `json:"state"`
	ClientDirectives string            `json:"clientDirectives"`
	ServerDirectives string            `json:"serverDirectives"`
	Cookies          map[string]string `json:"cookies,omitempty"`
	Epoch            uint64            `json:"epoch"`
	Sent             uint64            `json:"sent"` // seq of the last event

	// From version 2 on.
	Advert string          `json:"advert,omitempty"` // of the handler
	Tag    string          `json:"tag,omitempty"`    // of the agreement on media
	Trace  bridge.Trace    `json:"trace,omitzero"`   // the keys of sealed media go by it
	Hops   int             `json:"hops,omitempty"`
	Rungs  map[string]bool `json:"rungs,omitempty"` // of the media ladder: what works there, and what does not
	Peer   peerState       `json:"peer,omitzero"`
}

// peerState is what a call needs of the TG document.
type peerState struct {
	Media        []string `json:"media,omitempty"`
	ParkedGets   int      `json:"parkedGets,omitempty"`
	MediaTimeout int      `json:"mediaTimeout,omitempty"`
	Profile      int      `json:"profile,omitempty"`
}

const legStateVersion = 2

// recalled is what the records of a trunk's calls say of the peer.
type recalled struct {
	doc      TG
	handlers map[string]*handlers // by TG
}

// Record is what another process needs to attach to this call.
func (l *clientLeg) Record() bridge.LegRecord {
	doc := l.t.doc()
	l.mu.Lock()
	s := legState{
		Version: legStateVersion, Call: l.uri, TG: l.tg.String(), Handler: l.desc.Handler, State: l.state,
		ClientDirectives: l.desc.ClientDirectives, ServerDirectives: l.desc.ServerDirectives,
		Epoch: l.epoch, Sent: l.sent,
		Advert: l.handler.text, Tag: l.tag, Trace: l.info.Trace, Hops: l.info.Hops,
		Peer: peerState{Media: doc.Media, ParkedGets: doc.ParkedGets, MediaTimeout: doc.MediaTimeout, Profile: doc.Profile},
	}
	l.mu.Unlock()
	plan := l.first.plan
	if l.media != nil {
		_, plan = l.media.agreed.current()
	}
	if u, err := url.Parse(s.Call); err == nil {
		s.Cookies = l.jar.Values(u)
		s.Rungs = l.t.client.ladder.Known(media.Authority(u))
	}
	state, _ := json.Marshal(s) // strings and numbers only
	return bridge.LegRecord{
		Protocol: l.info.Protocol, Trunk: l.info.Trunk, ID: l.info.ID,
		From: l.info.From, To: l.info.To, Plan: &plan, State: state,
	}
}

// Resume attaches to a call that another process placed. It does not wait for
// the peer.
func (c *Client) Resume(_ context.Context, r bridge.Resumption) (bridge.Leg, error) {
	t, err := c.trunk(r.Trunk)
	if err != nil {
		return nil, err
	}
	l, err := t.revive(r)
	if err != nil {
		return nil, fmt.Errorf("continue call %s over trunk %q: %w", r.ID, r.Trunk, err)
	}
	l.hears, l.detour = r.Hears, r.Detour
	if !t.start(l) {
		l.give(l.held())
		return nil, bridge.CauseShuttingDown.With("trunk %q: %v", r.Trunk, errPoolClosed)
	}
	return l, nil
}

// revive makes the leg of a record.
func (t *trunk) revive(r bridge.Resumption) (*clientLeg, error) {
	st, err := parseLegState(r.LegRecord.State)
	if err != nil {
		return nil, bridge.CauseInternal.With("%v", err)
	}
	tg, _ := parseURI(st.TG)
	at, _ := parseURI(st.Call)
	d, wire, err := st.agreed()
	if err != nil {
		return nil, bridge.CauseInternal.With("its directives: %v", err)
	}
	adv, text, err := st.advertised(wire)
	if err == nil {
		err = d.Follow(adv)
	}
	if err != nil {
		return nil, bridge.CauseInternal.With("its handler: %v", err)
	}
	if st.Trace.ID == "" {
		st.Trace = r.Trace
	}
	now := t.client.cfg.Now()
	jar := newCookieJar(st.Trace.Child())
	jar.Restore(at, st.Cookies)
	l := t.newLeg(tg, st.Call, jar, st.State)
	// Where we have keys the wire is sealed, and the bridge's side is clear unless
	// the call came sealed.
	l.keyed = t.cfg.Keys != nil && wire.Sealed && (r.Plan == nil || !r.Plan.Sealed)
	plan := wire
	plan.Sealed = wire.Sealed && !l.keyed
	offer := agree.Offer(adv, wire.Sealed)
	offer.Sealed = plan.Sealed
	l.info = bridge.LegInfo{
		ID: r.ID, Protocol: protocolRIPT, Trunk: t.cfg.Name, From: r.From, To: r.To,
		Media: offer, Hops: st.Hops, Trace: st.Trace,
	}
	l.desc = CallDescription{URI: st.Call, Handler: st.Handler, ClientDirectives: st.ClientDirectives, ServerDirectives: st.ServerDirectives}
	l.tag = l.desc.tagOr(st.Tag)
	l.first.d, l.first.plan = d, plan
	l.rank, l.resumed, l.known = rankOf(st.State), true, true
	l.epoch, l.sent = numberedFrom(st.Epoch, now), numberedFrom(st.Sent, now)
	t.recall(st, at)
	l.handler = t.adopt(tg, st.Handler, text, adv)
	return l, nil
}

func rankOf(state string) int {
	switch state {
	case eventAlerting:
		return rankAlerting
	case eventAnswered:
		return rankAnswered
	}
	return rankProceeding
}

// recall takes what a record says of the peer, where nothing newer is known:
// the call shall not wait until all of that has been found out once more.
func (t *trunk) recall(st legState, at *url.URL) {
	t.client.ladder.Recall(media.Authority(at), st.Rungs)
	t.mu.Lock()
	defer t.mu.Unlock()
	if st.Peer.Profile > 0 {
		t.recalled.doc = TG{Media: st.Peer.Media, ParkedGets: st.Peer.ParkedGets, MediaTimeout: st.Peer.MediaTimeout, Profile: st.Peer.Profile}
	}
}

// adopt takes the handler of a call, which the process before us registered.
func (t *trunk) adopt(tg *url.URL, uri, text string, adv advert.Advert) *handler {
	t.mu.Lock()
	hs := t.known.handlers
	if hs == nil || t.known.tg == nil || t.known.tg.String() != tg.String() {
		if t.recalled.handlers == nil {
			t.recalled.handlers = map[string]*handlers{}
		}
		if hs = t.recalled.handlers[tg.String()]; hs == nil {
			hs = &handlers{}
			t.recalled.handlers[tg.String()] = hs
		}
	}
	t.mu.Unlock()
	return hs.adopt(uri, text, adv, t.client.cfg.Now())
}

// handlersAt is the set of handlers at a TG to begin with: that of calls that go
// on there, or an empty one.
func (t *trunk) handlersAt(tg *url.URL) *handlers {
	t.mu.Lock()
	defer t.mu.Unlock()
	hs := t.recalled.handlers[tg.String()]
	if hs == nil {
		return &handlers{}
	}
	delete(t.recalled.handlers, tg.String())
	return hs
}

func (hs *handlers) adopt(uri, text string, adv advert.Advert, now time.Time) *handler {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	for _, h := range hs.all {
		if h.uri == uri && h.text == text {
			h.users++
			return h
		}
	}
	h := &handler{of: hs, text: text, adv: adv, uri: uri, users: 1, used: now}
	hs.all = append(hs.all, h)
	return h
}

// parseLegState reads the client's part of a record, of this release or of an
// older one. Its errors quote nothing of it.
func parseLegState(raw []byte) (legState, error) {
	var st legState
	if len(raw) > maxLegState {
		return st, fmt.Errorf("record of a leg: %d bytes, more than %d", len(raw), maxLegState)
	}
	if json.Unmarshal(raw, &st) != nil {
		return st, fmt.Errorf("record of a leg: not what a RIPT client writes")
	}
	if st.Version < 1 || st.Version > legStateVersion {
		return st, fmt.Errorf("record of a leg: version %d, this release reads up to %d", st.Version, legStateVersion)
	}
	tg, err := parseURI(st.TG)
	if err != nil {
		return st, fmt.Errorf("record of a leg: no TG")
	}
	if _, err := sameSite(st.Call, tg); err != nil {
		return st, fmt.Errorf("record of a leg: no URI of a call at its TG")
	}
	if _, err := sameSite(st.Handler, tg); err != nil {
		return st, fmt.Errorf("record of a leg: no handler at its TG")
	}
	if st.Hops < 0 || st.Hops > maxHops {
		return st, fmt.Errorf("record of a leg: %d hops", st.Hops)
	}
	switch st.State {
	case eventProceeding, eventAlerting, eventAnswered:
	default:
		return st, fmt.Errorf("record of a leg: the call is in no state in which it could go on")
	}
	return st, nil
}

// agreed is the agreement on media, and what it comes to on the wire.
func (st legState) agreed() (agree.Directives, bridge.MediaPlan, error) {
	d, err := agree.Read(st.ClientDirectives, st.ServerDirectives)
	if err != nil {
		return agree.Directives{}, bridge.MediaPlan{}, err
	}
	plan, err := d.Plan(false)
	return d, plan, err
}

// advertised is what the handler of the call says. A record of the first version
// does not have it: the handler can do what it does.
func (st legState) advertised(wire bridge.MediaPlan) (advert.Advert, string, error) {
	text := st.Advert
	if text == "" {
		o := wire.Offer()
		o.Sealed = wire.Sealed
		text = agree.Advert(o).String()
	}
	adv, err := advert.ParseAdvert(text)
	return adv, text, err
}
