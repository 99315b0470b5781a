package main_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"riptide/configs/setup"
	"riptide/policy"
	"riptide/policy/stir"
)

// publisher is an HTTPS server of certificate chains, as the provider of a
// SIP peer would run one.
type publisher struct {
	t      testing.TB
	ca     string // file of the CA of its TLS certificate
	dir    string // its keys; also those of a STIR CA that nobody knows
	server *httptest.Server

	mu    sync.Mutex
	files map[string][]byte
}

func newPublisher(t testing.TB) *publisher {
	t.Helper()
	p := &publisher{t: t, dir: t.TempDir(), files: map[string][]byte{}}
	if err := setup.Create(setup.Options{Dir: p.dir, Node: "publisher", Hosts: []string{"127.0.0.1"}, Now: time.Now().Add(-24 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	p.ca = filepath.Join(p.dir, setup.CACert)
	pair, err := tls.LoadX509KeyPair(filepath.Join(p.dir, setup.TLSCert), filepath.Join(p.dir, setup.TLSKey))
	if err != nil {
		t.Fatal(err)
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		b, ok := p.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(b)
	}))
	p.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // some refuse its certificate, as they should
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	return p
}

// issue publishes a certificate of the STIR CA in dir for numbers.
func (p *publisher) issue(dir, numbers string, at time.Time, life time.Duration) *passportKey {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, setup.StirCACert))
	if err != nil {
		p.t.Fatal(err)
	}
	certs, err := stir.ParseChain(b)
	if err != nil {
		p.t.Fatal(err)
	}
	ca, err := stir.NewCA(certs[0], readKey(p.t, filepath.Join(dir, setup.StirCAKey)))
	if err != nil {
		p.t.Fatal(err)
	}
	key, csr := certificateRequest(p.t, numbers)
	chain, err := ca.Issue(csr, policy.NumberSet{Allow: patterns(p.t, numbers)}, life, at)
	if err != nil {
		p.t.Fatal(err)
	}
	path := "/" + uuid.NewString() + ".pem"
	p.publish(path, stir.EncodeChain(chain))
	return &passportKey{p.t, key, p.server.URL + path}
}

func (p *publisher) publish(path string, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[path] = b
}

// trust makes a node's trunk believe the publisher's TLS certificate too: the
// operator adds the CA to the trunk's `roots`.
func (p *publisher) trust(dir string) {
	p.t.Helper()
	mine, err := os.ReadFile(p.ca)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, n := range []string{"office", "telco"} {
		file := filepath.Join(dir, n, setup.CACert)
		b, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, append(b, mine...), 0o644)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
}
