package h3

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"riptide/bridge"
	"riptide/h3/media"
)

// A call is one resource. GET tells how it is; POST gives it another handler
// of its client's (call pull, new directives), or other carriers.

func (s *Server) addCall(api huma.API) {
	const path = pathTGPrefix + "{tg}/calls/{call}"
	huma.Register(api, huma.Operation{
		OperationID: "get-call", Method: http.MethodGet, Path: path, Summary: "A call, or how it ended",
		Description: "The entity tag is that of the agreement on media: handler and directives. State and times change without it.",
	}, func(ctx context.Context, in *struct {
		TG          string `path:"tg" maxLength:"64"`
		ID          string `path:"call" maxLength:"64"`
		IfNoneMatch string `header:"If-None-Match"`
	}) (*callBody, error) {
		return s.getCall(ctx, in.TG, in.ID, in.IfNoneMatch)
	})
	huma.Register(api, huma.Operation{
		OperationID: "update-call", Method: http.MethodPost, Path: path, Summary: "Change a call's handler, or its carriers",
		Description: "Naming the handler in use asks for fresh directives, after it was replaced. " +
			"If-Match is needed with a handler: of several devices that want a call, one gets it, and the others 412.",
		MaxBodyBytes: humaMaxBody, SkipValidateBody: true,
	}, func(ctx context.Context, in *struct {
		TG      string `path:"tg" maxLength:"64"`
		ID      string `path:"call" maxLength:"64"`
		IfMatch string `header:"If-Match"`
		Epoch   string `header:"Ript-Epoch" doc:"Orders the session among the call's carriers"`
		Body    body[CallUpdate]
	}) (*callBody, error) {
		return s.updateCall(ctx, in.TG, in.ID, in.IfMatch, in.Epoch, &in.Body)
	})
}

func (s *Server) getCall(ctx context.Context, tg, id, ifNoneMatch string) (*callBody, error) {
	c, ended, err := s.find(ctx, tg, id)
	switch {
	case err != nil:
		return nil, refuse(bridge.CauseOf(err))
	case c != nil:
		return describeCall(c.describe(), ifNoneMatch), nil
	case ended != nil:
		return describeCall(*ended, ifNoneMatch), nil
	}
	return nil, refuse(noCall())
}

// describeCall is the response that shows a call.
func describeCall(d CallDescription, ifNoneMatch string) *callBody {
	out := &callBody{Status: http.StatusOK, ETag: d.ETag, CacheControl: "no-cache", Vary: "Authorization", Body: d}
	if matches(ifNoneMatch, d.ETag) {
		out.Status = http.StatusNotModified
	}
	return out
}

// updateCall serves POST on a call. A response of 200 means that the change is
// on record.
func (s *Server) updateCall(ctx context.Context, tg, id, ifMatch, epoch string, in *body[CallUpdate]) (*callBody, error) {
	req, err := in.value()
	if err != nil {
		return nil, err
	}
	c, _, err := s.find(ctx, tg, id)
	switch {
	case err != nil:
		return nil, refuse(bridge.CauseOf(err))
	case c == nil:
		return nil, refuse(noCall())
	case req.Handler == "" && req.Session == "":
		return nil, refuse(bridge.CauseBadRequest.With(`name a "handler", a "session", or both`))
	case req.Handler != "" && ifMatch == "":
		return nil, refuseHTTP(http.StatusPreconditionRequired, "send If-Match with the entity tag that the call had when you looked")
	}
	// What is refused changes nothing: a place on a session may cost the call
	// the one it has.
	if req.Session != "" && (!s.media.Knows(trunkOwner(c.client, c.tg), req.Session) || req.Handler == "" && !c.takes(media.Trunk)) {
		return nil, refuse(sessionUnknown())
	}
	if req.Handler != "" {
		if err := s.changeHandler(ctx, c, req.Handler, ifMatch); err != nil {
			return nil, err
		}
	}
	tag := uint64(0)
	if req.Session != "" {
		if tag, err = s.joinSession(c, req.Session, epoch); err != nil {
			return nil, refuse(bridge.CauseOf(err))
		}
	}
	out := describeCall(c.describe(), "")
	out.Body.CallTag = tag
	return out, nil
}

// changeHandler puts a call on another handler, or on what the one it has says
// by now.
func (s *Server) changeHandler(ctx context.Context, c *serverCall, uri, ifMatch string) error {
	g := s.tgs[c.tg]
	h, err := s.handlerOf(ctx, g, uri)
	if err != nil {
		return refuse(bridge.CauseOf(err))
	}
	stored, err := c.pull(g.termsOf(s.handlerURI(h), h), ifMatch)
	if err != nil || stored == nil {
		return err
	}
	limit := time.NewTimer(storedLimit)
	defer limit.Stop()
	select {
	case <-stored:
	case <-c.ended:
		return c.refusal()
	case <-limit.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.confirm()
	return nil
}

// pull changes the agreement to what t allows. The channel is closed when the
// bridge has it on record; it is nil where nothing had to change.
func (c *serverCall) pull(t terms, ifMatch string) (<-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != live {
		return nil, c.refusal()
	}
	now, running := c.media.current()
	d, plan, err := t.afresh(running, t.handler == c.desc.Handler)
	if err == nil && plan.Sealed != running.Sealed {
		err = bridge.CauseMediaIncompatible.With("a call that runs stays sealed, or clear")
	}
	if err != nil {
		return nil, refuse(bridge.CauseOf(err))
	}
	if t.handler == c.desc.Handler && d.Equal(now) {
		// Nothing to do. It may be the second attempt of a request whose first
		// one got through, so the old tag is as good as the new one.
		c.terms = t
		return nil, nil
	}
	if !matches(ifMatch, c.tag()) {
		return nil, refuseHTTP(http.StatusPreconditionFailed, "the call was changed in the meantime: look again")
	}
	if len(c.events) >= callEvents {
		return nil, refuse(bridge.Cause{Code: "rate-limited", RetryAfter: time.Second}.With("the call changes faster than that can be handled"))
	}
	c.agreed(t, d, plan)
	stored := make(chan struct{})
	c.tellChange(sync.OnceFunc(func() { close(stored) }))
	c.unconfirmed = c.tag()
	return stored, nil
}

// confirm announces a change that is on record, unless another has followed.
func (c *serverCall) confirm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == live && c.unconfirmed == c.tag() {
		c.unconfirmed = ""
		c.announceChange()
	}
}
