package h3

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

// TestPublishAgain: a node takes back what the authority's CA has issued, and
// nothing else.
func TestPublishAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// Who shows no token may not say this much on one connection.
	r.do(r.h3, exchange{method: http.MethodGet, url: testTG, token: r.token(testTG)})
	issue := func(ca *stir.CA, life time.Duration, at time.Time) (url string, pem []byte) {
		t.Helper()
		csr, err := stir.NewCSR(newKey(t), []policy.Pattern{"+1202555010x"})
		must(t, err)
		chain, err := ca.Issue(csr, numbers(t, "*"), life, at)
		must(t, err)
		return "https://ript.test/certs/" + stir.Thumbprint(chain[0]) + ".pem", stir.EncodeChain(chain)
	}
	url, pem := issue(r.cfg.CA, time.Hour, time.Now())
	foreignURL, foreign := issue(newTestCA(t, "another"), time.Hour, time.Now())
	oldURL, old := issue(r.cfg.CA, time.Second, time.Now().Add(-3*time.Minute))
	for _, tc := range []struct {
		name   string
		url    string
		body   []byte
		status int
	}{
		{"another CA's", foreignURL, foreign, http.StatusForbidden},
		{"another's name", foreignURL, pem, http.StatusBadRequest},
		{"no name", "https://ript.test/certs/x", pem, http.StatusBadRequest},
		{"expired", oldURL, old, http.StatusForbidden},
		{"no certificate", url, []byte("hello"), http.StatusBadRequest},
		{"nothing", url, nil, http.StatusBadRequest},
		{"as large as may be", url, []byte(strings.Repeat("\n", maxChainPEM)), http.StatusBadRequest},
		{"too large", url, []byte(strings.Repeat("\n", maxChainPEM+1)), http.StatusRequestEntityTooLarge},
		{"ours", url, pem, http.StatusNoContent},
		{"ours again", url, pem, http.StatusNoContent},
	} {
		resp, body := r.do(r.h3, exchange{method: http.MethodPut, url: tc.url, body: tc.body, header: map[string]string{"Content-Type": mediaPEM}})
		if resp.StatusCode != tc.status {
			t.Errorf("%s: %d %s, want %d", tc.name, resp.StatusCode, body, tc.status)
		}
		got, _ := r.do(r.h3, exchange{method: http.MethodGet, url: tc.url})
		if there := got.StatusCode == http.StatusOK; there != (tc.status == http.StatusNoContent) {
			t.Errorf("%s: GET then says %d", tc.name, got.StatusCode)
		}
	}
	none := newRig(t, func(c *ServerConfig) { c.CA = nil })
	if resp, _ := none.do(none.h3, exchange{method: http.MethodPut, url: url, body: pem}); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a server without a CA says %d", resp.StatusCode)
	}
}

// TestPublishedChain: what is an authority's own, and what has to be fetched.
func TestPublishedChain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, name := r.enrol(r.cfg.CA, newKey(t), "+1202555010x")
	own := NewPublished(testAuthority, r.store)
	for x5u, want := range map[string]bool{
		"https://ript.test/certs/" + name + ".pem":      true,
		"https://RIPT.test:443/certs/" + name + ".pem":  true,
		"https://ript.test:8443/certs/" + name + ".pem": false,
		"https://ript.test/certs/" + name:               false,
		"https://ript.test/certs/" + name + ".pem?x":    false,
		"http://ript.test/certs/" + name + ".pem":       false,
		"https://other.test/certs/" + name + ".pem":     false,
		"https://ript.test/other/" + name + ".pem":      false,
		"https://ript.test/certs/" + uuid.NewString():   false,
		"https://ript.test/certs/%zz":                   false,
		"":                                              false,
	} {
		if got := own.Chain(t.Context(), x5u) != nil; got != want {
			t.Errorf("%s: %v, want %v", x5u, got, want)
		}
	}
	if (Published{}).Chain(t.Context(), "https://ript.test/certs/"+name+".pem") != nil {
		t.Error("the zero value publishes something")
	}
}

// TestNodesOfOneAuthority: two nodes with stores of their own give a handler one
// URI, and take calls after the client has told both what they must know.
func TestNodesOfOneAuthority(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	out, in := p.dial()
	must(t, in.End(t.Context(), bridge.CauseNormal))
	_ = awaitEnded(t, out)

	// Another node: nothing of what the first was told is there.
	for _, bucket := range []store.Bucket{store.Handlers, store.Certificates} {
		keys, err := p.store.Keys(t.Context(), bucket)
		must(t, err)
		for _, key := range keys {
			must(t, p.store.Delete(t.Context(), bucket, key))
		}
	}
	p.server.handlers.mu.Lock()
	clear(p.server.handlers.byID)
	p.server.handlers.mu.Unlock()

	known := p.client.trunks["telco"].snapshot()
	uris := known.handlers.uris()
	out, in = p.dial()
	must(t, in.End(t.Context(), bridge.CauseNormal))
	_ = awaitEnded(t, out)
	after := p.client.trunks["telco"].snapshot()
	if !slices.Equal(after.handlers.uris(), uris) {
		t.Errorf("the handlers were %v and are %v", uris, after.handlers.uris())
	}
	if after.identity != known.identity {
		t.Error("another certificate was enrolled: the first was good")
	}
	if n := p.server.handlers.count(); n != 1 {
		t.Errorf("%d handlers were registered again, the call needed one", n)
	}
}

// uris of the handlers, in the order in which they were registered.
func (hs *handlers) uris() []string {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	var out []string
	for _, h := range hs.all {
		out = append(out, h.uri)
	}
	return out
}
