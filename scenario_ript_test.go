package main_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/quic-go/quic-go/http3"

	"riptide/configs/setup"
	"riptide/policy"
	"riptide/policy/stir"
)

// riptClient speaks RIPT to a node with the keys of its peer and nothing of
// package h3: what a stranger's client would do, or get wrong.
type riptClient struct {
	t    testing.TB
	id   string
	base string
	http *http.Client
	key  *ecdsa.PrivateKey
	tg   string
	hdl  string
}

// newRIPTClient logs in at a node as another one whose keys are in dir.
func newRIPTClient(t testing.TB, at node, dir, id string) *riptClient {
	t.Helper()
	c := &riptClient{t: t, id: id, base: "https://" + at.ript, http: http3Client(t, filepath.Join(at.dir, setup.CACert))}
	c.key = readKey(t, filepath.Join(dir, setup.ClientKey))
	var list struct {
		TGs []struct {
			URI string `json:"uri"`
		} `json:"tgs"`
	}
	root := c.base + "/.well-known/ript"
	c.get(root+"/v1/providertgs", root, &list)
	if len(list.TGs) != 1 {
		t.Fatalf("%s sees %d TGs, want one", id, len(list.TGs))
	}
	c.tg = list.TGs[0].URI
	r := c.do(http.MethodPost, c.tg+"/handlers", c.token(c.tg), "application/json", map[string]string{
		"handler-id": "scenario", "advertisement": "1 in: PCMU; PCMA; telephone-event; CN;\n1 out: PCMU; PCMA; telephone-event; CN;",
	})
	if r.status != http.StatusCreated {
		t.Fatalf("register handler: %d %s", r.status, r.body)
	}
	c.hdl = r.header.Get("Location")
	return c
}

// http3Client trusts one CA.
func http3Client(t testing.TB, ca string) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if b, err := os.ReadFile(ca); err != nil || !pool.AppendCertsFromPEM(b) {
		t.Fatalf("read CA %s: %v", ca, err)
	}
	tr := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(func() { _ = tr.Close() })
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func readKey(t testing.TB, file string) *ecdsa.PrivateKey {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key, err := stir.ParseKey(b)
	if err != nil {
		t.Fatal(err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("%s holds a %T", file, key)
	}
	return ec
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request: body is a string, bytes, a reader, or a value for JSON.
func (c *riptClient) do(method, target, token, kind string, body any, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(method, target, token, kind, body, headers...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func (c *riptClient) try(method, target, token, kind string, body any, headers ...string) (answer, error) {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r = b
	case []byte:
		r = bytes.NewReader(b)
	case string:
		r = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, target, r)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return answer{res.StatusCode, res.Header, b}, err
}

func (c *riptClient) get(target, resource string, into any) {
	c.t.Helper()
	a := c.do(http.MethodGet, target, c.token(resource), "", nil)
	if a.status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", target, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		c.t.Fatalf("GET %s: %v", target, err)
	}
}

// token asks the node's token endpoint for one, by private_key_jwt.
func (c *riptClient) token(resource string) string {
	c.t.Helper()
	jwk := jose.JSONWebKey{Key: c.key, KeyID: clientJWK(c.t, c.key).KeyID}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	now := time.Now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: c.id, Subject: c.id, Audience: jwt.Audience{c.base}, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
	}).Serialize()
	if err != nil {
		c.t.Fatal(err)
	}
	a := c.do(http.MethodPost, c.base+"/oauth/token", "", "application/x-www-form-urlencoded", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.id}, "resource": {resource}, "scope": {"ript.call"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	}.Encode())
	var t struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(a.body, &t); err != nil || t.Token == "" {
		c.t.Fatalf("token endpoint: %d %s", a.status, a.body)
	}
	return t.Token
}

// clientJWK is the public half of a client key as servers know it.
func clientJWK(t testing.TB, key *ecdsa.PrivateKey) jose.JSONWebKey {
	t.Helper()
	jwk := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return jwk
}

// call POSTs a call.
func (c *riptClient) call(token, passport, to string) answer {
	c.t.Helper()
	body := map[string]any{"handler": c.hdl, "destination": to}
	if passport != "" {
		body["passport"] = passport
	}
	return c.do(http.MethodPost, c.tg+"/calls", token, "application/json", body, "Idempotency-Key", `"`+uuid.NewString()+`"`)
}

// enrol gets a certificate for numbers from the TG.
func (c *riptClient) enrol(numbers string) *passportKey {
	c.t.Helper()
	key, csr := certificateRequest(c.t, numbers)
	a := c.do(http.MethodPost, c.tg+"/certs", c.token(c.tg), "application/pkcs10", csr)
	if a.status != http.StatusOK {
		c.t.Fatalf("enrol %s: %d %s", numbers, a.status, a.body)
	}
	return &passportKey{c.t, key, a.header.Get("Content-Location")}
}

func certificateRequest(t testing.TB, numbers string) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := stir.NewCSR(key, patterns(t, numbers))
	if err != nil {
		t.Fatal(err)
	}
	return key, csr
}

func patterns(t testing.TB, text string) []policy.Pattern {
	t.Helper()
	p, err := policy.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return []policy.Pattern{p}
}

// passportKey signs PASSporTs, and, unlike stir.Signer, whatever it is told to.
type passportKey struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	x5u string
}

// sign makes a SHAKEN PASSporT.
func (k *passportKey) sign(from, to string, at time.Time) string {
	k.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.key},
		(&jose.SignerOptions{}).WithType("passport").WithHeader("ppt", "shaken").WithHeader("x5u", k.x5u))
	if err != nil {
		k.t.Fatal(err)
	}
	tn := func(n string) string { return strings.TrimPrefix(n, "+") }
	claims, err := json.Marshal(map[string]any{
		"attest": "A", "dest": map[string]any{"tn": []string{tn(to)}}, "iat": at.Unix(),
		"orig": map[string]any{"tn": tn(from)}, "origid": uuid.NewString(),
	})
	if err != nil {
		k.t.Fatal(err)
	}
	jws, err := signer.Sign(claims)
	if err != nil {
		k.t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		k.t.Fatal(err)
	}
	return token
}

// identity is sign as a SIP header field.
func (k *passportKey) identity(from, to string, at time.Time) string {
	k.t.Helper()
	return identityHeader(k.t, k.sign(from, to, at))
}

func identityHeader(t testing.TB, passport string) string {
	t.Helper()
	value, err := stir.FormatIdentity(passport)
	if err != nil {
		t.Fatal(err)
	}
	return "Identity: " + value
}

// forge changes the signature of a PASSporT, in the middle, where every bit counts.
func forge(passport string) string {
	at := strings.LastIndexByte(passport, '.') + 20
	by := byte('A')
	if passport[at] == by {
		by = 'B'
	}
	return passport[:at] + string(by) + passport[at+1:]
}

// untrusted tells the TLS client's refusal of a server.
func untrusted(err error) bool {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &verify) || errors.As(err, &unknown)
}
