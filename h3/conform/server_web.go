package conform

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// webChecks judge how the server uses HTTP.
var webChecks = []check{
	{reqs: "A2", did: "POST cert", run: certLeadsToCerts},
	{reqs: "A3", did: "asked for what is not there, and with methods that are not", run: problemsEverywhere},
	{reqs: "A3", did: "read the OpenAPI document at the root", run: servesOpenAPI},
	{reqs: "A3", did: "registered a handler with members nobody knows", run: ignoresUnknownMembers},
	{reqs: "A34", did: "read the TG over HTTP/2", run: servesHTTP2},
	{reqs: "A26", did: "connected with TLS 1.2", run: refusesOldTLS},
	{reqs: "A12", did: "POST calls, handlers and customertgs with Early-Data: 1", run: refusesEarlyData},
	{reqs: "A63", did: "used the token of one resource for another, and an assertion twice", run: tokensAreBound},
	{reqs: "17", did: "asked for resources without a token, and with a wrong one", run: authenticates},
}

func certLeadsToCerts(ctx context.Context, p *Probe) error {
	if ok, err := p.offersCerts(ctx); err != nil {
		return err
	} else if !ok {
		return skip("%v", errNoCerts)
	}
	r, err := p.asTG(ctx, request{method: http.MethodPost, url: "/cert", kind: "application/pkcs10", body: []byte("x")})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusPermanentRedirect); err != nil {
		return err
	}
	if loc := r.header.Get("Location"); !strings.HasSuffix(loc, "/certs") {
		return fmt.Errorf("it leads to %q, want …/certs", loc)
	}
	return nil
}

func problemsEverywhere(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	secret := "conform-secret-" + uuid.NewString()
	for _, x := range []struct {
		q    request
		want []int
	}{
		{request{method: http.MethodGet, url: d.uri + "/nothing-here"}, []int{http.StatusNotFound}},
		{request{method: http.MethodDelete, url: d.uri}, []int{http.StatusMethodNotAllowed}},
		{request{method: http.MethodGet, url: d.uri + "/calls/" + uuid.NewString()}, []int{http.StatusNotFound}},
		{request{method: http.MethodPost, url: d.uri + "/handlers", kind: "application/json", body: []byte(`{"handler-id": {"` + secret + `": 1}`)}, []int{http.StatusBadRequest}},
		{request{method: http.MethodPost, url: d.uri + "/handlers", kind: "text/plain", body: []byte(secret)}, []int{http.StatusBadRequest, http.StatusUnsupportedMediaType}},
	} {
		r, err := p.asTG(ctx, x.q)
		if err != nil {
			return err
		}
		if err := r.refused(x.want...); err != nil {
			return fmt.Errorf("%s %s: %w", x.q.method, shortURL(x.q.url), err)
		}
		if r.status == http.StatusMethodNotAllowed && r.header.Get("Allow") == "" {
			return fmt.Errorf("%s %s: the 405 has no Allow", x.q.method, shortURL(x.q.url))
		}
		if strings.Contains(string(r.body), secret) {
			return fmt.Errorf("%s %s: the problem repeats what was sent", x.q.method, shortURL(x.q.url))
		}
	}
	return nil
}

func servesOpenAPI(ctx context.Context, p *Probe) error {
	root, err := p.rootURI(ctx)
	if err != nil {
		return err
	}
	r, err := p.do(ctx, request{method: http.MethodGet, url: root.JoinPath("openapi.json").String()})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK); err != nil {
		return err
	}
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(r.body, &doc); err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		return fmt.Errorf("openapi is %q, want 3.1", doc.OpenAPI)
	}
	for _, end := range []string{"/handlers", "/calls", "/providertgs"} {
		if !slices.ContainsFunc(keys(doc.Paths), func(path string) bool { return strings.HasSuffix(path, end) }) {
			return fmt.Errorf("it describes no resource …%s", end)
		}
	}
	return nil
}

func keys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

func ignoresUnknownMembers(ctx context.Context, p *Probe) error {
	h, err := p.register(ctx, map[string]any{
		"handler-id": "conform-unknown", "advertisement": advertisement, "x-conform": map[string]any{"a": []int{1}}, "profile": 99,
	})
	if err != nil {
		return err
	}
	return h.is(http.StatusCreated)
}

func servesHTTP2(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	r, err := p.asTG(ctx, request{method: http.MethodGet, url: d.uri, over: p.wires.h2})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK); err != nil {
		return err
	}
	if !strings.HasPrefix(r.proto, "HTTP/2") {
		return fmt.Errorf("the answer came over %s", r.proto)
	}
	if r.header.Get("Alt-Svc") == "" {
		return errors.New("the response over HTTP/2 has no Alt-Svc that leads to HTTP/3")
	}
	return nil
}

func refusesOldTLS(ctx context.Context, p *Probe) error {
	port := p.base.Port()
	if port == "" {
		port = "443"
	}
	d := tls.Dialer{Config: &tls.Config{RootCAs: p.opt.Roots, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(p.base.Hostname(), port))
	if err != nil {
		return nil // no TCP at all is as safe
	}
	_ = conn.Close()
	return errors.New("the server speaks TLS 1.2")
}

func refusesEarlyData(ctx context.Context, p *Probe) error {
	early := map[string]string{"Early-Data": "1"}
	r, err := p.post(ctx, dialled{header: early})
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusTooEarly); err != nil {
		return fmt.Errorf("POST calls: %w", err)
	}
	r, err = p.asTG(ctx, request{method: http.MethodPost, url: "/handlers", kind: "application/json", header: early,
		body: asJSON(map[string]any{"handler-id": "conform-early", "advertisement": advertisement})})
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusTooEarly); err != nil {
		return fmt.Errorf("POST handlers: %w", err)
	}
	r, err = p.postCustomer(ctx, map[string]any{"uri": "https://early.conform.example/tg", "token": "x"}, early)
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusTooEarly); err != nil {
		return fmt.Errorf("POST customertgs: %w", err)
	}
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	r, err = p.asTG(ctx, request{method: http.MethodGet, url: d.uri, header: early})
	if err != nil {
		return err
	}
	if err := r.is(http.StatusOK); err != nil {
		return fmt.Errorf("GET of the TG, which may come in early data: %w", err)
	}
	return nil
}

func tokensAreBound(ctx context.Context, p *Probe) error {
	if p.opt.Token != "" {
		return skip("a token was given, so no other can be asked for")
	}
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	root, err := p.rootURI(ctx)
	if err != nil {
		return err
	}
	token, err := p.token(ctx, root.String())
	if err != nil {
		return err
	}
	r, err := p.do(ctx, request{method: http.MethodGet, url: d.uri, token: token})
	if err != nil {
		return err
	}
	if err := r.refused(http.StatusUnauthorized, http.StatusForbidden); err != nil {
		return fmt.Errorf("GET of the TG with the token of the root: %w", err)
	}
	jti := uuid.NewString()
	if _, err := p.newToken(ctx, d.uri, jti); err != nil {
		return err
	}
	if again, err := p.askToken(ctx, d.uri, jti); err != nil {
		return err
	} else if again.status/100 == 2 {
		return errors.New("a client assertion was taken twice")
	}
	if _, err := p.newToken(ctx, "https://elsewhere.example/tg", uuid.NewString()); err == nil {
		return errors.New("a token was given for a resource that is not the server's")
	}
	return nil
}

func authenticates(ctx context.Context, p *Probe) error {
	d, err := p.tg(ctx)
	if err != nil {
		return err
	}
	root, err := p.rootURI(ctx)
	if err != nil {
		return err
	}
	for _, x := range []struct{ method, url string }{
		{http.MethodGet, d.uri}, {http.MethodPost, d.uri + "/handlers"}, {http.MethodPost, d.uri + "/calls"},
		{http.MethodPost, root.JoinPath("v1", "customertgs").String()}, {http.MethodGet, d.uri + "/calls/" + uuid.NewString() + "/events"},
	} {
		for _, token := range []string{"", "not-a-token"} {
			r, err := p.do(ctx, request{method: x.method, url: x.url, token: token, kind: "application/json", body: []byte("{}")})
			if err != nil {
				return err
			}
			if err := r.refused(http.StatusUnauthorized); err != nil {
				return fmt.Errorf("%s %s with token %q: %w", x.method, shortURL(x.url), token, err)
			}
			if !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
				return fmt.Errorf("%s %s: the 401 has no WWW-Authenticate: Bearer", x.method, shortURL(x.url))
			}
		}
	}
	return nil
}
