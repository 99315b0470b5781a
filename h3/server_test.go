package h3

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

// The test server is "ript.test": URIs must come from the configuration, not
// from where it really listens.
const (
	testAuthority = "ript.test"
	testTG        = "https://ript.test/ript/v1/tgs/office"
	testRoot      = "https://ript.test/.well-known/ript"
	testClient    = "office-pbx"
	testFrom      = policy.Number("+12025550100")
	testTo        = policy.Number("+12025550199")
)

// acceptor is a scripted bridge: it takes the legs that script lets through.
type acceptor struct {
	mu     sync.Mutex
	script func(context.Context, bridge.Leg) error
	legs   chan bridge.Leg
}

func (a *acceptor) Accept(ctx context.Context, leg bridge.Leg) error {
	a.mu.Lock()
	script := a.script
	a.mu.Unlock()
	if script != nil {
		if err := script(ctx, leg); err != nil {
			return err
		}
	}
	a.legs <- leg
	return nil
}

func (a *acceptor) set(script func(context.Context, bridge.Leg) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.script = script
}

// rig is a server on loopback with everything around it.
type rig struct {
	t        *testing.T
	server   *Server
	cfg      ServerConfig
	acceptor *acceptor
	store    store.Store
	roots    *x509.CertPool
	key      *ecdsa.PrivateKey // of the OAuth client
	other    *ecdsa.PrivateKey // of another one
	signer   *stir.Signer      // of the client's numbers

	h3, h2, h1 *http.Client
}

// testLog shows what the server complains about.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Errorf("server logged %s", p)
	return len(p), nil
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func testTLS(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ript.test"}, DNSNames: []string{"ript.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, // as a balancer before it knows it
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
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

func newTestCA(t *testing.T, name string) *stir.CA {
	t.Helper()
	certPEM, keyPEM, err := stir.GenerateCA(name, nil, 24*time.Hour, time.Now())
	must(t, err)
	chain, err := stir.ParseChain(certPEM)
	must(t, err)
	key, err := stir.ParseKey(keyPEM)
	must(t, err)
	ca, err := stir.NewCA(chain[0], key)
	must(t, err)
	return ca
}

func publicJWKS(key *ecdsa.PrivateKey) jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: keyID(key), Algorithm: "ES256", Use: "sig"}}}
}

func numbers(t *testing.T, patterns ...string) policy.NumberSet {
	t.Helper()
	set, err := policy.ParseNumberSet(patterns, nil)
	must(t, err)
	return set
}

// makeRig makes a server that is not started. Each change edits the configuration
// first.
func makeRig(t *testing.T, changes ...func(*ServerConfig)) *rig {
	t.Helper()
	cert, roots := testTLS(t)
	r := &rig{
		t: t, roots: roots, key: newKey(t), other: newKey(t), store: store.NewMemory(),
		acceptor: &acceptor{legs: make(chan bridge.Leg, 100)},
	}
	ca := newTestCA(t, "test CA")
	stirRoots := x509.NewCertPool()
	stirRoots.AddCert(ca.Certificate())
	r.cfg = ServerConfig{
		Listen: "127.0.0.1:0", Authority: testAuthority, Certificate: cert,
		TGs: []TGConfig{
			{Name: "office", ClientID: testClient, Origins: numbers(t, "+120255501xx"), Destinations: numbers(t, "+1202555xxxx")},
			{Name: "office-2", ClientID: testClient, Origins: numbers(t, "+120255501xx")},
			{Name: "elsewhere", ClientID: "other", Origins: numbers(t, "+1303*")},
		},
		Clients:  []OAuthClient{{ID: testClient, Keys: publicJWKS(r.key)}, {ID: "other", Keys: publicJWKS(r.other)}},
		Acceptor: r.acceptor,
		Verifier: &stir.Verifier{Trust: stir.Trust{Roots: stirRoots}, Chain: r.chain},
		CA:       ca, Store: r.store, TokenKey: newKey(t), Log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	for _, change := range changes {
		change(&r.cfg)
	}
	var err error
	r.server, err = NewServer(r.cfg)
	must(t, err)
	r.signer = r.newSigner(ca, "+1202555010x")
	return r
}

// newRig starts a server.
func newRig(t *testing.T, changes ...func(*ServerConfig)) *rig {
	t.Helper()
	r := makeRig(t, changes...)
	must(t, r.server.Listen(t.Context()))
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	r.clients()
	return r
}

// chain is the verifier's x5u resolver: what the server publishes.
func (r *rig) chain(ctx context.Context, x5u string) ([]*x509.Certificate, error) {
	if chain := NewPublished(testAuthority, r.store).Chain(ctx, x5u); chain != nil {
		return chain, nil
	}
	return nil, errors.New("nothing is published there")
}

func (r *rig) clients() {
	addr := r.server.Addr().String()
	conf := &tls.Config{RootCAs: r.roots, MinVersion: tls.VersionTLS13}
	tr3 := &http3.Transport{
		TLSClientConfig: conf,
		QUICConfig:      &quic.Config{MaxIdleTimeout: 5 * time.Second, KeepAlivePeriod: time.Second},
		Dial: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, addr, c, q)
		},
	}
	tr2, tr1 := r.overTCP("h2"), r.overTCP("http/1.1")
	r.t.Cleanup(func() {
		_ = tr3.Close()
		tr2.CloseIdleConnections()
		tr1.CloseIdleConnections()
	})
	r.h3 = &http.Client{Transport: tr3, CheckRedirect: noRedirect}
	r.h2 = &http.Client{Transport: tr2, CheckRedirect: noRedirect}
	r.h1 = &http.Client{Transport: tr1, CheckRedirect: noRedirect}
}

// overTCP speaks one version of HTTP.
func (r *rig) overTCP(version string) *http.Transport {
	return &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			d := tls.Dialer{Config: &tls.Config{RootCAs: r.roots, ServerName: testAuthority, NextProtos: []string{version}}}
			return d.DialContext(ctx, network, r.server.Addr().String())
		},
	}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newSigner makes a signer with a certificate of ca, published at our server.
func (r *rig) newSigner(ca *stir.CA, pattern policy.Pattern) *stir.Signer {
	r.t.Helper()
	s, _ := r.enrol(ca, newKey(r.t), pattern)
	return s
}

// enrol also returns the key under which the chain is stored.
func (r *rig) enrol(ca *stir.CA, key *ecdsa.PrivateKey, pattern policy.Pattern) (*stir.Signer, string) {
	r.t.Helper()
	csr, err := stir.NewCSR(key, []policy.Pattern{pattern})
	must(r.t, err)
	chain, err := ca.Issue(csr, numbers(r.t, "*"), time.Hour, time.Now())
	must(r.t, err)
	name := stir.Thumbprint(chain[0])
	_, err = r.store.Put(r.t.Context(), store.Certificates, name, stir.EncodeChain(chain))
	must(r.t, err)
	s, err := stir.NewSigner(key, chain, "https://ript.test/certs/"+name+".pem")
	must(r.t, err)
	return s, name
}

func (r *rig) passport(from, to policy.Number, at time.Time) string {
	r.t.Helper()
	p, err := r.signer.Sign(stir.Call{From: from, To: to}, "A", uuid.NewString(), at)
	must(r.t, err)
	return p
}

// assertion is a private_key_jwt of a client.
func assertion(t *testing.T, key *ecdsa.PrivateKey, client, jti string, change func(*jwt.Claims)) string {
	t.Helper()
	c := jwt.Claims{
		Issuer: client, Subject: client, Audience: jwt.Audience{"https://" + testAuthority}, ID: jti,
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute)),
	}
	if change != nil {
		change(&c)
	}
	return signJWT(t, key, "JWT", c)
}

func signJWT(t *testing.T, key *ecdsa.PrivateKey, typ string, claims ...any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: keyID(key)}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	must(t, err)
	b := jwt.Signed(s)
	for _, c := range claims {
		b = b.Claims(c)
	}
	out, err := b.Serialize()
	must(t, err)
	return out
}

// askToken is a request to the token endpoint.
func (r *rig) askToken(form url.Values) (int, map[string]any) {
	r.t.Helper()
	resp, err := r.h3.PostForm("https://ript.test/oauth/token", form)
	must(r.t, err)
	defer resp.Body.Close()
	var out map[string]any
	must(r.t, json.NewDecoder(resp.Body).Decode(&out))
	return resp.StatusCode, out
}

func tokenForm(assertion, resource, scope string) url.Values {
	return url.Values{
		"grant_type":            {"client_credentials"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {assertion},
		"resource":              {resource},
		"scope":                 {scope},
	}
}

// token is a real token of the client's for a resource.
func (r *rig) token(resource string) string {
	r.t.Helper()
	status, out := r.askToken(tokenForm(assertion(r.t, r.key, testClient, uuid.NewString(), nil), resource, scopeCall))
	token, _ := out["access_token"].(string)
	if status != http.StatusOK || token == "" {
		r.t.Fatalf("token for %s: %d %v", resource, status, out)
	}
	return token
}

// exchange is one request and its whole response.
type exchange struct {
	method, url string
	token       string
	header      map[string]string
	body        any // []byte, string, or something to marshal
}

func (r *rig) do(c *http.Client, x exchange) (*http.Response, []byte) {
	r.t.Helper()
	var body io.Reader
	switch b := x.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	case []byte:
		body = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		must(r.t, err)
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), x.method, x.url, body)
	must(r.t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if x.token != "" {
		req.Header.Set("Authorization", "Bearer "+x.token)
	}
	for k, v := range x.header {
		req.Header.Set(k, v)
	}
	resp, err := c.Do(req)
	must(r.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(r.t, err)
	return resp, raw
}

// expectProblem checks a refusal: status, problem type, media type.
func expectProblem(t *testing.T, resp *http.Response, body []byte, status int, typ string) {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("%d %s: not a problem: %q", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	if resp.StatusCode != status || p.Status != status || p.Type != typ {
		t.Errorf("got %d, problem %+v; want %d %s", resp.StatusCode, p, status, typ)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type %q", ct)
	}
}

// register registers a handler and returns its URI.
func (r *rig) register(token, tg string) string {
	r.t.Helper()
	resp, body := r.do(r.h3, exchange{method: "POST", url: tg + "/handlers", token: token,
		body: Handler{HandlerID: "pbx-1", Advertisement: "1 in: PCMA; PCMU; telephone-event; CN;\n1 out: PCMA; PCMU; telephone-event; CN;"}})
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("register handler: %d %s", resp.StatusCode, body)
	}
	return resp.Header.Get("Location")
}

// place posts a call and expects it to be made.
func (r *rig) place(c *http.Client, token string) (CallDescription, bridge.Leg) {
	r.t.Helper()
	resp, body := r.do(c, exchange{method: "POST", url: testTG + "/calls", token: token,
		header: map[string]string{headerIdempotencyKey: uuid.NewString()},
		body:   CallRequest{Handler: r.register(token, testTG), Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("place call: %d %s", resp.StatusCode, body)
	}
	var d CallDescription
	must(r.t, json.Unmarshal(body, &d))
	if loc := resp.Header.Get("Location"); loc != d.URI {
		r.t.Errorf("Location %q, uri %q", loc, d.URI)
	}
	return d, <-r.acceptor.legs
}
