package h3

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
	"riptide/h3/conform"
	"riptide/policy"
	"riptide/policy/stir"
)

// conformRig is our server with a switchboard behind it, under the eyes of
// package conform. Its authority is where it listens.
type conformRig struct {
	server *Server
	board  *bridgetest.Switchboard
	roots  *x509.CertPool
	key    *ecdsa.PrivateKey
}

const boardBase = policy.Number("+1202555019")

// newConformRig starts a server whose handler is wrapped, if wrap is not nil.
func newConformRig(t *testing.T, wrap func(http.Handler) http.Handler, changes ...func(*ServerConfig)) *conformRig {
	t.Helper()
	addr := freeUDPAndTCP(t)
	cert, roots := addressTLS(t)
	r := &conformRig{board: bridgetest.Everybody(boardBase), roots: roots, key: newKey(t)}
	st := store.NewMemory()
	ca := newTestCA(t, "conform CA")
	trust := x509.NewCertPool()
	trust.AddCert(ca.Certificate())
	chain := func(ctx context.Context, x5u string) ([]*x509.Certificate, error) {
		entry, err := st.Get(ctx, store.Certificates, strings.TrimSuffix(path.Base(x5u), ".pem"))
		if err != nil {
			return nil, err
		}
		return stir.ParseChain(entry.Value)
	}
	cfg := ServerConfig{
		Listen: addr, Authority: addr, Certificate: cert,
		TGs: []TGConfig{{Name: "office", ClientID: testClient, Origins: numbers(t, "+120255501xx"),
			Destinations: numbers(t, "+120255501xx", "*@private.test")}},
		Clients:  []OAuthClient{{ID: testClient, Keys: thumbprintJWKS(t, r.key)}},
		Acceptor: r.board, Verifier: &stir.Verifier{Trust: stir.Trust{Roots: trust}, Chain: chain},
		CA: ca, Store: st, TokenKey: newKey(t), Log: slog.New(slog.DiscardHandler),
	}
	r.board.Numbers["4711@private.test"] = &bridgetest.Answerer{Hz: 1040}
	for _, change := range changes {
		change(&cfg)
	}
	server, err := NewServer(cfg)
	must(t, err)
	if wrap != nil {
		server.h3.H3.Handler = wrap(server.handler)
		server.h2.Handler = server.h3.H3.Handler
	}
	r.server = server
	must(t, server.Listen(t.Context()))
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		r.board.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(t, server.Shutdown(ctx))
		must(t, <-served)
	})
	return r
}

func freeUDPAndTCP(t *testing.T) string {
	t.Helper()
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		u, err := net.ListenPacket("udp", l.Addr().String())
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

func addressTLS(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// options are those of a probe that knows all extensions.
func (r *conformRig) options(t *testing.T, only ...string) conform.Options {
	at := func(n string) string { return string(boardBase) + n }
	return conform.Options{
		Server: r.server.cfg.Authority, Roots: r.roots, ClientID: testClient, Key: r.key, From: "+12025550100",
		To: at(bridgetest.Speaks), Declined: at(bridgetest.Declines), Busy: at(bridgetest.Busy), NoAnswer: at(bridgetest.NeverThere),
		Ringing: at(bridgetest.KeepsRings), Early: at(bridgetest.SpeaksEarly), Digits: at(bridgetest.PressesKeys), Video: at(bridgetest.HasPictures),
		Unreachable: at("9"), Private: "4711@private.test",
		Only: only, Progress: func(s string) { t.Log(s) },
	}
}

// judge runs the probe.
func (r *conformRig) judge(t *testing.T, only ...string) *conform.Report {
	t.Helper()
	p, err := conform.NewProbe(r.options(t, only...))
	must(t, err)
	defer p.Close()
	report, err := p.Run(t.Context())
	must(t, err)
	return report
}

// TestServerConforms: every requirement of servers, judged from outside.
func TestServerConforms(t *testing.T) {
	t.Parallel()
	judged(t, newConformRig(t, nil).judge(t))
}

// thumbprintJWKS is the public half of a client key under the id that clients
// give it by themselves (RFC 7638).
func thumbprintJWKS(t *testing.T, key *ecdsa.PrivateKey) jose.JSONWebKeySet {
	t.Helper()
	jwk := jose.JSONWebKey{Key: key.Public(), Algorithm: "ES256", Use: "sig"}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	must(t, err)
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}}
}
