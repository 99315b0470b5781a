package h3

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge/store"
)

const customersURL = testRoot + pathCustomerTGs

// secretToken is a token that must not be seen again.
const secretToken = "secret-secret-secret-secret-secret-secret-1"

// customerDoc is a registration that is in order.
func customerDoc(change func(map[string]any)) map[string]any {
	doc := map[string]any{
		"uri": "https://office.example/ript/v1/tgs/telco", "name": "office", "token": secretToken,
		"outbound": map[string]any{"destinations": "+120255501xx"},
	}
	if change != nil {
		change(doc)
	}
	return doc
}

func (r *rig) customer(method, url, etag string, body any) (*http.Response, []byte) {
	r.t.Helper()
	x := exchange{method: method, url: url, token: r.token(testRoot), body: body, header: map[string]string{}}
	if etag != "" {
		x.header["If-Match"] = etag
	}
	resp, raw := r.do(r.h3, x)
	if strings.Contains(string(raw), "secret") {
		r.t.Errorf("%s %s says the token: %s", method, url, raw)
	}
	return resp, raw
}

// TestCustomerTG is the life of a registration.
func TestCustomerTG(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	resp, body := r.customer("POST", customersURL, "", customerDoc(nil))
	at, etag := resp.Header.Get("Location"), resp.Header.Get("ETag")
	if resp.StatusCode != 201 || at != customersURL+"/office" || etag == "" {
		t.Fatalf("POST: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	var doc CustomerTG
	must(t, json.Unmarshal(body, &doc))
	life := time.Until(doc.TokenExpires)
	if doc.URI != "https://office.example/ript/v1/tgs/telco" || doc.ProviderTG != testTG || life > maxTokenLife || life < maxTokenLife-time.Minute {
		t.Errorf("registered %+v", doc)
	}
	stored, err := r.server.customers.get(t.Context(), "office")
	must(t, err)
	raw, err := r.store.Get(t.Context(), store.Peers, customerKey("office"))
	must(t, err)
	if stored.Doc.Token != secretToken || strings.Contains(string(raw.Value), "secret") {
		t.Errorf("stored %s", raw.Value)
	}

	// Reading, with and without a validator.
	resp, body = r.customer("GET", at, "", nil)
	if resp.StatusCode != 200 || resp.Header.Get("ETag") != etag || resp.Header.Get("Vary") != "Authorization" {
		t.Errorf("GET: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	resp, _ = r.do(r.h3, exchange{method: "GET", url: at, token: r.token(testRoot), header: map[string]string{"If-None-Match": etag}})
	if resp.StatusCode != 304 {
		t.Errorf("If-None-Match: %d", resp.StatusCode)
	}
	resp, body = r.customer("GET", customersURL, "", nil)
	if resp.StatusCode != 200 || !strings.Contains(string(body), doc.URI) || resp.Header.Get("ETag") == "" {
		t.Errorf("list: %d %s", resp.StatusCode, body)
	}

	// A new token by PUT, which wants to know what it replaces.
	next := customerDoc(func(d map[string]any) { d["token"] = strings.ToUpper(secretToken) })
	resp, body = r.customer("PUT", at, "", next)
	anyProblem(t, resp, body, http.StatusPreconditionRequired)
	resp, body = r.customer("PUT", at, etag, next)
	if resp.StatusCode != 200 || resp.Header.Get("ETag") == etag {
		t.Errorf("PUT: %d %s", resp.StatusCode, body)
	}
	resp, body = r.customer("PUT", at, etag, next)
	anyProblem(t, resp, body, http.StatusPreconditionFailed)
	// The same again, by either name and method, makes no second one.
	for _, method := range []string{"POST", "PUT"} {
		resp, body = r.customer(method, testRoot+pathConsumerTGs, "", next)
		if resp.StatusCode != 200 || resp.Header.Get("Location") != at {
			t.Errorf("%s consumertgs: %d %v %s", method, resp.StatusCode, resp.Header, body)
		}
	}

	// The end.
	resp, body = r.customer("DELETE", at, `"old"`, nil)
	anyProblem(t, resp, body, http.StatusPreconditionFailed)
	if resp, body := r.customer("DELETE", at, "", nil); resp.StatusCode != 204 {
		t.Errorf("DELETE: %d %s", resp.StatusCode, body)
	}
	for _, method := range []string{"GET", "DELETE"} {
		resp, body = r.customer(method, at, "", nil)
		anyProblem(t, resp, body, 404)
	}
	resp, body = r.customer("PUT", at, etag, next)
	anyProblem(t, resp, body, 404)
	// A PUT to the collection makes one.
	if resp, _ = r.customer("PUT", testRoot+pathConsumerTGs, "", next); resp.StatusCode != 201 || resp.Header.Get("Location") != at {
		t.Errorf("PUT consumertgs: %d %v", resp.StatusCode, resp.Header)
	}
}

// TestCustomerTGRefused says what is wrong with a registration, and never its
// token.
func TestCustomerTGRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.TGs[0].Hosts = []string{"office.example", "*.office.example"} })
	jwtOf := func(exp time.Time, aud string) string {
		claims := fmt.Sprintf(`{"exp":%d,"aud":%q,"x":"secret"}`, exp.Unix(), aud)
		return "eyJhbGciOiJFUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2lnbmF0dXJlc2lnbmF0dXJl"
	}
	uri := "https://office.example/ript/v1/tgs/telco"
	for name, tc := range map[string]struct {
		change func(map[string]any)
		status int
	}{
		"http":                {func(d map[string]any) { d["uri"] = "http://office.example/tg" }, 400},
		"an address":          {func(d map[string]any) { d["uri"] = "https://192.0.2.1/tg" }, 400},
		"an IPv6 address":     {func(d map[string]any) { d["uri"] = "https://[2001:db8::1]/tg" }, 400},
		"a number for a host": {func(d map[string]any) { d["uri"] = "https://2130706433/tg" }, 400},
		"a query":             {func(d map[string]any) { d["uri"] = uri + "?x=1" }, 400},
		"user":                {func(d map[string]any) { d["uri"] = "https://secret@office.example/tg" }, 400},
		"no uri":              {func(d map[string]any) { delete(d, "uri") }, 400},
		"another host":        {func(d map[string]any) { d["uri"] = "https://evil.example/tg" }, 403},
		"a host that ends so": {func(d map[string]any) { d["uri"] = "https://evil-office.example/tg" }, 403},
		"origins":             {func(d map[string]any) { d["outbound"] = map[string]any{"destinations": "+12025550100", "origins": "x"} }, 400},
		"no destinations":     {func(d map[string]any) { d["outbound"] = map[string]any{} }, 400},
		"any destination":     {func(d map[string]any) { d["outbound"] = map[string]any{"destinations": "*"} }, 403},
		"numbers of others": {func(d map[string]any) {
			d["outbound"] = map[string]any{"destinations": []string{"+12025550100", "+1303*"}}
		}, 403},
		"destinations, garbled": {func(d map[string]any) { d["outbound"] = map[string]any{"destinations": 7} }, 400},
		"no token":              {func(d map[string]any) { delete(d, "token") }, 400},
		"a short token":         {func(d map[string]any) { d["token"] = "secret" }, 400},
		"a token with spaces":   {func(d map[string]any) { d["token"] = secretToken + " secret" }, 400},
		"a huge token":          {func(d map[string]any) { d["token"] = strings.Repeat("secret", 1000) }, 400},
		"a token for long":      {func(d map[string]any) { d["tokenExpires"] = time.Now().Add(100 * 24 * time.Hour) }, 400},
		"a token of yesterday":  {func(d map[string]any) { d["tokenExpires"] = time.Now().Add(-24 * time.Hour) }, 400},
		"a JWT for long":        {func(d map[string]any) { d["token"] = jwtOf(time.Now().Add(100*24*time.Hour), uri) }, 400},
		"a JWT for others":      {func(d map[string]any) { d["token"] = jwtOf(time.Now().Add(time.Hour), "https://other.example") }, 400},
		"another's TG":          {func(d map[string]any) { d["providertg"] = "https://ript.test/ript/v1/tgs/elsewhere" }, 400},
		"not an object":         {func(d map[string]any) { d["outbound"] = "secret" }, 400},
	} {
		resp, body := r.customer("POST", customersURL, "", customerDoc(tc.change))
		if resp.StatusCode != tc.status || resp.Header.Get("Content-Type") != mediaProblem {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	// What is in order, at the limits.
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	for name, change := range map[string]func(map[string]any){
		"below a name": func(d map[string]any) { d["uri"] = "https://a.office.example/tg" },
		"a JWT":        func(d map[string]any) { d["token"] = jwtOf(expires, uri) },
		"90 days":      func(d map[string]any) { d["tokenExpires"] = time.Now().Add(maxTokenLife) },
		"more members": func(d map[string]any) { d["media"], d["x"] = []string{"put-get"}, 1 },
	} {
		resp, body := r.customer("POST", customersURL, "", customerDoc(change))
		if resp.StatusCode/100 != 2 {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		if name == "a JWT" && !strings.Contains(string(body), expires.UTC().Format(time.RFC3339)) {
			t.Errorf("the token's own end is not taken: %s", body)
		}
	}
	// One customer TG does not serve two TGs of ours.
	if resp, body := r.customer("POST", customersURL, "", customerDoc(nil)); resp.StatusCode != 200 {
		t.Errorf("again: %d %s", resp.StatusCode, body)
	}
	resp, body := r.customer("POST", customersURL, "", customerDoc(func(d map[string]any) { d["providertg"] = testTG + "-2" }))
	anyProblem(t, resp, body, http.StatusConflict)
	// Nor does it without a token for the root, or for a client that has no TG.
	resp, body = r.do(r.h3, exchange{method: "POST", url: customersURL, body: customerDoc(nil)})
	expectProblem(t, resp, body, 401, "/problems/token-missing")
	resp, body = r.do(r.h3, exchange{method: "POST", url: customersURL, token: r.token(testTG), body: customerDoc(nil)})
	expectProblem(t, resp, body, 401, "/problems/token-audience")
}

// TestCustomerTGByOAuth needs no token where the server has a key of its own.
func TestCustomerTGByOAuth(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.CustomerOAuth = true })
	resp, body := r.customer("POST", customersURL, "", customerDoc(func(d map[string]any) { delete(d, "token") }))
	if resp.StatusCode != 201 || strings.Contains(string(body), "tokenExpires") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestGrants: a token opens its TG and nothing else, the next one takes its
// place with an overlap, and no token outlives its end.
func TestGrants(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	st := store.NewMemory()
	r := newRig(t, func(c *ServerConfig) {
		c.TGs = append(c.TGs, TGConfig{Name: "telco", ClientID: "telco", Customer: true, Destinations: numbers(t, "+1202*")})
		c.Store = st
		c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	})
	r.store = st
	const uri = "https://ript.test/ript/v1/tgs/telco"
	get := func(url, token string) (*http.Response, []byte) {
		return r.do(r.h3, exchange{method: "GET", url: url, token: token})
	}
	first, expires, err := r.server.grants.mint(t.Context(), "telco")
	must(t, err)
	if len(first) != grantLength || time.Until(expires) > maxTokenLife {
		t.Errorf("token of %d characters until %v", len(first), expires)
	}
	resp, body := get(uri, first)
	if resp.StatusCode != 200 || strings.Contains(string(body), "origin") {
		t.Errorf("own TG: %d %s", resp.StatusCode, body)
	}
	for _, elsewhere := range []string{testTG, testRoot + pathTGs, customersURL} {
		resp, body = get(elsewhere, first)
		expectProblem(t, resp, body, 401, "/problems/token-audience")
	}
	resp, body = get(uri, strings.Repeat("x", grantLength))
	expectProblem(t, resp, body, 401, "/problems/token-invalid")
	resp, body = r.do(r.h3, exchange{method: "POST", url: uri + "/certs", token: first, body: "{}"})
	anyProblem(t, resp, body, 404)

	second, _, err := r.server.grants.mint(t.Context(), "telco")
	must(t, err)
	must(t, r.server.grants.retire(t.Context(), "telco", second))
	for _, token := range []string{first, second} {
		if resp, body := get(uri, token); resp.StatusCode != 200 {
			t.Errorf("within the overlap: %d %s", resp.StatusCode, body)
		}
	}
	late.Store(int64(grantOverlap + time.Minute))
	resp, body = get(uri, first)
	expectProblem(t, resp, body, 401, "/problems/token-expired")
	if resp, body := get(uri, second); resp.StatusCode != 200 {
		t.Errorf("after the overlap: %d %s", resp.StatusCode, body)
	}
	must(t, r.server.grants.retire(t.Context(), "telco", second))
	if keys, _ := st.Keys(t.Context(), store.Peers); len(keys) != 1 {
		t.Errorf("%d tokens are kept, one lives", len(keys))
	}
	must(t, r.server.grants.retire(t.Context(), "telco", ""))
	resp, body = get(uri, second)
	expectProblem(t, resp, body, 401, "/problems/token-invalid")
}

// FuzzCustomerTG: whatever a client registers, what is accepted holds.
func FuzzCustomerTG(f *testing.F) {
	good, _ := json.Marshal(customerDoc(nil))
	f.Add(good)
	f.Add([]byte(`{"uri":"https://[::1]/","outbound":{"destinations":["*"]},"token":"a.b.c"}`))
	provider := TGConfig{Hosts: []string{"*.example"}}
	must := func(err error) {
		if err != nil {
			f.Fatal(err)
		}
	}
	must(json.Unmarshal([]byte(`["+1202*"]`), &provider.Origins))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var doc CustomerTG
		if json.Unmarshal(raw, &doc) != nil || doc.check(provider, false, now) != nil {
			return
		}
		u, err := parseURI(doc.URI)
		if err != nil || isAddress(u.Hostname()) || doc.Outbound.Destinations.Covers("+13035550100") || doc.Outbound.Origins != "" ||
			doc.TokenExpires.After(now.Add(maxTokenLife+tokenLifeSlack)) || !doc.TokenExpires.After(now) || len(doc.Token) < minCustomerToken {
			t.Errorf("accepted %s", raw)
		}
	})
}
