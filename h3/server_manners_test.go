package h3

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"riptide/bridge"
)

// TestEarlyData: what a balancer took in early data may have been sent twice,
// so that nothing is made of it (RFC 8470).
func TestEarlyData(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	call, _ := r.place(r.h3, token)
	early := map[string]string{"Early-Data": "1", "Content-Type": "application/json", headerIdempotencyKey: uuid.NewString()}
	for _, x := range []exchange{
		{method: "POST", url: testTG + "/calls", token: token},
		{method: "POST", url: testTG + "/handlers", token: token},
		{method: "PUT", url: testTG + "/handlers/x", token: token},
		{method: "DELETE", url: testTG + "/handlers/x", token: token},
		{method: "POST", url: testTG + "/certs", token: token},
		{method: "POST", url: call.URI, token: token},
		{method: "POST", url: testRoot + "/v1/customertgs", token: token},
		{method: "POST", url: "https://ript.test/oauth/token"},
		{method: "PUT", url: testTG + "/calls/events/x", token: token},
	} {
		x.header, x.body = early, "{}"
		for _, c := range []*http.Client{r.h3, r.h1} {
			resp, body := r.do(c, x)
			anyProblem(t, resp, body, http.StatusTooEarly)
		}
	}
	for _, x := range []exchange{
		{method: "GET", url: testTG, token: token},
		{method: "GET", url: call.URI, token: token},
		{method: "PUT", url: call.URI + "/events", token: token, body: "[]"},
	} {
		x.header = early
		if resp, body := r.do(r.h3, x); resp.StatusCode/100 != 2 {
			t.Errorf("%s %s in early data: %d %s", x.method, x.url, resp.StatusCode, body)
		}
	}
}

// TestTooMuchBeforeTheBody: long targets and header fields are problems.
func TestTooMuchBeforeTheBody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	pad := func(n int) string { return strings.Repeat("x", n) }
	target := maxTarget - len("/ript/v1/tgs/office?")
	resp, body := r.do(r.h3, exchange{method: "GET", url: testTG + "?" + pad(target), token: token})
	if resp.StatusCode != 200 {
		t.Errorf("the longest target: %d %s", resp.StatusCode, body)
	}
	resp, body = r.do(r.h3, exchange{method: "GET", url: testTG + "?" + pad(target+1), token: token})
	anyProblem(t, resp, body, http.StatusRequestURITooLong)
	// A token of its own, so that only the size is in the way.
	resp, body = r.do(r.h2, exchange{method: "GET", url: testTG, token: token, header: map[string]string{"X-Pad": pad(maxFields)}})
	anyProblem(t, resp, body, http.StatusRequestHeaderFieldsTooLarge)
	resp, _ = r.do(r.h2, exchange{method: "GET", url: testTG, token: token, header: map[string]string{"X-Pad": pad(maxFields - 2048)}})
	if resp.StatusCode != 200 {
		t.Errorf("many header fields: %d", resp.StatusCode)
	}
}

// TestOwnNameOnly: URIs come from the configuration, whatever the request says.
func TestOwnNameOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []*http.Client{r.h3, r.h2, r.h1} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", testTG, nil)
		must(t, err)
		req.Host = "evil.test"
		req.Header.Set("Authorization", "Bearer "+r.token(testTG))
		req.Header.Set("X-Forwarded-Host", "evil.test")
		req.Header.Set("Forwarded", "host=evil.test")
		resp, err := c.Do(req)
		must(t, err)
		raw, err := io.ReadAll(resp.Body)
		must(t, err)
		must(t, resp.Body.Close())
		if body := string(raw); resp.StatusCode != 200 || strings.Contains(body, "evil") || !strings.Contains(body, testTG) {
			t.Errorf("%d %s", resp.StatusCode, raw)
		}
	}
}

// TestHead is GET without the body, and no byway.
func TestHead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	call, _ := r.place(r.h3, token)
	for _, c := range []*http.Client{r.h3, r.h2, r.h1} {
		get, _ := r.do(c, exchange{method: "GET", url: testTG, token: token})
		head, body := r.do(c, exchange{method: "HEAD", url: testTG, token: token})
		if head.StatusCode != 200 || len(body) != 0 || head.Header.Get("ETag") != get.Header.Get("ETag") || head.Header.Get("Cache-Control") == "" {
			t.Errorf("HEAD: %d %q %v", head.StatusCode, body, head.Header)
		}
		for _, of := range []string{"/events", "/media"} {
			resp, _ := r.do(c, exchange{method: "HEAD", url: call.URI + of, token: token})
			if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, PUT" {
				t.Errorf("HEAD %s: %d %v", of, resp.StatusCode, resp.Header)
			}
		}
	}
}

// TestRateLimitFields tell the client where it stands, before it is refused and
// when it is.
func TestRateLimitFields(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.Limits.CallsPerSecond = 2 })
	token := r.token(testTG)
	post := func(path string) (*http.Response, []byte) {
		return r.do(r.h3, exchange{method: "POST", url: testTG + path, token: token, body: "{}"})
	}
	resp, body := post("/calls")
	expectProblem(t, resp, body, 400, "/problems/bad-request")
	if p, l := resp.Header.Get("RateLimit-Policy"), resp.Header.Get("RateLimit"); p != `"calls";q=2;w=1` || l != `"calls";r=1;t=1` {
		t.Errorf("RateLimit-Policy %q, RateLimit %q", p, l)
	}
	for range 3 {
		resp, body = post("/calls")
	}
	expectProblem(t, resp, body, 429, "/problems/rate-limited")
	if resp.Header.Get("Retry-After") != "1" || resp.Header.Get("RateLimit") != `"calls";r=0;t=1` {
		t.Errorf("refused with %v", resp.Header)
	}
	resp, _ = post("/handlers")
	if p := resp.Header.Get("RateLimit-Policy"); p != `"handlers";q=1000;w=10` {
		t.Errorf("handlers: RateLimit-Policy %q", p)
	}
	resp, _ = r.do(r.h3, exchange{method: "GET", url: testTG, token: token})
	if resp.Header.Get("RateLimit") != "" {
		t.Error("reading has a quota")
	}
}

// TestProblemTypes: each has a page and stands in the list.
func TestProblemTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, list := r.do(r.h3, exchange{method: "GET", url: "https://ript.test" + pathProblems})
	for _, code := range bridge.Codes() {
		resp, page := r.do(r.h3, exchange{method: "GET", url: "https://ript.test" + pathProblems + string(code)})
		if resp.StatusCode != 200 || !strings.HasPrefix(string(page), string(code)+"\n") || resp.Header.Get("Cache-Control") == "" {
			t.Errorf("%s: %d %s", code, resp.StatusCode, page)
		}
		if !strings.Contains(string(list), pathProblems+string(code)+" ") {
			t.Errorf("the list lacks %s", code)
		}
	}
}
