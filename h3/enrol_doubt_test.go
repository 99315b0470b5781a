package h3

import (
	"net/http"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/policy/stir"
)

// TestPeerLostCertificates: a peer that came up with a new state directory does
// not know the certificate it issued, and refuses every call. The client gets
// another one, keeps it, and does not ask again at each refusal.
func TestPeerLostCertificates(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	p.onPost = func(w http.ResponseWriter, _ *http.Request, _ CallRequest) bool {
		p.refuse(w, bridge.Cause{Code: "identity-info-unavailable"}.With("404"))
		return true
	}
	cfg := p.config()
	c := runClient(t, cfg)
	awaitReady(t, c)
	p.mu.Lock()
	clear(p.certs)
	p.mu.Unlock()
	served := func() bool {
		token, err := c.Sign(t.Context(), "telco", "+12025550100", "+12025550199", "A")
		if err != nil {
			t.Fatal(err)
		}
		passport, err := stir.ParsePassport(token)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fetchOver(c, passport.Header.X5U)
		return err == nil
	}
	if served() {
		t.Fatal("the peer has not lost the certificate")
	}
	limit := time.Now().Add(testWait)
	for !served() {
		if _, err := c.Dial(t.Context(), testIntent()); err == nil || bridge.CauseOf(err).Code != "identity-info-unavailable" {
			t.Fatalf("dial: %v", err)
		}
		if time.Now().After(limit) {
			t.Fatal("the client goes on with a certificate that nobody can fetch")
		}
		time.Sleep(5 * time.Millisecond)
	}
	for range 5 {
		if _, err := c.Dial(t.Context(), testIntent()); err == nil {
			t.Fatal("taken")
		}
	}
	c2 := runClient(t, cfg)
	awaitReady(t, c2)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.certs) != 1 {
		t.Errorf("%d certificates were issued after the loss, want 1", len(p.certs))
	}
}
