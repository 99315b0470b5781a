package h3

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"

	"riptide/bridge"
)

// TestOtherOrigin: the domain that an operator types may hand over to another
// origin, once; everything after that stays there.
func TestOtherOrigin(t *testing.T) {
	t.Parallel()
	var domain, host *testH3
	far := http.NewServeMux()
	far.HandleFunc("GET /ript/v1/providertgs", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, TGList{TGs: []TGEntry{{URI: "https://" + host.Addr + "/tg/1"}}})
	})
	far.HandleFunc("GET /astray/v1/providertgs", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, TGList{TGs: []TGEntry{{URI: "https://" + domain.Addr + "/tg/1"}}})
	})
	far.HandleFunc("GET /moved/v1/providertgs", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/ript/v1/providertgs", http.StatusTemporaryRedirect)
	})
	far.HandleFunc("GET /as", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, authServer{Issuer: "https://" + host.Addr, TokenEndpoint: "https://" + host.Addr + "/token"})
	})
	far.HandleFunc("GET /again", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/as", http.StatusTemporaryRedirect) })
	host = serveH3(t, 100, far)
	near := http.NewServeMux()
	near.HandleFunc("GET /.well-known/{name}", func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{"ript": "/ript", "ript-oauth": "/as"}[r.PathValue("name")]
		http.Redirect(w, r, "https://"+host.Addr+to, http.StatusTemporaryRedirect)
	})
	domain = serveH3(t, 100, near)

	roots := x509.NewCertPool()
	for _, s := range []*testH3{domain, host} {
		for _, der := range s.certs {
			c, err := x509.ParseCertificate(der)
			must(t, err)
			roots.AddCert(c)
		}
	}
	p := newPool(poolConfig{Trunk: "telco", TLS: &tls.Config{RootCAs: roots}})
	t.Cleanup(p.Close)
	d := discovery{requester: requester{trunk: "telco", pool: p}, connect: mustURL(t, "https://"+domain.Addr)}
	root, err := d.Root(t.Context())
	must(t, err)
	if want := "https://" + host.Addr + "/ript"; root.String() != want {
		t.Fatalf("root %s, want %s", root, want)
	}
	tg, err := d.ChooseTG(t.Context(), root)
	must(t, err)
	if want := "https://" + host.Addr + "/tg/1"; tg.String() != want {
		t.Errorf("TG %s, want %s", tg, want)
	}
	as, err := d.AuthServer(t.Context())
	must(t, err)
	if as.Issuer != "https://"+host.Addr {
		t.Errorf("authorisation server %+v", as)
	}
	for path, what := range map[string]string{"/astray": "lies outside", "/moved": "307"} {
		if _, err := d.ChooseTG(t.Context(), mustURL(t, "https://"+host.Addr+path)); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("a list that leads on: %v", err)
		}
	}
	second := discovery{requester: d.requester, connect: mustURL(t, "https://"+host.Addr)}
	far.HandleFunc("GET "+wellKnownOAuth, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	})
	if as, err := second.AuthServer(t.Context()); err == nil {
		t.Errorf("two redirects were followed to %+v", as)
	}
}

// TestCertificateLater: a peer that lets people decide about a certificate
// answers 202, and is asked again where it says.
func TestCertificateLater(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	p.later = 2
	c := p.client(t)
	if _, err := c.Sign(t.Context(), "telco", "+12025550100", "+12025550199", "A"); err != nil {
		t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.certs) != 1 || p.later != 0 {
		t.Errorf("%d certificates ordered, %d promises left", len(p.certs), p.later)
	}
}

// TestCertificateElsewhere: nor does a promise lead our token elsewhere.
func TestCertificateElsewhere(t *testing.T) {
	t.Parallel()
	tr := &trunk{cfg: TrunkConfig{Name: "telco"}}
	tg := mustURL(t, "https://telco.example/tg/1")
	for _, loc := range []string{"https://evil.example/x", "http://telco.example/x", ""} {
		rep := reply{Status: http.StatusAccepted, Header: http.Header{"Location": {loc}}}
		if loc == "" {
			rep.Header = http.Header{"Location": {"https://"}}
		}
		if _, err := tr.awaitIssue(t.Context(), tg, tg.JoinPath("certs"), newCookieJar(bridge.Trace{}), rep); !errors.Is(err, bridge.CausePeerError) {
			t.Errorf("Location %q: %v", loc, err)
		}
	}
}
