package h3

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/h3/agree"
	"riptide/h3/media"
	"riptide/policy"
	"riptide/policy/stir"
)

const protocolRIPT = "ript"

// acceptLimit bounds what POST calls may take, however long the client waits:
// a call is made or refused even if nobody hears of it, so that the stored
// outcome is right.
const acceptLimit = 10 * time.Second

// maxHops keeps a client from giving its call more than anybody would.
const maxHops = 70

type callBody struct {
	Status       int
	Location     string `header:"Location"`
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Vary         string `header:"Vary"`
	Body         CallDescription
}

func (s *Server) addCalls(api huma.API) {
	const path = pathTGPrefix + "{tg}/calls"
	huma.Register(api, huma.Operation{
		OperationID: "place-call", Method: http.MethodPost, Path: path, Summary: "Place a call",
		DefaultStatus: http.StatusCreated, MaxBodyBytes: humaMaxBody, SkipValidateBody: true,
	}, func(ctx context.Context, in *struct {
		TG          string `path:"tg" maxLength:"64"`
		Key         string `header:"Idempotency-Key"`
		Traceparent string `header:"traceparent"`
		Tracestate  string `header:"tracestate"`
		Body        body[CallRequest]
	}) (*callBody, error) {
		trace, _ := bridge.ParseTrace(in.Traceparent, in.Tracestate) // what is none begins one
		return s.placeOnce(ctx, in.TG, in.Key, trace, &in.Body)
	})
}

func noCall() bridge.Cause {
	return bridge.Cause{Code: "call-ended"}.With("there is no such call, or it has ended")
}

// placeOnce serves POST calls once per Idempotency-Key.
func (s *Server) placeOnce(ctx context.Context, tg, key string, trace bridge.Trace, in *body[CallRequest]) (*callBody, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acceptLimit)
	defer cancel()
	req, err := in.value()
	if err != nil {
		return nil, err
	}
	attempt, old, err := s.replays.begin(ctx, clientOf(ctx), tg, key, in.raw)
	if err != nil {
		return nil, err
	}
	if old != nil {
		s.stats.count(func(st *ServerState) { st.Replayed++ })
		out := &callBody{Status: http.StatusCreated, Location: old.Location, CacheControl: "no-store"}
		if err := json.Unmarshal(old.Body, &out.Body); err != nil {
			return nil, fmt.Errorf("decode stored call: %w", err)
		}
		out.ETag = out.Body.ETag
		return out, nil
	}
	defer attempt.forget() // whatever happens
	c, err := s.place(ctx, s.tgs[tg], req, trace)
	if err != nil {
		attempt.abandon(ctx)
		cause := bridge.CauseOf(err)
		s.stats.refused(cause.Code)
		s.log.Info("call refused", "tg", tg, "client", clientOf(ctx), "to", clipText(string(req.Destination), 64), "trace", trace.ID, "cause", cause.Code, "why", cause.Text)
		return nil, refuse(cause)
	}
	s.stats.count(func(st *ServerState) { st.Placed++ })
	desc := c.describe()
	out := &callBody{Status: http.StatusCreated, Location: c.uri, ETag: desc.ETag, CacheControl: "no-store", Body: desc}
	if req.Session != "" && c.takes(media.Trunk) {
		// Without a place there the call goes another way, and is none the worse.
		out.Body.CallTag, _ = s.joinSession(c, req.Session, "")
	}
	if err := attempt.done(ctx, c.uri, out.Body); err != nil {
		s.log.Warn("a retry of this request would place a second call", "call", c.uri, "error", err)
	}
	return out, nil
}

func clipText(s string, n int) string { return s[:min(len(s), n)] }

// place makes a call of a request and gives it to the bridge, or says with
// which Cause it is refused.
func (s *Server) place(ctx context.Context, g *terminalGroup, req CallRequest, trace bridge.Trace) (*serverCall, error) {
	c, err := s.admit(ctx, g, req, trace)
	if err != nil {
		if s.cfg.OnRefuse != nil {
			s.cfg.OnRefuse(bridge.CauseOf(err))
		}
		return nil, err
	}
	refused := bridge.CauseInternal // should Accept not return at all
	defer func() {
		if refused.Code != "" {
			c.finish(refused)
			s.calls.withdraw(c)
		}
	}()
	if err := s.cfg.Acceptor.Accept(ctx, serverLeg{c}); err != nil {
		refused = bridge.CauseOf(err)
		return nil, err
	}
	refused = bridge.Cause{}
	return c, nil
}

// admit judges a request without asking the bridge. The order is that of trust:
// nothing is dialled, stored or negotiated for a caller whose identity is not
// proven.
func (s *Server) admit(ctx context.Context, g *terminalGroup, req CallRequest, trace bridge.Trace) (*serverCall, error) {
	h, err := s.handlerOf(ctx, g, req.Handler)
	if err != nil {
		return nil, err
	}
	to, err := policy.ParseNumber(string(req.Destination))
	if err != nil {
		return nil, bridge.CauseBadRequest.With("destination is neither an E.164 number with its plus nor number@domain")
	}
	if !g.cfg.Destinations.Covers(to) {
		return nil, bridge.CauseDestination.With("the TG does not take calls to %s", to)
	}
	hops, err := hopsOf(req.Hops)
	if err != nil {
		return nil, err
	}
	if err := req.Facts.Check(); err != nil {
		return nil, bridge.CauseBadRequest.With("%v", err)
	}
	from, identity, err := s.identify(ctx, g, req, to)
	if err != nil {
		return nil, err
	}
	t := g.termsOf(s.handlerURI(h), h)
	d, plan, err := t.decide()
	if err != nil {
		return nil, fmt.Errorf("handler %s: %w", h.ID, err)
	}
	if err := s.calls.reserve(); err != nil {
		return nil, err
	}
	c := s.newCall(g, t, from, to, trace, d, plan)
	c.info.Hops = hops
	c.info.Identity = identity
	c.info.Facts, c.facts = g.cfg.Facts.Accepted(req.Facts), g.cfg.Facts
	s.calls.add(c)
	return c, nil
}

func (s *Server) newCall(g *terminalGroup, t terms, from, to policy.Number, trace bridge.Trace, d agree.Directives, plan bridge.MediaPlan) *serverCall {
	id := uuid.NewString()
	desc := CallDescription{
		URI: g.uri + "/calls/" + id, Handler: t.handler, Direction: "outbound", From: from, To: to,
		ClientDirectives: d.ToServer.String(), ServerDirectives: d.ToClient.String(), Created: s.cfg.Now().UTC(),
	}
	info := bridge.LegInfo{
		ID: desc.URI, Protocol: protocolRIPT, Trunk: g.cfg.Trunk, From: from, To: to,
		Media: t.offer(plan.Sealed), Trace: trace,
	}
	c := newServerCall(desc, info, s.cfg.Now)
	c.id, c.client, c.tg, c.terms = id, g.cfg.ClientID, g.cfg.Name, t
	c.media = newAgreement(d, plan, media.Config{Server: true, Panic: c.mediaPanic, Keys: session(g.cfg.Keys, trace, false)})
	return c
}

// handlerOf finds the handler a call names. Anything else than one of the
// client's own on this TG is "not registered", which tells the client what to
// do about it (core draft, "Call Establishment": 500).
func (s *Server) handlerOf(ctx context.Context, g *terminalGroup, uri string) (*registration, error) {
	id, ok := strings.CutPrefix(uri, g.uri+"/handlers/")
	if ok {
		if h, err := s.handlers.get(ctx, g.cfg.ClientID, g.cfg.Name, id); err == nil {
			return h, nil
		}
	}
	return nil, bridge.Cause{Code: "handler-not-registered"}.With("register the handler with POST %s/handlers, and use the URI of its 201", g.uri)
}

func hopsOf(hops *int) (int, error) {
	if hops == nil {
		return bridge.DefaultHops, nil
	}
	if *hops < 1 {
		return 0, bridge.CauseTooManyHops.With("the call has crossed as many bridges as it may")
	}
	return min(*hops, maxHops), nil
}

// identify verifies who is calling. The caller is whom the PASSporT names, and
// nobody else. Further PASSporTs that do not hold are dropped.
func (s *Server) identify(ctx context.Context, g *terminalGroup, req CallRequest, to policy.Number) (policy.Number, bridge.Identity, error) {
	if req.Passport == "" {
		return "", bridge.Identity{}, bridge.CauseIdentityMissing.With("every RIPT call carries a PASSporT")
	}
	p, err := stir.ParsePassport(req.Passport)
	if err != nil {
		return "", bridge.Identity{}, bridge.Cause{Code: bridge.Code(stir.Invalid)}.With("%v", err)
	}
	if ext := p.Extension(); ext != "" {
		return "", bridge.Identity{}, bridge.Cause{Code: bridge.Code(stir.Invalid)}.With("a PASSporT of type %s proves no caller; it belongs into passports", ext)
	}
	from := p.Claims.From()
	tokens := append([]string{req.Passport}, req.Passports...)
	found := s.cfg.Verifier.VerifyAll(ctx, tokens, stir.Call{From: from, To: to}, s.cfg.Now())
	if peer := g.peer.Load(); peer != nil && found.Verdict.Status == stir.CredentialUnsupported {
		found = peer.VerifyAll(ctx, tokens, stir.Call{From: from, To: to}, s.cfg.Now())
	}
	if v := found.Verdict; v.Status != stir.Valid {
		return "", bridge.Identity{}, bridge.Cause{Code: bridge.Code(v.Status)}.With("%s", v.Reason)
	}
	if !g.cfg.Origins.Covers(from) {
		return "", bridge.Identity{}, bridge.Cause{Code: bridge.Code(stir.NotCovered)}.With("%s is not among the TG's origins", from)
	}
	return from, bridge.Identity{Verdict: found.Verdict, Passport: found.Passport, Others: found.Others, Name: found.Name}, nil
}
