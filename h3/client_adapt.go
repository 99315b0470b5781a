package h3

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"riptide/bridge"
	"riptide/h3/agree"
)

// adaptLimit bounds one attempt to move a call to another handler.
const adaptLimit = 2 * requestTimeout

// adapted is what became of Adapt.
type adapted struct {
	handler *handler // in use from now on; nil: nothing changed
	desc    CallDescription
	tag     string
	err     error
}

var _ bridge.Adapter = (*clientLeg)(nil)

// Adapt asks the peer for other media: a handler that fits is named in a POST
// on the call. It does not wait for the answer.
func (l *clientLeg) Adapt(ctx context.Context, o bridge.MediaOffer) error {
	if !l.adapting.CompareAndSwap(false, true) {
		return bridge.CauseOverloaded.With("trunk %q: call %s: the last change of media is not answered yet", l.info.Trunk, l.info.ID)
	}
	ok := l.t.client.spawn(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adaptLimit)
		defer cancel()
		out := l.moveHandler(ctx, o)
		select {
		case l.adaptations <- out:
		case <-l.done:
			l.give(out.handler)
		}
	})
	if !ok {
		l.adapting.Store(false)
		return bridge.CauseShuttingDown.With("trunk %q: %v", l.info.Trunk, errPoolClosed)
	}
	return nil
}

// moveHandler POSTs the handler that fits o, once more if it has to be
// registered again.
func (l *clientLeg) moveHandler(ctx context.Context, o bridge.MediaOffer) adapted {
	k, err := l.t.usable()
	if err != nil {
		return adapted{err: err}
	}
	h, err := l.t.handlerFor(ctx, l.tg, k.handlers, l.t.onWire(o), l.jar)
	if err != nil {
		return adapted{err: err}
	}
	out := l.postHandler(ctx, h)
	if handlerLost(out.err) {
		if out.err = l.t.registerAgain(ctx, l.tg, h, l.jar); out.err == nil {
			out = l.postHandler(ctx, h)
		}
	}
	if out.err != nil {
		h.release()
		return adapted{err: out.err}
	}
	return out
}

// postHandler sends the request, again after failures of the connection: the
// server answers a repetition like the first.
func (l *clientLeg) postHandler(ctx context.Context, h *handler) adapted {
	body, err := json.Marshal(CallUpdate{Handler: h.at()})
	if err != nil {
		return adapted{err: err}
	}
	tag := l.agreedTag()
	for posts := 1; ; posts++ {
		at := l.callURI()
		rep, err := l.t.Do(ctx, request{
			Method: http.MethodPost, URL: at, Resource: l.tg.String(), Body: body, ContentType: "application/json", Jar: l.jar,
			Header: map[string]string{"If-Match": tag},
		})
		if err == nil {
			desc, err := decode[CallDescription](l.t.cfg.Name, "description of call", at, rep.Body)
			if err != nil {
				return adapted{err: err}
			}
			return adapted{handler: h, desc: desc, tag: desc.tagOr(rep.Header.Get("ETag"))}
		}
		if posts == maxPosts || !repeatable(err) || !pause(ctx, repeatPause(posts)) {
			return adapted{err: err}
		}
	}
}

// adaptedTo takes the outcome of Adapt, and tells the bridge, whatever it is.
func (l *clientLeg) adaptedTo(ctx context.Context, k *link, out adapted) *outcome {
	defer l.adapting.Store(false)
	if out.err != nil {
		var refused *requestError
		if !errors.As(out.err, &refused) || refused.Status == 0 {
			l.t.client.cfg.Logger.Debug("media not adapted", "trunk", l.info.Trunk, "leg", l.info.ID, "error", out.err)
		}
		return l.mediaChanged()
	}
	if out.tag == l.agreedTag() {
		// Its handler-changed was here first.
		l.hold(out.handler)
		return l.mediaChanged()
	}
	if end := l.obey(ctx, k, out.desc.Handler, out.desc.ClientDirectives, out.desc.ServerDirectives, out.tag, out.handler); end != nil {
		return end
	}
	return l.mediaChanged()
}

// handlerChanged obeys other directives of the peer's.
func (l *clientLeg) handlerChanged(ctx context.Context, k *link, ev Event) *outcome {
	tag := CallDescription{Handler: ev.Handler, ClientDirectives: ev.ClientDirectives, ServerDirectives: ev.ServerDirectives}.tagOr(ev.ETag)
	switch {
	case tag == l.agreedTag():
		return nil // of our own doing
	case ev.Handler != l.handlerURI() && (l.t.ownHandler(ev.Handler) || slices.Contains(l.past, ev.Handler)):
		// Overtaken by the answer to our POST, or about to be: that brings the
		// same, and knows the handler.
		return nil
	case ev.Handler != l.handlerURI():
		c := bridge.CauseElsewhere.With("trunk %q: call %s was moved to handler %s", l.info.Trunk, l.info.ID, clip(ev.Handler, 200)).EndedBy(bridge.ByCaller)
		return &outcome{over: true, cause: &c}
	}
	if end := l.obey(ctx, k, ev.Handler, ev.ClientDirectives, ev.ServerDirectives, tag, nil); end != nil {
		return end
	}
	if l.adapting.Load() || !l.early && l.rank != rankAnswered {
		// The bridge waits for the outcome of its own wish, or does not know any
		// media yet: it hears of them with the answer.
		return nil
	}
	return l.mediaChanged()
}

// obey puts directives in force. Directives that we cannot follow end the call.
func (l *clientLeg) obey(ctx context.Context, k *link, uri, client, server, tag string, with *handler) *outcome {
	mine := with
	if mine == nil {
		mine = l.held()
	}
	d, plan, err := l.followed(client, server, mine)
	if err != nil {
		l.give(with)
		c := bridge.CauseMediaIncompatible.With("trunk %q: call %s: new directives cannot be followed: %v", l.info.Trunk, l.info.ID, err).EndedBy(bridge.ByBridge)
		out := l.hangUp(ctx, k, c)
		out.cause = &c
		return &out
	}
	l.hold(with)
	if uri != l.handlerURI() {
		l.past = append(l.past, l.handlerURI())
	}
	l.mu.Lock()
	l.desc.Handler, l.desc.ClientDirectives, l.desc.ServerDirectives, l.tag = uri, d.ToServer.String(), d.ToClient.String(), tag
	l.mu.Unlock()
	l.media.agreed.change(d, plan)
	return nil
}

// mediaChanged tells the bridge what is in force.
func (l *clientLeg) mediaChanged() *outcome {
	_, plan := l.media.agreed.current()
	return l.tell(bridge.Event{Kind: bridge.MediaChanged, At: l.t.client.cfg.Now(), Plan: &plan})
}

// tell gives the bridge an event, unless only the last one's place is left.
func (l *clientLeg) tell(ev bridge.Event) *outcome {
	if len(l.events) >= eventQueue-1 {
		c := bridge.CausePeerError.With("trunk %q: call %s: the peer sends events faster than they can be handled", l.info.Trunk, l.info.ID)
		return &outcome{over: true, cause: &c}
	}
	l.events <- ev
	return nil
}

// hold makes h the handler of the call, instead of the one before.
func (l *clientLeg) hold(h *handler) {
	if h == nil {
		return
	}
	l.mu.Lock()
	before := l.handler
	l.handler = h
	l.mu.Unlock()
	l.give(before)
}

// give returns a handler that the call does not need any more.
func (l *clientLeg) give(h *handler) {
	if h != nil {
		h.release()
	}
}

func (l *clientLeg) held() *handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.handler
}

func (l *clientLeg) handlerURI() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.desc.Handler
}

func (l *clientLeg) agreedTag() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tag
}

// ownHandler tells whether a handler is one that this node has registered.
func (t *trunk) ownHandler(uri string) bool {
	hs := t.snapshot().handlers
	return hs != nil && hs.ours(uri)
}

// agreedAtFirst reads the agreement of a new call.
func (l *clientLeg) agreedAtFirst() (agree.Directives, bridge.MediaPlan, error) {
	return l.followed(l.desc.ClientDirectives, l.desc.ServerDirectives, l.handler)
}

// followed reads directives for a handler of ours, and what they come to for the
// bridge.
func (l *clientLeg) followed(client, server string, h *handler) (agree.Directives, bridge.MediaPlan, error) {
	d, plan, err := followed(client, server, h.adv)
	plan.Sealed = plan.Sealed && !l.keyed
	return d, plan, err
}

// onWire is what a handler has to have for what the bridge wants: where we have
// keys, all of it sealed.
func (t *trunk) onWire(o bridge.MediaOffer) bridge.MediaOffer {
	o.Sealed = o.Sealed || t.cfg.Keys != nil
	return o
}
