package h3

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/h3/advert"
	"riptide/h3/agree"
	"riptide/h3/media"
)

// maxHandlers is how many handlers we keep at a TG: a server allows a client
// some 64, and several nodes may be the same client.
const maxHandlers = 24

// handlers are our handlers at a TG. A handler says what we can send and
// receive, and the peer chooses by its order. So that media passes through,
// there is one for each kind of call that comes along, with the codecs of the
// call's other leg first. They are registered when they are first needed.
type handlers struct {
	mu          sync.Mutex
	all         []*handler
	registering sync.Mutex // one at a time: two calls of one kind need one handler
}

// handler is one handler of ours.
type handler struct {
	of   *handlers
	text string // of adv: what tells handlers apart
	adv  advert.Advert

	// Under the lock of the set.
	uri   string
	users int // calls that named it
	used  time.Time
}

// at is the handler's URI.
func (h *handler) at() string {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	return h.uri
}

// release gives a handler back, at the end of the call that named it.
func (h *handler) release() {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	h.users--
}

// find takes the handler of an advertisement, nil if there is none.
func (hs *handlers) find(text string, now time.Time) *handler {
	return hs.take(now, func(h *handler) int {
		if h.text == text {
			return 1
		}
		return 0
	})
}

// nearest takes a handler that has the first codec of a call, for when there is
// none that fits and none can be had: with it the call may have to be converted.
func (hs *handlers) nearest(o bridge.MediaOffer, now time.Time) *handler {
	return hs.take(now, func(h *handler) int {
		can := agree.Offer(h.adv, o.Sealed).Speech
		return len(can) - slices.Index(append(can, o.Speech[0]), o.Speech[0])
	})
}

// take takes the handler of the highest score above 0, nil if none has one.
func (hs *handlers) take(now time.Time, score func(*handler) int) *handler {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	var best *handler
	most := 0
	for _, h := range hs.all {
		if n := score(h); n > most {
			best, most = h, n
		}
	}
	if best != nil {
		best.users++
		best.used = now
	}
	return best
}

// add enters a handler that is registered, in use. If there are too many the
// one that nobody has used for longest makes room, and is returned.
func (hs *handlers) add(h *handler, now time.Time) (out *handler) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h.of, h.users, h.used = hs, 1, now
	hs.all = append(hs.all, h)
	if len(hs.all) <= maxHandlers {
		return nil
	}
	for _, old := range hs.all {
		if old.users == 0 && (out == nil || old.used.Before(out.used)) {
			out = old
		}
	}
	hs.all = slices.DeleteFunc(hs.all, func(h *handler) bool { return h == out })
	return out
}

// ours tells whether a URI is that of a handler of ours.
func (hs *handlers) ours(uri string) bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return slices.ContainsFunc(hs.all, func(h *handler) bool { return h.uri == uri })
}

// handlerFor is the handler that fits the other leg of a call, registered if it
// is the first of its kind. The call gives it back with release. jar leads to
// the node that the call is at, if it is anywhere yet.
func (t *trunk) handlerFor(ctx context.Context, tg *url.URL, hs *handlers, o bridge.MediaOffer, jar *cookieJar) (*handler, error) {
	adv := agree.Advert(o)
	if can := agree.Offer(adv, o.Sealed); len(can.Speech) == 0 {
		return nil, bridge.CauseMediaIncompatible.With("trunk %q: none of the codecs %v can be carried", t.cfg.Name, o.Speech)
	}
	text, now := adv.String(), t.client.cfg.Now()
	if h := hs.find(text, now); h != nil {
		return h, nil
	}
	hs.registering.Lock()
	defer hs.registering.Unlock()
	if h := hs.find(text, now); h != nil {
		return h, nil
	}
	h := &handler{text: text, adv: adv}
	var err error
	if h.uri, err = t.registerOne(ctx, tg, jar, text); err != nil {
		if near := hs.nearest(o, now); near != nil {
			t.client.cfg.Logger.Warn("a handler that fits could not be registered: calls may have to be converted", "trunk", t.cfg.Name, "codecs", o.Speech, "error", err)
			return near, nil
		}
		return nil, fmt.Errorf("register handler: %w", err)
	}
	if old := hs.add(h, now); old != nil {
		t.client.spawn(func() { t.unregister(tg, old.at()) })
	}
	return h, nil
}

// registerAgain registers a handler that the peer has lost, or that the node of
// it that a call came to has never had: behind a balancer each node keeps its
// own, and one that names them by client and handler-id, as ours does, gives the
// same URI.
func (t *trunk) registerAgain(ctx context.Context, tg *url.URL, h *handler, jar *cookieJar) error {
	uri, err := t.registerOne(ctx, tg, jar, h.text)
	if err != nil {
		return fmt.Errorf("register handler: %w", err)
	}
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	h.uri = uri
	return nil
}

// commonOffers are what calls will most probably need.
var commonOffers = []bridge.MediaOffer{
	bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA}}.Offered(),
	bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMA, bridge.PCMU}}.Offered(),
}

// register makes a new set of handlers, with the most common ones in it.
func (t *trunk) register(ctx context.Context, tg *url.URL) (*handlers, error) {
	hs := t.handlersAt(tg)
	for _, o := range commonOffers {
		if o = o.Restrict(t.cfg.Codecs); len(o.Speech) == 0 {
			continue // what this trunk speaks is registered with the first call
		}
		h, err := t.handlerFor(ctx, tg, hs, t.onWire(o), nil)
		if err != nil {
			return nil, err
		}
		h.release()
	}
	t.learn(func(n *known) { n.handlers = hs })
	return hs, nil
}

// registerOne registers an advertisement. Its handler-id follows from it, so that
// one that a former process registered is found again.
func (t *trunk) registerOne(ctx context.Context, tg *url.URL, jar *cookieJar, adv string) (string, error) {
	sum := sha256.Sum256([]byte(adv))
	h := Handler{HandlerID: fmt.Sprintf("%s-%x", t.client.cfg.HandlerID, sum[:6]), Advertisement: adv}
	for _, r := range media.Rungs(t.cfg.Media) {
		h.Media = append(h.Media, r.String())
	}
	body, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	at := tg.JoinPath("handlers")
	rep, err := t.Do(ctx, request{
		Method: http.MethodPost, URL: at.String(), Resource: tg.String(),
		Body: body, ContentType: mediaJSON, Jar: jar,
	})
	if err != nil {
		return "", err
	}
	uri, err := location(at, rep)
	if err == nil {
		_, err = sameSite(uri, tg)
	}
	if err != nil {
		return "", bridge.CausePeerError.With("trunk %q: POST %s: %v", t.trunk, at, err)
	}
	return uri, nil
}

// unregister removes a handler that nobody needs any more. One that stays does
// no harm.
func (t *trunk) unregister(tg *url.URL, uri string) {
	ctx, cancel := context.WithTimeout(t.client.ctx, requestTimeout)
	defer cancel()
	if _, err := t.Do(ctx, request{Method: http.MethodDelete, URL: uri, Resource: tg.String()}); err != nil {
		t.client.cfg.Logger.Debug("an unused handler was not removed", "trunk", t.cfg.Name, "handler", uri, "error", err)
	}
}

// location reads the URI of what a 201 says was made.
func location(at *url.URL, rep reply) (string, error) {
	if rep.Status != http.StatusCreated {
		return "", fmt.Errorf("answered %d, want 201", rep.Status)
	}
	loc := rep.Header.Get("Location")
	if loc == "" {
		return "", errors.New("201 without Location")
	}
	u, err := at.Parse(loc)
	if err != nil {
		return "", fmt.Errorf("Location %q: %w", clip(loc, 200), err)
	}
	return u.String(), nil
}

// handlerLost tells the refusal that a new registration mends (core draft:
// 500 for an unknown handler; the problem type tells it from other 500s).
func handlerLost(err error) bool {
	var e *requestError
	return errors.As(err, &e) && e.Cause.Code == "handler-not-registered"
}

// followed reads directives that a peer wants us to follow, strictly: mine is
// what the handler of the call advertises.
func followed(client, server string, mine advert.Advert) (agree.Directives, bridge.MediaPlan, error) {
	d, err := agree.Read(client, server)
	if err != nil {
		return agree.Directives{}, bridge.MediaPlan{}, err
	}
	if err := d.Follow(mine); err != nil {
		return agree.Directives{}, bridge.MediaPlan{}, err
	}
	plan, err := d.Plan(false)
	return d, plan, err
}

// tagOr is the entity tag of a description: as the peer says, or as ours would
// be.
func (d CallDescription) tagOr(header string) string {
	return cmp.Or(header, d.ETag, agreementTag(d.Handler, d.ClientDirectives, d.ServerDirectives))
}
