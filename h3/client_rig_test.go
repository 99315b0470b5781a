package h3

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
)

// token checks the client assertion as an authorisation server must.
func (p *fakePeer) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	tok, err := jwt.ParseSigned(r.Form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	var claims jwt.Claims
	if err == nil {
		err = tok.Claims(p.key.Public(), &claims)
	}
	if err == nil {
		err = claims.Validate(jwt.Expected{Issuer: "office", Subject: "office", AnyAudience: jwt.Audience{p.base()}})
	}
	if err != nil || r.Form.Get("resource") == "" || r.Form.Get("grant_type") != "client_credentials" {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	p.mu.Lock()
	p.issued++
	value := fmt.Sprintf("token-%d", p.issued)
	p.tokens[value] = r.Form.Get("resource")
	p.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"access_token": value, "token_type": "Bearer", "expires_in": 300})
}

// Revoke makes every token given so far an expired one.
func (p *fakePeer) Revoke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.tokens)
}

func (p *fakePeer) Issued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.issued
}

func (p *fakePeer) authorised(path string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if p.onRequest != nil {
			p.onRequest(r)
		}
		value, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		p.mu.Lock()
		resource := p.tokens[value]
		p.mu.Unlock()
		if resource != p.base()+path {
			p.refuse(w, bridge.Cause{Code: "token-expired"})
			return
		}
		next(w, r)
	}
}

// config is that of a client with one trunk, "telco", to this peer.
func (p *fakePeer) config() ClientConfig {
	return ClientConfig{
		Store: store.NewMemory(), Logger: slog.New(slog.DiscardHandler), HandlerID: "node-1",
		Trunks: []TrunkConfig{{
			Name: "telco", Connect: p.base(), ClientID: "office", Key: p.key, Roots: p.Roots,
			Numbers: []policy.Pattern{"+1202555xxxx"},
		}},
	}
}

// runClient runs a client until the test ends.
func runClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("the client does not stop")
		}
	})
	return c
}

// client runs a client and waits until its trunk is ready.
func (p *fakePeer) client(t testing.TB) *Client {
	t.Helper()
	c := runClient(t, p.config())
	awaitReady(t, c)
	return c
}

func awaitReady(t testing.TB, c *Client) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for c.Ready("telco") != nil {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", c.Ready("telco"))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func testIntent() bridge.Intent {
	return bridge.Intent{
		Call: "call-1", Trunk: "telco", From: "+12025550100", To: "+12025550199", Passport: "passport",
		Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMA, bridge.PCMU}, Digits: true, ComfortNoise: true}, Hops: 9,
	}
}

func nextEvent(t testing.TB, leg bridge.Leg) bridge.Event {
	t.Helper()
	select {
	case ev, ok := <-leg.Events():
		if !ok {
			t.Fatal("the leg closed its events, another was expected")
		}
		return ev
	case <-time.After(20 * time.Second):
		t.Fatal("no event of the leg")
	}
	panic("unreachable")
}

// Say sends an event on every byway, those to come included.
func (c *fakeCall) Say(ev Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	ev.Seq, ev.Direction, ev.Call, ev.Timestamp = c.seq, serverToClient, c.uri(), time.Now().UTC()
	c.history = append(c.history, ev)
	close(c.changed)
	c.changed = make(chan struct{})
}

// Close ends the byways with their bracket.
func (c *fakeCall) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.port.Close()
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// Vanish makes the call unknown from the next request on.
func (c *fakeCall) Vanish() { c.mu.Lock(); c.gone = true; c.mu.Unlock() }

func (c *fakeCall) Gone() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.gone }

func (c *fakeCall) counts() (gets, puts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gets, c.puts
}

// fetchOver GETs a URL over the connections of the client's trunk.
func fetchOver(c *Client, url string) ([]byte, error) {
	rep, err := c.trunks["telco"].Do(c.ctx, request{Method: http.MethodGet, URL: url})
	return rep.Body, err
}
