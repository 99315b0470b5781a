package h3

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"riptide/policy/stir"
)

// TestFetchLimits: what a stranger's x5u can and cannot make us do.
func TestFetchLimits(t *testing.T) {
	t.Parallel()
	hits := make(chan string, 16)
	roots, cert := testCA(t)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits <- r.URL.Path
		switch r.URL.Path {
		case "/full":
			w.Header().Set("Cache-Control", "public, max-age=120, immutable")
			_, _ = w.Write(make([]byte, maxChainPEM))
		case "/more":
			_, _ = w.Write(make([]byte, maxChainPEM+1))
		case "/moved":
			http.Redirect(w, r, "/full", http.StatusFound)
		case "/missing":
			http.NotFound(w, r)
		}
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.StartTLS()
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	f := newFetcher([]string{"localhost"}, &tls.Config{RootCAs: roots})
	defer f.public.CloseIdleConnections()
	named := "https://localhost:" + u.Port()

	pem, age, err := f.Fetch(t.Context(), named+"/full")
	if err != nil || len(pem) != maxChainPEM || age != 2*time.Minute {
		t.Errorf("at the limit: %d bytes, max-age %v, %v", len(pem), age, err)
	}
	if _, _, err := f.Fetch(t.Context(), named+"/more"); !errors.Is(err, errTooBig) {
		t.Errorf("one byte past the limit: %v", err)
	}
	for _, path := range []string{"/moved", "/missing"} {
		if _, _, err := f.Fetch(t.Context(), named+path); err == nil {
			t.Errorf("%s was taken", path)
		}
	}
	for len(hits) > 0 {
		<-hits
	}
	// The same server by its address is not allowed.
	if _, _, err := f.Fetch(t.Context(), srv.URL+"/full"); !errors.Is(err, errForbiddenAddress) {
		t.Errorf("loopback: %v", err)
	}
	if _, _, err := f.Fetch(t.Context(), "http://localhost:"+u.Port()+"/full"); !errors.Is(err, stir.ErrURL) {
		t.Errorf("plaintext: %v", err)
	}
	if len(hits) != 0 {
		t.Errorf("a refused fetch reached the server: %s", <-hits)
	}
}

func TestFetchUntrusted(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	srv.Config.ErrorLog = nil
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	f := newFetcher([]string{"localhost"}, nil)
	if _, _, err := f.Fetch(t.Context(), "https://localhost:"+u.Port()+"/"); !untrusted(err) {
		t.Errorf("error %v, want one about the certificate", err)
	}
}

func TestIsPublic(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "193.0.0.1": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "172.32.0.1": true, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "100.128.0.1": true, "0.0.0.0": false, "0.1.2.3": false,
		"224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false, "192.0.2.7": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "ff02::1": false, "2001:db8::1": false,
		"::ffff:127.0.0.1": false, "::ffff:8.8.8.8": true, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "fec0::1": false,
	} {
		if got := isPublic(netip.MustParseAddr(address).Unmap()); got != want {
			t.Errorf("isPublic(%s) = %v", address, got)
		}
		if err := checkPublic(net.JoinHostPort(address, "443")); (err == nil) != want {
			t.Errorf("checkPublic(%s) = %v", address, err)
		}
	}
	if checkPublic("nonsense") == nil || checkPublic("[fe80::1%eth0]:443") == nil {
		t.Error("an address that cannot be judged was let through")
	}
}

func FuzzMaxAge(f *testing.F) {
	for _, s := range []string{"", "max-age=60", "private, max-age=\"5\"", "max-age=99999999999", strings.Repeat(",", 100), "Max-Age = 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if age := maxAge(http.Header{"Cache-Control": {s}}); age < 0 {
			t.Errorf("max-age %v of %q", age, s)
		}
		if fresh := freshFor(http.Header{"Cache-Control": {s}}); fresh < minFresh || fresh > maxFresh {
			t.Errorf("fresh for %v by %q", fresh, s)
		}
	})
}
