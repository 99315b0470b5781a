package h3

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

func anyProblem(t *testing.T, resp *http.Response, body []byte, status int) {
	t.Helper()
	expectProblem(t, resp, body, status, "about:blank")
}

// TestPublicResources are read without a token, over each version of HTTP.
func TestPublicResources(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []*http.Client{r.h3, r.h2, r.h1} {
		get := func(path string) (*http.Response, []byte) {
			return r.do(c, exchange{method: "GET", url: "https://ript.test" + path})
		}
		resp, body := get(wellKnownRIPT)
		var root Root
		must(t, json.Unmarshal(body, &root))
		if resp.StatusCode != 200 || root.TGs != testRoot+"/v1/providertgs" || root.OAuth != "https://ript.test" || root.Profile != Profile {
			t.Errorf("root: %d %s", resp.StatusCode, body)
		}
		if alt := resp.Header.Get("Alt-Svc"); (resp.ProtoMajor < 3) != (alt == `h3=":443"; ma=86400`) {
			t.Errorf("HTTP/%d: Alt-Svc %q", resp.ProtoMajor, alt)
		}
		if resp, _ := get(wellKnownOAuth); resp.StatusCode != 307 || resp.Header.Get("Location") != wellKnownAS {
			t.Errorf("ript-oauth: %d %q", resp.StatusCode, resp.Header.Get("Location"))
		}
		resp, body = get(wellKnownAS)
		var as asMetadata
		must(t, json.Unmarshal(body, &as))
		if resp.StatusCode != 200 || as.Issuer != "https://ript.test" || as.TokenEndpoint != "https://ript.test/oauth/token" {
			t.Errorf("metadata: %d %s", resp.StatusCode, body)
		}
		if resp, body := get("/oauth/jwks"); resp.StatusCode != 200 || !strings.Contains(string(body), `"keys"`) || strings.Contains(string(body), `"d"`) {
			t.Errorf("keys: %d %s", resp.StatusCode, body)
		}
		if resp, body := get("/healthz"); resp.StatusCode != 200 || string(body) != "ok\n" {
			t.Errorf("healthz: %d %s", resp.StatusCode, body)
		}
		if resp, body := get("/problems/busy"); resp.StatusCode != 200 || !strings.Contains(string(body), "486 Busy Here") {
			t.Errorf("problem page: %d %s", resp.StatusCode, body)
		}
		for _, path := range []string{"/problems/no-such", "/problems/a/b", "/certs/0123456789abcdef.pem", "/certs/..%2f..%2fetc", "/oauth/authorize"} {
			resp, body := get(path)
			if resp.StatusCode != 404 {
				t.Errorf("%s: %d %s", path, resp.StatusCode, body)
			}
		}
		resp, body = get(wellKnownRIPT + "/openapi.json")
		if resp.StatusCode != 200 || !strings.Contains(string(body), `"CallRequest"`) || !strings.Contains(string(body), "3.1.0") {
			t.Errorf("openapi: %d", resp.StatusCode)
		}
		for _, path := range []string{"/", "/docs", "/v1/providertgs", wellKnownRIPT + pathTGs, pathTGPrefix + "office", pathTGPrefix, "/.well-known/other"} {
			resp, body := get(path)
			expectProblem(t, resp, body, 401, "/problems/token-missing")
		}
	}
}

// TestTGDocuments: only those of the client that asks, with validators.
func TestTGDocuments(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rootToken, token := r.token(testRoot), r.token(testTG)
	resp, body := r.do(r.h3, exchange{method: "GET", url: testRoot + pathTGs, token: rootToken})
	var list TGList
	must(t, json.Unmarshal(body, &list))
	if resp.StatusCode != 200 || len(list.TGs) != 2 || list.TGs[0].URI != testTG || list.TGs[1].Name != "office-2" {
		t.Errorf("list: %d %s", resp.StatusCode, body)
	}
	for _, x := range []exchange{{method: "GET", url: testRoot + pathTGs, token: rootToken}, {method: "GET", url: testTG, token: token}} {
		resp, body := r.do(r.h3, x)
		etag := resp.Header.Get("ETag")
		if resp.StatusCode != 200 || etag == "" || resp.Header.Get("Cache-Control") != "private, max-age=300" || resp.Header.Get("Vary") != "Authorization" {
			t.Errorf("%s: %d %v", x.url, resp.StatusCode, resp.Header)
		}
		if strings.Contains(string(body), "$schema") {
			t.Errorf("%s holds a $schema: %s", x.url, body)
		}
		for match, status := range map[string]int{etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200} {
			x.header = map[string]string{"If-None-Match": match}
			if resp, body := r.do(r.h3, x); resp.StatusCode != status || (status == 304 && len(body) != 0) {
				t.Errorf("%s, If-None-Match %s: %d", x.url, match, resp.StatusCode)
			}
		}
	}
	_, body = r.do(r.h3, exchange{method: "GET", url: testTG, token: token})
	var tg TG
	must(t, json.Unmarshal(body, &tg))
	if tg.URI != testTG || tg.RetryBackoff < 2000 || tg.MediaTimeout != 5000 || tg.Keepalive != 5000 || tg.ParkedGets != 20 || tg.Profile != 1 || len(tg.Media) != 4 {
		t.Errorf("TG %s", body)
	}
	if d := tg.Outbound.Destinations; d == nil || !d.Covers(testTo) || d.Covers("+13035550100") {
		t.Errorf("destinations %v", d)
	}
	// The proof of what we vouch for: a chain that our CA signed.
	chain, err := stir.ParseChain([]byte(tg.Outbound.Origins))
	must(t, err)
	list2, err := stir.NumbersOf(chain[0])
	must(t, err)
	if !list2.Covers(testFrom) || list2.Covers("+13035550100") || tg.Outbound.OriginNumbers[0] != "+120255501xx" {
		t.Errorf("origins cover %v, %v", list2, tg.Outbound.OriginNumbers)
	}
}

// TestHandlers: their life, and that a restart does not end it.
func TestHandlers(t *testing.T) {
	t.Parallel()
	st := store.NewMemory()
	r := newRig(t, func(c *ServerConfig) { c.Store, c.Limits.Handlers = st, 2 })
	r.store = st
	token := r.token(testTG)
	post := func(h any) (*http.Response, []byte) {
		return r.do(r.h3, exchange{method: "POST", url: testTG + "/handlers", token: token, body: h})
	}
	first := Handler{HandlerID: "one", Advertisement: "1 in: PCMU;\n1 out: PCMU;"}
	resp, body := post(first)
	uri := resp.Header.Get("Location")
	var echo Handler
	must(t, json.Unmarshal(body, &echo))
	if resp.StatusCode != 201 || !strings.HasPrefix(uri, testTG+"/handlers/") || echo.URI != uri || echo.Advertisement != first.Advertisement || echo.HandlerID != "one" {
		t.Fatalf("POST: %d %s", resp.StatusCode, body)
	}
	if resp, _ := post(first); resp.Header.Get("Location") != uri {
		t.Errorf("the same handler got another URI: %s", resp.Header.Get("Location"))
	}
	if resp, body := post(Handler{HandlerID: "two", Advertisement: first.Advertisement, URI: "https://evil.test/"}); resp.StatusCode != 201 || strings.Contains(string(body), "evil") {
		t.Errorf("second handler: %d %s", resp.StatusCode, body)
	}
	resp, body = post(Handler{HandlerID: "three", Advertisement: first.Advertisement})
	expectProblem(t, resp, body, 429, "/problems/rate-limited")

	resp, _ = r.do(r.h3, exchange{method: "GET", url: uri, token: token})
	etag := resp.Header.Get("ETag")
	if resp.StatusCode != 200 || etag == "" {
		t.Fatalf("GET: %d, ETag %q", resp.StatusCode, etag)
	}
	if resp, _ := r.do(r.h3, exchange{method: "GET", url: uri, token: token, header: map[string]string{"If-None-Match": etag}}); resp.StatusCode != 304 {
		t.Errorf("If-None-Match: %d", resp.StatusCode)
	}
	changed := Handler{HandlerID: "one", Advertisement: "1 in: PCMA;\n1 out: PCMA;"}
	put := exchange{method: "PUT", url: uri, token: token, body: changed, header: map[string]string{"If-Match": etag}}
	if resp, body := r.do(r.h3, put); resp.StatusCode != 200 || resp.Header.Get("ETag") == etag {
		t.Errorf("PUT: %d %s", resp.StatusCode, body)
	}
	resp, body = r.do(r.h3, put)
	anyProblem(t, resp, body, 412)

	// Another server with the same store knows it, whatever else is there.
	_, err := st.Put(t.Context(), store.Handlers, uuid.NewString(), []byte(`{"v":99}`))
	must(t, err)
	r2 := newRig(t, func(c *ServerConfig) { c.Store = st })
	r2.store = st
	if resp, body := r2.do(r2.h3, exchange{method: "GET", url: uri, token: r2.token(testTG)}); resp.StatusCode != 200 || !strings.Contains(string(body), "PCMA") {
		t.Errorf("after a restart: %d %s", resp.StatusCode, body)
	}
	// Nobody else does.
	resp, body = r.do(r.h3, exchange{method: "GET", url: strings.Replace(uri, testTG, testTG+"-2", 1), token: r.token(testTG + "-2")})
	anyProblem(t, resp, body, 404)

	if resp, body := r.do(r.h3, exchange{method: "DELETE", url: uri, token: token}); resp.StatusCode != 204 {
		t.Errorf("DELETE: %d %s", resp.StatusCode, body)
	}
	for _, method := range []string{"GET", "DELETE"} {
		resp, body = r.do(r.h3, exchange{method: method, url: uri, token: token})
		anyProblem(t, resp, body, 404)
	}
	resp, body = r.do(r.h3, exchange{method: "GET", url: testTG + "/handlers/..%2f..", token: token})
	anyProblem(t, resp, body, 404)

	for _, bad := range []any{
		"{}", "[]", `{"handler-id":"x"}`, `{"handler-id":"x","advertisement":"1 sideways: PCMU;"}`, `{"handler-id":1}`,
		Handler{HandlerID: strings.Repeat("x", maxHandlerID+1), Advertisement: first.Advertisement},
	} {
		resp, body := post(bad)
		expectProblem(t, resp, body, 400, "/problems/bad-request")
	}
	resp, body = r.do(r.h3, exchange{method: "POST", url: testTG + "/handlers", token: token, body: "<x/>", header: map[string]string{"Content-Type": "text/xml"}})
	if resp.StatusCode != 415 {
		t.Errorf("text/xml: %d %s", resp.StatusCode, body)
	}
	resp, body = post(Handler{HandlerID: "x", Advertisement: strings.Repeat(" ", maxBody)})
	anyProblem(t, resp, body, 413)
}

// TestEnrolment issues certificates for the TG's numbers and no others, and
// publishes them.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	key := newKey(t)
	csr, err := stir.NewCSR(key, []policy.Pattern{"+1202555010x"})
	must(t, err)
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})
	forms := map[string]exchange{
		"DER":         {body: csr, header: map[string]string{"Content-Type": "application/pkcs10"}},
		"PEM":         {body: asPEM, header: map[string]string{"Content-Type": "application/x-pem-file"}},
		"JSON PEM":    {body: map[string]string{"csr": string(asPEM)}},
		"JSON base64": {body: map[string]string{"csr": base64.StdEncoding.EncodeToString(csr)}},
	}
	for name, x := range forms {
		t.Run(name, func(t *testing.T) {
			x.method, x.url, x.token = "POST", testTG+"/certs", token
			resp, body := r.do(r.h3, x)
			chain, err := stir.ParseChain(body)
			if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != mediaPEM {
				t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
			}
			x5u := resp.Header.Get("Content-Location")
			if want := "<" + x5u + `>; rel="x5u"`; resp.Header.Get("Link") != want || x5u != "https://ript.test/certs/"+stir.Thumbprint(chain[0])+".pem" {
				t.Errorf("x5u %q, Link %q", x5u, resp.Header.Get("Link"))
			}
			if _, err := stir.NewSigner(key, chain, x5u); err != nil {
				t.Errorf("the chain does not sign: %v", err)
			}
			public, published := r.do(r.h2, exchange{method: "GET", url: x5u})
			if public.StatusCode != 200 || string(published) != string(body) || !strings.Contains(public.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("published: %d %v", public.StatusCode, public.Header)
			}
			again, _ := r.do(r.h2, exchange{method: "GET", url: x5u, header: map[string]string{"If-None-Match": public.Header.Get("ETag")}})
			if again.StatusCode != 304 {
				t.Errorf("If-None-Match: %d", again.StatusCode)
			}
		})
	}
	greedy, err := stir.NewCSR(key, []policy.Pattern{"+1202555xxxx"})
	must(t, err)
	resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/certs", token: token, body: greedy})
	if resp.StatusCode != 400 { // sent as JSON by mistake
		t.Errorf("DER as JSON: %d %s", resp.StatusCode, body)
	}
	pkcs10 := map[string]string{"Content-Type": "application/pkcs10"}
	resp, body = r.do(r.h3, exchange{method: "POST", url: testTG + "/certs", token: token, body: greedy, header: pkcs10})
	expectProblem(t, resp, body, 403, "/problems/caller-forbidden")
	for _, bad := range []any{"", "x", string(csr[:40])} {
		resp, body = r.do(r.h3, exchange{method: "POST", url: testTG + "/certs", token: token, body: bad, header: pkcs10})
		expectProblem(t, resp, body, 400, "/problems/bad-request")
	}
	resp, body = r.do(r.h3, exchange{method: "POST", url: testTG + "/certs", token: token, body: strings.Repeat("x", maxBody+1), header: pkcs10})
	anyProblem(t, resp, body, 413)
	resp, _ = r.do(r.h3, exchange{method: "POST", url: testTG + "/cert", token: token, body: csr, header: pkcs10})
	if resp.StatusCode != 308 || resp.Header.Get("Location") != pathTGPrefix+"office/certs" {
		t.Errorf("the drafts' other name: %d %q", resp.StatusCode, resp.Header.Get("Location"))
	}
}

// TestUnknownResources and methods are problems too.
func TestUnknownResources(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	root, token := r.token(testRoot), r.token(testTG)
	for _, x := range []exchange{
		{method: "GET", url: "https://ript.test/nothing", token: root},
		{method: "GET", url: testTG + "/nothing", token: token},
		{method: "GET", url: testTG + "//calls", token: token},
	} {
		resp, body := r.do(r.h3, x)
		anyProblem(t, resp, body, 404)
	}
	for url, allow := range map[string]string{testTG: "GET, HEAD", testTG + "/calls": "POST", testTG + "/certs": "POST"} {
		resp, body := r.do(r.h2, exchange{method: "DELETE", url: url, token: token})
		anyProblem(t, resp, body, 405)
		if got := resp.Header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q, want %q", url, got, allow)
		}
	}
}

// TestPanic hurts one request only.
func TestPanic(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.Log = nil })
	token := r.token(testTG)
	r.acceptor.set(func(context.Context, bridge.Leg) error { panic("a bug") })
	resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
		header: map[string]string{headerIdempotencyKey: uuid.NewString()},
		body:   CallRequest{Handler: r.register(token, testTG), Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
	expectProblem(t, resp, body, 500, "/problems/internal")
	if n := r.server.calls.count(); n != 0 {
		t.Errorf("%d calls are left of it", n)
	}
	r.acceptor.set(nil)
	r.place(r.h3, token)
}
