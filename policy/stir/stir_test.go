package stir

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"riptide/policy"
)

// What most tests share: a CA of the office's block, a certificate that it
// issued, and the time at which all of that is valid.
const (
	block  = policy.Pattern("+1202555xxxx")
	testX  = "https://office.example:8443/certs/1.pem"
	testID = "123e4567-e89b-12d3-a456-426655440000"
)

var (
	epoch    = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	testCall = Call{From: "+12025550100", To: "+12025550199"}
)

type house struct {
	ca    *CA
	roots *x509.CertPool
	key   crypto.Signer
	chain []*x509.Certificate
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newHouse makes a CA for its numbers and a certificate for the leaf's.
func newHouse(t testing.TB, ofCA, ofLeaf []policy.Pattern) house {
	t.Helper()
	certPEM, keyPEM, err := GenerateCA("test CA", ofCA, 365*24*time.Hour, epoch)
	must(t, err)
	chain, err := ParseChain(certPEM)
	must(t, err)
	key, err := ParseKey(keyPEM)
	must(t, err)
	ca, err := NewCA(chain[0], key)
	must(t, err)
	h := house{ca: ca, roots: Roots(chain...), key: newKey(t)}
	csr, err := NewCSR(h.key, ofLeaf)
	must(t, err)
	h.chain, err = ca.Issue(csr, policy.NumberSet{Allow: []policy.Pattern{"*"}}, 30*24*time.Hour, epoch)
	must(t, err)
	return h
}

func office(t testing.TB) house {
	return newHouse(t, []policy.Pattern{block}, []policy.Pattern{block})
}

func (h house) signer(t testing.TB) *Signer {
	t.Helper()
	s, err := NewSigner(h.key, h.chain, testX)
	must(t, err)
	return s
}

func (h house) passport(t testing.TB, c Call, now time.Time) string {
	t.Helper()
	token, err := h.signer(t).Sign(c, "A", testID, now)
	must(t, err)
	return token
}

// verifier trusts the house's CA and finds its chain at testX.
func (h house) verifier() *Verifier {
	return &Verifier{
		Trust: Trust{Roots: h.roots},
		Chain: func(context.Context, string) ([]*x509.Certificate, error) { return h.chain, nil },
	}
}

func TestSignAndVerify(t *testing.T) {
	h := office(t)
	v := h.verifier()
	token := h.passport(t, testCall, epoch)
	got := v.Verify(t.Context(), token, testCall, epoch.Add(time.Second))
	if want := (Verdict{Status: Valid, Attestation: "A", Signer: "12025550000-12025559999"}); got != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if got := v.Verify(t.Context(), token, testCall, epoch.Add(2*time.Second)); got.Status != Replayed {
		t.Errorf("second time: %+v, want %s", got, Replayed)
	}
	if got := h.verifier().Verify(t.Context(), token, testCall, epoch.Add(2*time.Second)); got.Status != Valid {
		t.Errorf("at the next bridge: %+v, want %s", got, Valid)
	}
}
