package h3

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"riptide/bridge"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParseConnect(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"telco.example": "https://telco.example", "https://telco.example": "https://telco.example",
		"https://telco.example/": "https://telco.example", "telco.example:8443": "https://telco.example:8443",
		"https://[2001:db8::1]:443": "https://[2001:db8::1]:443",
		"http://telco.example":      "", "": "", "https://": "", "https://u:p@telco.example": "", "https://telco.example/x": "",
		"https://telco.example?x": "", "https://telco.example#x": "", "ftp://telco.example": "", "https://telco example": "",
		"https://" + strings.Repeat("a", 4096): "",
	} {
		u, err := parseConnect(in)
		if want == "" {
			if err == nil {
				t.Errorf("parseConnect(%.60q) = %s, want an error", in, u)
			}
			continue
		}
		if err != nil || u.String() != want {
			t.Errorf("parseConnect(%q) = %v, %v; want %s", in, u, err, want)
		}
	}
}

// TestSameSite: where our token may go.
func TestSameSite(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		home, uri string
		want      bool
	}{
		{"https://ript.telco.example", "https://ript.telco.example/calls/1", true},
		{"https://ript.telco.example", "https://node7.telco.example:8443/calls/1", true},
		{"https://RIPT.telco.example", "https://ript.TELCO.example/calls/1", true},
		{"https://ript.telco.example", "https://telco.example.evil.example/", false},
		{"https://ript.telco.example", "https://eviltelco.example/", false},
		{"https://a.co.uk", "https://b.co.uk/", false}, // a public suffix is nobody's domain
		{"https://a.github.io", "https://b.github.io/", false},
		{"https://192.0.2.1", "https://192.0.2.1/", true},
		{"https://192.0.2.1", "https://192.0.2.1:8443/", false},
		{"https://192.0.2.1", "https://192.0.2.2/", false},
		{"https://[2001:db8::1]:443", "https://[2001:db8::1]/", true},
		{"https://localhost:1", "https://localhost:2/", false},
		{"https://ript.telco.example", "http://ript.telco.example/", false},
		{"https://ript.telco.example", "https://u@ript.telco.example/", false},
		{"https://ript.telco.example", "//ript.telco.example/", false},
		{"https://ript.telco.example", "", false},
	} {
		if _, err := sameSite(tc.uri, mustURL(t, tc.home)); (err == nil) != tc.want {
			t.Errorf("from %s to %s: %v, want allowed: %v", tc.home, tc.uri, err, tc.want)
		}
	}
}

func TestChooseTG(t *testing.T) {
	t.Parallel()
	list := TGList{TGs: []TGEntry{{URI: "https://x/tg/a", Name: "Acme"}, {URI: "https://x/tg/b"}}}
	for _, tc := range []struct{ prefer, want string }{
		{"", "https://x/tg/a"}, {"Acme", "https://x/tg/a"}, {"b", "https://x/tg/b"}, {"c", ""},
	} {
		got, err := chooseTG(list, tc.prefer)
		if got.URI != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("chooseTG(%q) = %q, %v", tc.prefer, got.URI, err)
		}
	}
	if _, err := chooseTG(TGList{}, ""); err == nil {
		t.Error("an empty list has a TG")
	}
	if _, err := chooseTG(TGList{TGs: make([]TGEntry, maxTGs)}, ""); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := chooseTG(TGList{TGs: make([]TGEntry, maxTGs+1)}, ""); err == nil {
		t.Error("one past the limit was taken")
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		tg       int
		failures int
		want     time.Duration
	}{
		{0, 1, 2 * time.Second}, {500, 1, 2 * time.Second}, {3000, 1, 3 * time.Second}, {0, 2, 4 * time.Second},
		{0, 5, 32 * time.Second}, {0, 6, time.Minute}, {0, 1000, time.Minute}, {90_000, 1, 90 * time.Second}, {0, 0, 2 * time.Second}, {-5, 1, 2 * time.Second},
	} {
		if got := (TG{RetryBackoff: tc.tg}).backoff(tc.failures); got != tc.want {
			t.Errorf("retry-backoff %d after %d failures: %v, want %v", tc.tg, tc.failures, got, tc.want)
		}
	}
}

// TestReadTG: a document is confirmed by its ETag, and one too large is none.
func TestReadTG(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	c := p.client(t)
	tr := c.trunks["telco"]
	k := tr.snapshot()
	again, err := tr.ReadTG(t.Context(), k.tg, k.doc)
	if err != nil || again.URI != k.doc.URI || again.Fresh != 5*time.Minute {
		t.Errorf("again: %+v, %v", again, err)
	}
	p.mu.Lock()
	docs := p.docs
	p.mu.Unlock()
	if docs != 1 {
		t.Errorf("the document was sent %d times, want once", docs)
	}
}

func TestParseAuthServer(t *testing.T) {
	t.Parallel()
	d := &discovery{}
	at := mustURL(t, "https://as.telco.example/.well-known/oauth-authorization-server")
	for body, ok := range map[string]bool{
		`{"issuer":"https://as.telco.example","token_endpoint":"https://as.telco.example/token"}`:    true,
		`{"issuer":"https://as.telco.example","token_endpoint":"https://login.telco.example/token"}`: true,
		`{"issuer":"https://as.telco.example","token_endpoint":"https://evil.example/token"}`:        false,
		`{"issuer":"https://evil.example","token_endpoint":"https://as.telco.example/token"}`:        false,
		`{"issuer":"https://as.telco.example","token_endpoint":"http://as.telco.example/token"}`:     false,
		`{"issuer":"https://as.telco.example"}`:                                                      false,
		`[]`:                                                                                         false,
		``:                                                                                           false,
	} {
		if _, err := d.parseAuthServer([]byte(body), at); (err == nil) != ok {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// TestTokenOnce: many requests need a token, one is fetched.
func TestTokenOnce(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	tr := p.client(t).trunks["telco"]
	before := p.Issued()
	p.Revoke()
	old, err := tr.tokens.Token(t.Context(), p.tgURI())
	if err != nil {
		t.Fatal(err)
	}
	tr.tokens.Forget(p.tgURI(), old)
	tr.tokens.Forget(p.tgURI(), "another") // of somebody who was late
	var wg sync.WaitGroup
	var wrong atomic.Int64
	for range 50 {
		wg.Go(func() {
			if token, err := tr.tokens.Token(t.Context(), p.tgURI()); err != nil || token == old {
				wrong.Add(1)
			}
		})
	}
	wg.Wait()
	if got := p.Issued() - before; got != 1 || wrong.Load() != 0 {
		t.Errorf("%d tokens fetched, %d wrong", got, wrong.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.tokens.Token(ctx, p.base()+"/elsewhere"); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestParseToken(t *testing.T) {
	t.Parallel()
	s := &tokenSource{trunk: "telco", clientID: "office"}
	for _, tc := range []struct {
		status int
		body   string
		token  string
		life   time.Duration
		code   bridge.Code
	}{
		{200, `{"access_token":"a","token_type":"Bearer","expires_in":60}`, "a", time.Minute, ""},
		{200, `{"access_token":"a","token_type":"bearer"}`, "a", 5 * time.Minute, ""},
		{200, `{"access_token":"a","token_type":"bearer","expires_in":1e300}`, "a", 24 * time.Hour, ""},
		{200, `{"access_token":"a","token_type":"bearer","expires_in":-1}`, "a", 5 * time.Minute, ""},
		{200, `{"access_token":"a","token_type":"DPoP"}`, "", 0, "peer-error"},
		{200, `{"token_type":"Bearer"}`, "", 0, "peer-error"},
		{200, `{"access_token":"` + strings.Repeat("a", 16<<10) + `","token_type":"Bearer","expires_in":60}`, strings.Repeat("a", 16<<10), time.Minute, ""},
		{200, `{"access_token":"` + strings.Repeat("a", 16<<10+1) + `","token_type":"Bearer"}`, "", 0, "peer-error"},
		{200, `nonsense`, "", 0, "peer-error"},
		{400, `{"error":"invalid_client"}`, "", 0, "token-invalid"},
		{401, `{}`, "", 0, "token-invalid"},
	} {
		token, life, err := s.parseToken("https://x/token", reply{Status: tc.status, Body: []byte(tc.body)})
		if token != tc.token || life != tc.life || (tc.code != "" && bridge.CauseOf(err).Code != tc.code) || (tc.code == "" && err != nil) {
			t.Errorf("%d %.60s: %.20q, %v, %v", tc.status, tc.body, token, life, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"a","token_type":"Bearer","expires_in":60}`))
	f.Add(400, []byte(`{"error":"x","error_description":"y"}`))
	s := &tokenSource{}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		token, life, err := s.parseToken("https://x/token", reply{Status: status, Body: body})
		if err == nil && (token == "" || life <= 0 || life > 24*time.Hour) {
			t.Errorf("token %q for %v", token, life)
		}
	})
}

func FuzzDiscovery(f *testing.F) {
	f.Add([]byte(`{"tgs":[{"uri":"https://a.example/tg"}]}`))
	f.Add([]byte(`{"uri":"https://a.example/tg","outbound":{"destinations":{"allow":["+1*"],"except":["+1900*"]}},"retry-backoff":-1}`))
	f.Add([]byte(`{"issuer":"https://a.example","token_endpoint":"https://a.example/t"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var list TGList
		if json.Unmarshal(body, &list) == nil {
			_, _ = chooseTG(list, "")
			_, _ = chooseTG(list, "x")
		}
		var tg TG
		if json.Unmarshal(body, &tg) == nil {
			if d := tg.backoff(3); d < minBackoff {
				t.Errorf("backoff %v", d)
			}
			if d := tg.Outbound.Destinations; d != nil {
				d.Covers("+12025550100")
			}
		}
		_, _ = (&discovery{}).parseAuthServer(body, &url.URL{Scheme: "https", Host: "a.example"})
	})
}

func TestClientKey(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"nothing": "", "public": `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
		"P-384": `{"kty":"EC","crv":"P-384","x":"a","y":"b","d":"c"}`, "secret": `{"kty":"oct","k":"c2VjcmV0"}`,
	} {
		var key jose.JSONWebKey
		_ = key.UnmarshalJSON([]byte(in)) // what is none stays empty
		if _, err := NewClientKey(key.Key, key.KeyID); err == nil {
			t.Errorf("%s was taken for a client key", name)
		}
	}
	// RFC 7515 appendix A.3
	jwk := `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON([]byte(jwk)); err != nil {
		t.Fatal(err)
	}
	k, err := NewClientKey(key.Key, key.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	public := k.Public()
	if k.String() != "[redacted]" || k.kid == "" || !public.IsPublic() {
		t.Errorf("key %v, kid %q", k, k.kid)
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status int
		header http.Header
		body   string
		want   bridge.Code
		sip    int
	}{
		{404, nil, `{"type":"/problems/no-route"}`, "no-route", 404},
		{404, nil, `{"type":"https://peer.example/problems/destination-forbidden","reason":{"sip":403}}`, "destination-forbidden", 403},
		{409, nil, `{"reason":{"code":"busy","sip":600}}`, "busy", 600},
		{503, nil, `<html>`, "overloaded", 503}, {502, nil, ``, "peer-error", 502}, {504, nil, `{`, "peer-timeout", 504},
		{401, http.Header{"Www-Authenticate": {`Bearer error="invalid_token", error_description="The access token expired"`}}, ``, "token-expired", 503},
		{401, nil, ``, "token-invalid", 503},
		{403, http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope"`}}, ``, "token-scope", 503},
		{400, nil, `{"type":"/problems/no-such-word"}`, "bad-request", 400},
	} {
		h := http.Header{"Content-Type": {"application/problem+json"}}
		for k, v := range tc.header {
			h[k] = v
		}
		_, c := refusal(&http.Response{StatusCode: tc.status, Header: h}, []byte(tc.body))
		if sip, _ := c.SIPStatus(); c.Code != tc.want || sip != tc.sip {
			t.Errorf("%d %s: %s with SIP %d, want %s with %d", tc.status, tc.body, c.Code, sip, tc.want, tc.sip)
		}
	}
}

func FuzzRefusal(f *testing.F) {
	f.Add(404, "5", []byte(`{"type":"/problems/no-route","reason":{"sip":700,"q850":-3}}`))
	f.Fuzz(func(t *testing.T, status int, retry string, body []byte) {
		resp := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {retry}}}
		_, c := refusal(resp, body)
		if sip, _ := c.SIPStatus(); c.Code == "" || c.RetryAfter < 0 || c.RetryAfter > maxRetryAfter || sip < 300 || sip > 699 {
			t.Errorf("cause %+v with SIP %d", c, sip)
		}
	})
}

func TestReadLimited(t *testing.T) {
	t.Parallel()
	if b, err := readLimited(strings.NewReader("12345"), 5); err != nil || string(b) != "12345" {
		t.Errorf("at the limit: %q, %v", b, err)
	}
	if _, err := readLimited(strings.NewReader("123456"), 5); !errors.Is(err, errTooBig) {
		t.Errorf("one past it: %v", err)
	}
}
