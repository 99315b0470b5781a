package h3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/h3/media"
)

// placeLimit bounds all attempts to place one call.
const placeLimit = 2 * requestTimeout

// Dial places a call over in.Trunk. The returned leg's media are open, and its
// events begin with what the peer makes of the call. If ctx ends while the
// peer has not answered yet, Dial returns at once, and the call, should it
// come into being, is ended.
func (c *Client) Dial(ctx context.Context, in bridge.Intent) (bridge.Leg, error) {
	t, err := c.trunk(in.Trunk)
	if err != nil {
		return nil, err
	}
	k, err := t.check(in)
	if err != nil {
		return nil, err
	}
	t.count(func(t *trunk) { t.dialled++ })
	type result struct {
		leg *clientLeg
		err error
	}
	placed := make(chan result)
	ok := c.spawn(func() {
		work, cancel := context.WithTimeout(c.ctx, placeLimit)
		defer cancel()
		leg, err := t.place(work, ctx, in, k)
		select {
		case placed <- result{leg, err}:
		case <-ctx.Done():
			if leg != nil {
				t.abandon(leg)
			}
		}
	})
	if !ok {
		return nil, bridge.CauseShuttingDown.With("trunk %q: %v", in.Trunk, errPoolClosed)
	}
	select {
	case r := <-placed:
		if r.err != nil {
			t.count(func(t *trunk) { t.refused++ })
			return nil, fmt.Errorf("call %s over trunk %q: %w", in.To, in.Trunk, r.err)
		}
		if !t.start(r.leg) {
			return nil, bridge.CauseShuttingDown.With("trunk %q: %v", in.Trunk, errPoolClosed)
		}
		return r.leg, nil
	case <-ctx.Done():
		t.count(func(t *trunk) { t.refused++ })
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, bridge.CausePeerTimeout.With("trunk %q: %s has not answered in time to a call to %s", in.Trunk, k.tg.Host, in.To)
		}
		return nil, bridge.CauseCancelled.With("trunk %q: the caller gave up while %s was being asked", in.Trunk, k.tg.Host)
	}
}

// check finds what can be known without asking the peer.
func (t *trunk) check(in bridge.Intent) (known, error) {
	k, err := t.usable()
	if err != nil {
		return k, err
	}
	if in.Passport == "" {
		return k, bridge.CauseIdentityMissing.With("trunk %q: there is no RIPT call without a PASSporT", t.cfg.Name)
	}
	if k.destinations != nil && !k.destinations.Covers(in.To) {
		return k, bridge.CauseDestination.With("trunk %q: %s is not among the numbers for which the peer has registered its TG; route it elsewhere", t.cfg.Name, in.To)
	}
	if d := k.doc.Outbound.Destinations; d != nil && !d.Covers(in.To) {
		return k, bridge.CauseDestination.With("trunk %q: %s is not among the destinations its TG takes; route it elsewhere", t.cfg.Name, in.To)
	}
	return k, nil
}

// place POSTs the call until it is certain what became of that. caller is the
// context of the one who wants the call: before the request is on its way its
// end stops everything, later it is for the one who called us to clean up.
//
// What the peer must know for a call, handlers and certificate, it was told
// before. A balancer may lead the call to a node that was not, which then gets
// it, once, by the cookies of the call.
func (t *trunk) place(ctx, caller context.Context, in bridge.Intent, k known) (_ *clientLeg, err error) {
	key, jar := uuid.NewString(), newCookieJar(in.Trace.Child())
	h, err := t.handlerFor(ctx, k.tg, k.handlers, t.onWire(in.Media), jar)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.release()
		}
	}()
	var renewed, published, sent bool
	seat := t.reserveSeat(k.tg)
	defer func() { seat.Release() }()
	at := h.at() // the key stands for one body: what another call registers anew meanwhile is for the next
	for posts := 1; ; posts++ {
		rep, wasSent, err := t.post(ctx, caller, in, k, at, seat, key, jar)
		sent = sent || wasSent
		switch {
		case err == nil:
			l, err := t.accept(in, k, rep, jar, h)
			if err == nil && l.desc.CallTag != 0 {
				l.seat, l.callTag, seat = seat, l.desc.CallTag, nil // the leg's carriers release it
			}
			return l, err
		case handlerLost(err) && !renewed:
			renewed = true
			if err = t.registerAgain(ctx, k.tg, h, jar); err != nil {
				return nil, err
			}
			key, at = uuid.NewString(), h.at() // another body: another request
		case unfetched(err) && !published && t.republish(ctx, k.identity, in.Passport, jar):
			published = true
		case underWay(err):
			// The peer still works on an attempt whose connection was lost.
			posts--
			if !pause(ctx, jittered(max(bridge.CauseOf(err).RetryAfter, 100*time.Millisecond))) {
				return nil, err
			}
		case sent && posts < maxPosts && repeatable(err):
			// The key makes sure that there is one call at most.
			if !pause(ctx, repeatPause(posts)) {
				return nil, err
			}
		default:
			t.learnFrom(err, k)
			return nil, err
		}
	}
}

// learnFrom notes from a refusal what the trunk's loop has to look after.
func (t *trunk) learnFrom(err error, k known) {
	if unfetched(err) {
		t.doubt(k.identity)
	}
	if missing(err) {
		t.learn(func(n *known) { n.docDue = time.Time{} })
		t.wake() // the TG itself may be gone
	}
}

// repeatable tells a failure after which the same POST may be sent again: no
// response came, or one that says "not now" about this very request.
func repeatable(err error) bool {
	var e *requestError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case 0:
		return !errors.Is(err, context.DeadlineExceeded) && !untrusted(err)
	case http.StatusTooEarly:
		return true
	case http.StatusBadGateway:
		return e.Problem.Reason == nil // of a balancer whose node went away
	}
	return false
}

// underWay tells the 409 to a second attempt while the first is being served;
// 409 for a busy callee comes with a reason.
func underWay(err error) bool {
	var e *requestError
	return errors.As(err, &e) && e.Status == http.StatusConflict && e.Problem.Reason == nil
}

// missing tells a 404 about the URL from one about the called number, which is
// a problem with a reason.
func missing(err error) bool {
	var e *requestError
	return gone(err) && errors.As(err, &e) && e.Problem.Reason == nil
}

// post sends the request once; sent tells whether the peer may have seen it.
func (t *trunk) post(ctx, caller context.Context, in bridge.Intent, k known, handler string, seat *media.Seat, key string, jar *cookieJar) (reply, bool, error) {
	hops := in.Hops
	body, err := json.Marshal(CallRequest{Handler: handler, Destination: in.To, Passport: in.Passport, Hops: &hops, Call: in.Call,
		Passports: in.Others, Facts: t.told(in.Facts), Session: seat.Session()})
	if err != nil {
		return reply{}, false, fmt.Errorf("encode call: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	stop := context.AfterFunc(caller, func() {
		if !sent.Load() {
			cancel(context.Cause(caller))
		}
	})
	defer stop()
	rep, err := t.Do(ctx, request{
		Method: http.MethodPost, URL: k.tg.JoinPath("calls").String(), Resource: k.tg.String(),
		Body: body, ContentType: "application/json", Jar: jar,
		Header: map[string]string{"Idempotency-Key": `"` + key + `"`}, // a structured-field string
	})
	return rep, sent.Load(), err
}

// accept reads the 201 strictly: a call that we cannot follow is ended.
func (t *trunk) accept(in bridge.Intent, k known, rep reply, jar *cookieJar, h *handler) (*clientLeg, error) {
	at := k.tg.JoinPath("calls")
	fail := func(format string, args ...any) error {
		return bridge.CausePeerError.With("trunk %q: POST %s: %s", t.cfg.Name, at, fmt.Sprintf(format, args...))
	}
	loc, err := location(at, rep)
	if err != nil {
		return nil, fail("%v", err)
	}
	uri, err := sameSite(loc, k.tg)
	if err != nil {
		return nil, fail("call URI: %v", err)
	}
	l := t.newLeg(k.tg, uri.String(), jar, eventProceeding)
	l.info, l.handler, l.keyed = bridge.LegInfo{
		ID: uri.String(), Protocol: "ript", Trunk: t.cfg.Name, From: in.From, To: in.To,
		Identity: bridge.Identity{Passport: in.Passport, Others: in.Others}, Media: in.Media, Hops: in.Hops,
		Facts: in.Facts, Trace: in.Trace,
	}, h, t.cfg.Keys != nil && !in.Media.Sealed
	if l.desc, err = decode[CallDescription](t.cfg.Name, "description of call", at.String(), rep.Body); err == nil {
		if l.desc.URI != "" && l.desc.URI != l.uri {
			err = fail("Location and uri of the description differ")
		}
	}
	if err == nil {
		l.desc.Handler, l.tag = h.at(), l.desc.tagOr(rep.Header.Get("ETag"))
		if l.first.d, l.first.plan, err = l.agreedAtFirst(); err != nil {
			err = fail("%v", err)
		}
	}
	if err != nil {
		t.abandon(l)
		return nil, err
	}
	return l, nil
}

// newLeg makes a leg to the call at uri.
func (t *trunk) newLeg(tg *url.URL, uri string, jar *cookieJar, state string) *clientLeg {
	return &clientLeg{
		t: t, tg: tg, jar: jar, uri: uri, state: state, lastGood: t.client.cfg.Now(),
		adaptations: make(chan adapted, 1),

		events: make(chan bridge.Event, eventQueue),
		ending: make(chan bridge.Cause, 1), heard: make(chan time.Time, 1),
		done: make(chan struct{}),

		replies: make(chan error, 1),
	}
}

// told is what the peer may know of a call's facts. The caller's wish for
// privacy goes with the PASSporT, whose number it is about, in any case.
func (t *trunk) told(f bridge.Facts) bridge.Facts {
	out := t.cfg.Facts.Sendable(f)
	out.Privacy = f.Privacy
	return out
}

// start opens a leg's media and byways.
func (t *trunk) start(l *clientLeg) bool {
	l.media = t.openMedia(l)
	l.live(t.client.ctx)
	t.count(func(t *trunk) { t.calls++ })
	ok := t.client.spawn(func() {
		defer t.count(func(t *trunk) { t.calls-- })
		l.run(l.ctx)
	})
	if !ok {
		t.count(func(t *trunk) { t.calls-- })
		l.cut()
		l.media.Close()
	}
	return ok
}

// abandon ends a call that nobody wants any more, in the background.
func (t *trunk) abandon(l *clientLeg) {
	l.seat.Release()
	ev := l.event(eventEnd)
	ev.Reason = reasonOf(bridge.CauseCancelled)
	t.client.spawn(func() {
		ctx, cancel := context.WithTimeout(t.client.ctx, hangUpLimit)
		defer cancel()
		_ = t.endCall(ctx, ev, l.tg.String(), l.jar) // a call without byways ends by itself
	})
}

func (t *trunk) count(f func(*trunk)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t)
}
