package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// customerChecks judge the registration of TGs for incoming calls.
var customerChecks = []check{
	{reqs: "16 18 A1", did: "registered a customer TG by POST, read, replaced and deleted it", run: oneAtATime(registersCustomer)},
	{reqs: "A1", did: "registered customer TGs by PUT, and at consumertgs", run: oneAtATime(customerAliases)},
	{reqs: "19 A16", did: "registered customer TGs without uri and token, and looked for the token in what is read", run: oneAtATime(customerMembers)},
	{reqs: "23", did: "registered customer TGs whose URIs are not https", run: oneAtATime(customerURIs)},
	{reqs: "24", did: "registered a customer TG for numbers that the provider does not vouch for", run: oneAtATime(customerDestinations)},
	{reqs: "11 25", did: "registered a customer TG with origins", run: oneAtATime(customerOrigins)},
}

// oneAtATime keeps checks apart that would replace each other's registration: a
// provider TG has one customer TG.
func oneAtATime(f func(context.Context, *Probe) error) func(context.Context, *Probe) error {
	return func(ctx context.Context, p *Probe) error {
		p.customers.Lock()
		defer p.customers.Unlock()
		return f(ctx, p)
	}
}

// postCustomer registers a customer TG as it is told to.
func (p *Probe) postCustomer(ctx context.Context, body map[string]any, header map[string]string) (reply, error) {
	return p.customer(ctx, http.MethodPost, "customertgs", body, header)
}

func (p *Probe) customer(ctx context.Context, method, collection string, body map[string]any, header map[string]string) (reply, error) {
	root, err := p.rootURI(ctx)
	if err != nil {
		return reply{}, err
	}
	return p.atRoot(ctx, request{method: method, url: root.JoinPath("v1", collection).String(), kind: "application/json", body: asJSON(body), header: header})
}

// atRoot sends a request with the token of the root.
func (p *Probe) atRoot(ctx context.Context, q request) (reply, error) {
	root, err := p.rootURI(ctx)
	if err != nil {
		return reply{}, err
	}
	if q.token, err = p.token(ctx, root.String()); err != nil {
		return reply{}, err
	}
	return p.do(ctx, q)
}

// customerTG is a registration that is as it should be.
func (p *Probe) customerTG(ctx context.Context) (map[string]any, error) {
	from, err := p.from(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"uri":      "https://conform.example/tgs/" + uuid.NewString(),
		"token":    "conform-" + uuid.NewString(),
		"outbound": map[string]any{"destinations": []string{from}},
	}, nil
}

// createCustomer registers one, and has it removed by the caller.
func (p *Probe) createCustomer(ctx context.Context, body map[string]any) (string, reply, error) {
	r, err := p.postCustomer(ctx, body, nil)
	if err != nil {
		return "", r, err
	}
	// One that is there for the same provider TG may be replaced.
	if err := r.is(http.StatusCreated, http.StatusOK); err != nil {
		return "", r, fmt.Errorf("POST customertgs: %w", err)
	}
	loc := r.header.Get("Location")
	if _, err := absolute(loc); err != nil {
		return "", r, fmt.Errorf("POST customertgs: Location: %w", err)
	}
	return loc, r, nil
}

func (p *Probe) dropCustomer(ctx context.Context, uri string) {
	_, _ = p.atRoot(ctx, request{method: http.MethodDelete, url: uri}) // it is only tidying up
}

func registersCustomer(ctx context.Context, p *Probe) error {
	body, err := p.customerTG(ctx)
	if err != nil {
		return err
	}
	uri, _, err := p.createCustomer(ctx, body)
	if err != nil {
		return err
	}
	defer p.dropCustomer(ctx, uri)
	r, err := p.atRoot(ctx, request{method: http.MethodGet, url: uri})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK); err != nil {
		return fmt.Errorf("GET of the Location: %w", err)
	}
	m, err := r.members()
	if err != nil {
		return err
	}
	if m["uri"] != body["uri"] {
		return fmt.Errorf("its uri is %v, registered was %v", m["uri"], body["uri"])
	}
	etag := r.header.Get("ETag")
	if etag == "" {
		return errors.New("it has no ETag")
	}
	body["token"] = "conform-" + uuid.NewString()
	put := func(match string) (reply, error) {
		return p.atRoot(ctx, request{method: http.MethodPut, url: uri, kind: "application/json", body: asJSON(body), header: map[string]string{"If-Match": match}})
	}
	if r, err = put(`"stale"`); err != nil {
		return err
	} else if err := r.refused(http.StatusPreconditionFailed); err != nil {
		return fmt.Errorf("PUT with a stale If-Match: %w", err)
	}
	if r, err = put(etag); err != nil {
		return err
	} else if err := r.is(http.StatusOK, http.StatusNoContent); err != nil {
		return fmt.Errorf("PUT with a new token: %w", err)
	}
	if r, err = p.atRoot(ctx, request{method: http.MethodDelete, url: uri}); err != nil {
		return err
	} else if err := r.is(http.StatusNoContent, http.StatusOK); err != nil {
		return fmt.Errorf("DELETE: %w", err)
	}
	if r, err = p.atRoot(ctx, request{method: http.MethodGet, url: uri}); err != nil {
		return err
	}
	if err := r.refused(http.StatusNotFound); err != nil {
		return fmt.Errorf("GET after DELETE: %w", err)
	}
	return nil
}

func customerAliases(ctx context.Context, p *Probe) error {
	body, err := p.customerTG(ctx)
	if err != nil {
		return err
	}
	var uris []string
	for _, x := range []struct {
		method, collection string
		want               []int
	}{
		{http.MethodPut, "customertgs", []int{http.StatusCreated, http.StatusOK}},
		{http.MethodPut, "customertgs", []int{http.StatusOK, http.StatusNoContent, http.StatusCreated}},
		{http.MethodPut, "consumertgs", []int{http.StatusOK, http.StatusNoContent, http.StatusCreated}},
	} {
		r, err := p.customer(ctx, x.method, x.collection, body, nil)
		if err != nil {
			return err
		}
		if err := r.is(x.want...); err != nil {
			return fmt.Errorf("%s %s: %w", x.method, x.collection, err)
		}
		if loc := r.header.Get("Location"); loc != "" {
			uris = append(uris, loc)
		}
	}
	for _, u := range uris {
		defer p.dropCustomer(ctx, u)
		if u != uris[0] {
			return errors.New("PUT of the same uri made a second registration")
		}
	}
	other, err := p.customerTG(ctx)
	if err != nil {
		return err
	}
	r, err := p.customer(ctx, http.MethodPost, "consumertgs", other, nil)
	if err != nil {
		return err
	}
	if err := r.is(http.StatusCreated, http.StatusOK); err != nil {
		return fmt.Errorf("POST consumertgs: %w", err)
	}
	p.dropCustomer(ctx, r.header.Get("Location"))
	return nil
}

// refusesCustomer registers one with a change that must be refused.
func (p *Probe) refusesCustomer(ctx context.Context, what string, change map[string]any) error {
	body, err := p.customerTG(ctx)
	if err != nil {
		return err
	}
	for k, v := range change {
		if body[k] = v; v == nil {
			delete(body, k)
		}
	}
	r, err := p.postCustomer(ctx, body, nil)
	if err != nil {
		return err
	}
	if r.status == http.StatusCreated {
		p.dropCustomer(ctx, r.header.Get("Location"))
	}
	if err := r.refused(http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity); err != nil {
		return fmt.Errorf("a customer TG %s: %w", what, err)
	}
	return nil
}

func customerMembers(ctx context.Context, p *Probe) error {
	if err := p.refusesCustomer(ctx, "without uri", map[string]any{"uri": nil}); err != nil {
		return err
	}
	if err := p.refusesCustomer(ctx, "with a token that is none", map[string]any{"token": []int{1}}); err != nil {
		return err
	}
	body, err := p.customerTG(ctx)
	if err != nil {
		return err
	}
	uri, created, err := p.createCustomer(ctx, body)
	if err != nil {
		return err
	}
	defer p.dropCustomer(ctx, uri)
	r, err := p.atRoot(ctx, request{method: http.MethodGet, url: uri})
	if err != nil {
		return err
	}
	token, _ := body["token"].(string)
	for what, b := range map[string][]byte{"the 201": created.body, "the document": r.body} {
		if bytes.Contains(b, []byte(token)) {
			return fmt.Errorf("%s repeats the token", what)
		}
	}
	return nil
}

func customerURIs(ctx context.Context, p *Probe) error {
	for _, uri := range []string{"http://conform.example/tg", "conform.example/tg", "https:///tg", strings.Repeat("x", 4000)} {
		if err := p.refusesCustomer(ctx, "with uri "+clip(uri, 40), map[string]any{"uri": uri}); err != nil {
			return err
		}
	}
	return nil
}

func customerDestinations(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	if d.out.Origins == nil {
		return skip("the server vouches for nobody, so there is nothing to lie within")
	}
	return p.refusesCustomer(ctx, "for "+farAway, map[string]any{"outbound": map[string]any{"destinations": []string{farAway}}})
}

func customerOrigins(ctx context.Context, p *Probe) error {
	from, err := p.from(ctx)
	if err != nil {
		return err
	}
	return p.refusesCustomer(ctx, "with origins", map[string]any{"outbound": map[string]any{"destinations": []string{from}, "origins": "-----BEGIN CERTIFICATE-----"}})
}
