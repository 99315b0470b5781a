package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"riptide/h3/advert"
	"riptide/policy"
)

// callChecks judge how calls are placed and refused.
var callChecks = []check{
	{reqs: "26 47 48 A8", did: "placed calls that name handlers nobody registered here", run: unknownHandlers},
	{reqs: "45", did: "POST calls with bodies that are none", run: badBodies},
	{reqs: "46", did: "left out each member of a call", run: missingMembers},
	{reqs: "49 52 A14", did: "placed calls to what is no number", run: badDestinations},
	{reqs: "50 66", did: "placed a call outside destinations", run: forbiddenDestination},
	{reqs: "51", did: "placed a call to a private number", run: privateNumber},
	{reqs: "65", did: "placed a call to a number where nobody is", run: unreachable},
	{reqs: "55", did: "placed a call", run: withCall(func(c *call) error {
		if c.reply.header.Get("Location") == "" {
			return errors.New("the 201 has no Location")
		}
		if c.desc.URI != c.reply.header.Get("Location") {
			return fmt.Errorf("Location is %q, uri %q", c.reply.header.Get("Location"), c.desc.URI)
		}
		_, err := absolute(c.uri)
		return err
	})},
	{reqs: "56", did: "looked for the UUID in the URI of a call", run: withCall(func(c *call) error {
		if !uuidIn.MatchString(strings.ToLower(c.uri)) {
			return fmt.Errorf("there is none in %s", shortURL(c.uri))
		}
		return nil
	})},
	{reqs: "57 58 63 64 A4", did: "read the 201", run: withCall(describes)},
	{reqs: "A25", did: "read the numbers of sources and sinks in the directives", run: withCall(func(c *call) error {
		d, err := parseDirectives(c.desc)
		if err != nil {
			return err
		}
		for _, s := range append(d.toServer, d.toClient...) {
			if s.Source < 1 || s.Sink < 1 {
				return fmt.Errorf("stream %d to %d", s.Source, s.Sink)
			}
		}
		return nil
	})},
	{reqs: "A11", did: "sent the same call twice with one Idempotency-Key, another call with it, and one without", run: idempotent},
	{reqs: "A56", did: "placed calls with hops 0, and without", run: hops},
	{reqs: "86", did: "GET the call", run: readsCall},
	{reqs: "83", did: "DELETE the call", run: refusesDelete},
}

var uuidIn = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// sample is a call that is placed once, for all checks that only look at it.
func (p *Probe) sample(ctx context.Context) (*call, error) {
	o, _ := p.endings.LoadOrStore("sample", &once[*call]{})
	return o.(*once[*call]).get(func() (*call, error) { return p.place(ctx, dialled{}) })
}

func withCall(f func(*call) error) func(context.Context, *Probe) error {
	return func(ctx context.Context, p *Probe) error {
		c, err := p.sample(ctx)
		if err != nil {
			return err
		}
		return f(c)
	}
}

func describes(c *call) error {
	m, err := c.reply.members()
	if err != nil {
		return err
	}
	for _, name := range []string{"uri", "handler", "direction", "from", "to", "state", "clientDirectives", "serverDirectives", "created"} {
		if s, ok := m[name].(string); !ok || s == "" {
			return fmt.Errorf("member %s is %v", name, m[name])
		}
	}
	if _, err := time.Parse(time.RFC3339, c.desc.Created); err != nil {
		return fmt.Errorf("created: %w", err)
	}
	if c.desc.Direction != "outbound" && c.desc.Direction != "inbound" {
		return fmt.Errorf("direction is %q", c.desc.Direction)
	}
	for _, n := range []string{c.desc.From, c.desc.To} {
		if got, err := policy.ParseNumber(n); err != nil || string(got) != n {
			return fmt.Errorf("%q is not a number in its canonical form", n)
		}
	}
	d, err := parseDirectives(c.desc)
	if err != nil {
		return err
	}
	ours, err := advert.ParseAdvert(advertisement)
	if err != nil {
		return err
	}
	if len(d.toServer) == 0 || len(d.toClient) == 0 {
		return errors.New("a directive is empty, though both handlers offer that direction")
	}
	for _, s := range d.toServer {
		if err := within(s, ours, true); err != nil {
			return fmt.Errorf("clientDirectives %q: %w", c.desc.ClientDirectives, err)
		}
	}
	for _, s := range d.toClient {
		if err := within(s, ours, false); err != nil {
			return fmt.Errorf("serverDirectives %q: %w", c.desc.ServerDirectives, err)
		}
	}
	return nil
}

func unknownHandlers(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	for _, uri := range []string{d.uri + "/handlers/" + uuid.NewString(), "https://elsewhere.example/handlers/1", "no URI at all"} {
		r, err := p.post(ctx, dialled{handler: uri})
		if err != nil {
			return err
		}
		if err := r.refused(http.StatusInternalServerError); err != nil {
			return fmt.Errorf("handler %s: %w", clip(uri, 80), err)
		}
		if prob, _ := r.problem(); prob.code() != "handler-not-registered" {
			return fmt.Errorf("handler %s: the problem is %q, want …/handler-not-registered", clip(uri, 80), prob.Type)
		}
	}
	return nil
}

func badBodies(ctx context.Context, p *Probe) error {
	for name, body := range map[string]string{"text": "call me", "a list": "[]", "half an object": `{"handler": "x"`, "numbers": `{"handler": 1, "destination": 2, "passport": 3}`, "nothing": ""} {
		r, err := p.postBody(ctx, dialled{}, []byte(body))
		if err != nil {
			return err
		}
		if err := r.refused(http.StatusBadRequest, http.StatusUnprocessableEntity); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func missingMembers(ctx context.Context, p *Probe) error {
	for name, want := range map[string][]int{
		"handler":     {http.StatusInternalServerError, http.StatusBadRequest},
		"destination": {http.StatusBadRequest},
		"passport":    {http.StatusBadRequest, http.StatusForbidden, http.StatusPreconditionRequired},
	} {
		r, err := p.post(ctx, dialled{more: map[string]any{name: nil}})
		if err != nil {
			return err
		}
		if err := r.refused(want...); err != nil {
			return fmt.Errorf("without %s: %w", name, err)
		}
	}
	return nil
}

func badDestinations(ctx context.Context, p *Probe) error {
	to, err := p.to(ctx)
	if err != nil {
		return err
	}
	if strings.Contains(to, "@") {
		to = "+12025550100"
	}
	// A PASSporT for the sane number: it is the destination that must be refused.
	s, err := p.identity(ctx)
	if err != nil {
		return err
	}
	from, err := p.from(ctx)
	if err != nil {
		return err
	}
	token, err := s.sign(passport{from: from, to: to})
	if err != nil {
		return err
	}
	for _, bad := range []string{"", "hello", strings.TrimPrefix(to, "+"), "tel:" + to, to + "@example.com", "+", "+0", "@example.com", "7001@", "+12345678901234567890"} {
		r, err := p.post(ctx, dialled{passport: token, more: map[string]any{"destination": bad}})
		if err != nil {
			return err
		}
		if err := r.refused(http.StatusBadRequest); err != nil {
			return fmt.Errorf("destination %q: %w", bad, err)
		}
	}
	return nil
}

func forbiddenDestination(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	to := p.opt.Forbidden
	if to == "" {
		to = farAway
		if d.destinations.Covers(farAway) {
			return skip("the TG takes calls to every number; give --forbidden")
		}
	}
	r, err := p.post(ctx, dialled{to: to})
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusForbidden); err != nil {
		return fmt.Errorf("a call to %s: %w", to, err)
	}
	return nil
}

func privateNumber(ctx context.Context, p *Probe) error {
	if p.opt.Private == "" {
		return skip("no private number that the TG takes: give --private USER@DOMAIN")
	}
	c, err := p.place(ctx, dialled{to: p.opt.Private})
	if err != nil {
		return err
	}
	if c.desc.To != p.opt.Private {
		return fmt.Errorf("the call is to %q", c.desc.To)
	}
	_, _ = c.end(ctx) // the probe hangs up again when it closes
	return nil
}

func unreachable(ctx context.Context, p *Probe) error {
	if p.opt.Unreachable == "" {
		return skip("no number where nobody is: give --unreachable")
	}
	r, err := p.post(ctx, dialled{to: p.opt.Unreachable})
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusNotFound); err != nil {
		return fmt.Errorf("a call to %s: %w", p.opt.Unreachable, err)
	}
	return nil
}

func idempotent(ctx context.Context, p *Probe) error {
	d := dialled{key: uuid.NewString()}
	body, err := p.callBody(ctx, &d)
	if err != nil {
		return err
	}
	raw := asJSON(body)
	first, err := p.postBody(ctx, d, raw)
	if err != nil {
		return err
	}
	if err := first.is(http.StatusCreated); err != nil {
		return err
	}
	again, err := p.postBody(ctx, d, raw)
	if err != nil {
		return err
	}
	switch err := again.is(http.StatusCreated); {
	case err != nil:
		return fmt.Errorf("the same again: %w", err)
	case again.header.Get("Location") != first.header.Get("Location"):
		return errors.New("the same again made a second call")
	}
	if body["hops"] = 9; true {
		other, err := p.postBody(ctx, d, asJSON(body))
		if err != nil {
			return err
		}
		if err := other.refused(http.StatusUnprocessableEntity); err != nil {
			return fmt.Errorf("another body with the same key: %w", err)
		}
	}
	none, err := p.postBody(ctx, dialled{header: map[string]string{"Idempotency-Key": ""}}, raw)
	if err != nil {
		return err
	}
	if err := none.refused(http.StatusBadRequest); err != nil {
		return fmt.Errorf("without a key: %w", err)
	}
	if c := p.last(first); c != nil {
		_, _ = c.end(ctx) // the probe hangs up again when it closes
	}
	return nil
}

func hops(ctx context.Context, p *Probe) error {
	r, err := p.post(ctx, dialled{more: map[string]any{"hops": 0}})
	if err != nil {
		return err
	}
	if r.status/100 == 2 {
		return errors.New("a call that may cross no more bridges was taken")
	}
	if _, err := r.problem(); err != nil {
		return fmt.Errorf("hops 0: %w", err)
	}
	_, err = p.sample(ctx)
	return err
}

func readsCall(ctx context.Context, p *Probe) error {
	c, err := p.sample(ctx)
	if err != nil {
		return err
	}
	r, d, err := c.get(ctx)
	if err != nil {
		return err
	}
	if d.ClientDirectives != c.desc.ClientDirectives || d.ServerDirectives != c.desc.ServerDirectives || d.Handler != c.desc.Handler ||
		d.From != c.desc.From || d.To != c.desc.To || d.Direction != c.desc.Direction || d.URI != c.desc.URI {
		return errors.New("the document says other things than the 201 did")
	}
	if d.State == "" {
		return errors.New("the document has no state")
	}
	if bytes.Contains(r.body, []byte("passport")) {
		return errors.New("the document repeats the PASSporT")
	}
	return nil
}

func refusesDelete(ctx context.Context, p *Probe) error {
	c, err := p.dial(ctx, dialled{})
	if err != nil {
		return err
	}
	r, err := p.do(ctx, request{method: http.MethodDelete, url: c.uri, token: c.token})
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusMethodNotAllowed, http.StatusForbidden); err != nil {
		return err
	}
	_, d, err := c.get(ctx)
	if err != nil {
		return err
	}
	if d.State == "ended" || d.State == "end" {
		return errors.New("the call is over after a DELETE that was refused")
	}
	c.close(ctx)
	return nil
}
