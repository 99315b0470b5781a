package stir

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"riptide/policy"
)

func TestSignGolden(t *testing.T) {
	h := office(t)
	token, err := h.signer(t).Sign(testCall, "B", testID, epoch)
	must(t, err)
	want := b64(`{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://office.example:8443/certs/1.pem"}`) + "." +
		b64(`{"attest":"B","dest":{"tn":["12025550199"]},"iat":1795348800,"orig":{"tn":"12025550100"},"origid":"123e4567-e89b-12d3-a456-426655440000"}`) + "."
	if !strings.HasPrefix(token, want) {
		t.Errorf("got  %s\nwant %s", token, want)
	}
	p, err := ParsePassport(token)
	must(t, err)
	if err := p.verifySignature(h.chain[0]); err != nil {
		t.Error(err)
	}
	token, err = h.signer(t).Sign(Call{From: testCall.From, To: "100@pbx.example"}, "A", testID, epoch)
	must(t, err)
	if p, err = ParsePassport(token); err != nil || p.Claims.Dest.String() != "sip:100@pbx.example" {
		t.Errorf("to an address: %v, %v", p.Claims.Dest, err)
	}
}

func TestSignRefusals(t *testing.T) {
	h := office(t)
	s := h.signer(t)
	for _, tc := range []struct {
		name           string
		from, to       policy.Number
		attest, origID string
		at             time.Time
		want           error
		bad            string
	}{
		{"outside", "+12025560000", "+1202", "A", testID, epoch, ErrNotCovered, "12025550000-12025559999"},
		{"an address", "100@pbx.example", "+1202", "A", testID, epoch, ErrNotCovered, ""},
		{"an address like a number", "+12025550100@pbx.example", "+1202", "A", testID, epoch, ErrNotCovered, ""},
		{"nobody", "", "+1202", "A", testID, epoch, ErrNotCovered, ""},
		{"expired", testCall.From, testCall.To, "A", testID, epoch.Add(31 * 24 * time.Hour), ErrNotValid, "enrol"},
		{"not yet valid", testCall.From, testCall.To, "A", testID, epoch.Add(-time.Hour), ErrNotValid, ""},
		{"attest", testCall.From, testCall.To, "D", testID, epoch, nil, "attestation"},
		{"no attest", testCall.From, testCall.To, "", testID, epoch, nil, "attestation"},
		{"origid", testCall.From, testCall.To, "A", "call-1", epoch, nil, "UUID"},
		{"origid with other dashes", testCall.From, testCall.To, "A", strings.ReplaceAll(testID, "-", "_"), epoch, nil, "UUID"},
		{"origid not hex", testCall.From, testCall.To, "A", strings.ReplaceAll(testID, "e", "g"), epoch, nil, "UUID"},
		{"to nobody", testCall.From, "", "A", testID, epoch, nil, "called party"},
		{"to nonsense", testCall.From, "pbx", "A", testID, epoch, nil, "called party"},
	} {
		token, err := s.Sign(Call{From: tc.from, To: tc.to}, tc.attest, tc.origID, tc.at)
		if err == nil || token != "" || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.bad) {
			t.Errorf("%s: %v, want %v %q", tc.name, err, tc.want, tc.bad)
		}
	}
	if !s.Covers(testCall.From) || s.Covers("+12025560000") || !s.NotAfter().Equal(epoch.Add(30*24*time.Hour)) || len(s.Numbers()) != 1 {
		t.Errorf("covers, until %s, %s", s.NotAfter(), s.Numbers())
	}
}

func TestSignWithProviderCertificate(t *testing.T) {
	root := (*node)(nil).child(t, "root", asCA)
	leaf := root.child(t, "SHAKEN 709J", tns(t, false, TNEntry{SPC: "709J"}))
	s, err := NewSigner(leaf.key, chainOf(leaf), testX)
	must(t, err)
	if !s.Covers("+442079460000") || s.Covers("100@pbx.example") {
		t.Error("covers")
	}
}

func TestSignWithinClaimConstraints(t *testing.T) {
	root := (*node)(nil).child(t, "root", asCA)
	onlyB := ClaimConstraints{Permitted: []PermittedValues{{"attest", []string{"B"}}}}
	leaf := root.child(t, "leaf", with(tns(t, false, TNEntry{Start: "12025550100", Count: 1}), ext(oidEnhancedClaimConstraints, false, onlyB.append(t))))
	s, err := NewSigner(leaf.key, chainOf(leaf, root), testX)
	must(t, err)
	if _, err := s.Sign(testCall, "A", testID, epoch); err == nil || !strings.Contains(err.Error(), "attest") {
		t.Errorf("A: %v", err)
	}
	if _, err := s.Sign(testCall, "B", testID, epoch); err != nil {
		t.Errorf("B: %v", err)
	}
}

func TestNewSignerRefusals(t *testing.T) {
	h := office(t)
	root := (*node)(nil).child(t, "root", asCA)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	bare := root.child(t, "bare", nil)
	list := tns(t, false, TNEntry{Start: "1", Count: 1})
	broken := root.child(t, "broken", with(list, ext(oidClaimConstraints, false, []byte{5, 0})))
	agree := root.child(t, "agree", with(list, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }))
	for name, tc := range map[string]struct {
		key   crypto.Signer
		chain []*x509.Certificate
		x5u   string
		bad   string
	}{
		"no chain":           {h.key, nil, testX, "chain of 0"},
		"long chain":         {h.key, make([]*x509.Certificate, maxChain+1), testX, "chain of 7"},
		"another key":        {newKey(t), h.chain, testX, "does not belong"},
		"P-384":              {p384, h.chain, testX, "P-256"},
		"root first":         {root.key, chainOf(root), testX, "leaf must come first"},
		"not for signatures": {agree.key, chainOf(agree), testX, "not for signatures"},
		"broken link":        {h.key, append(h.chain[:1:1], root.cert), testX, "was not issued by"},
		"no list":            {bare.key, chainOf(bare), testX, "no TNAuthList"},
		"broken constraints": {broken.key, chainOf(broken), testX, "constraints"},
		"plain x5u":          {h.key, h.chain, "http://office.example/1.pem", "https"},
	} {
		if _, err := NewSigner(tc.key, tc.chain, tc.x5u); err == nil || !strings.Contains(err.Error(), tc.bad) {
			t.Errorf("%s: %v, want %q", name, err, tc.bad)
		}
	}
}

// brokenKey is a key store that has gone away.
type brokenKey struct{ crypto.Signer }

func (brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("token removed")
}

func TestSignWithoutKeyStore(t *testing.T) {
	h := office(t)
	s, err := NewSigner(brokenKey{h.key}, h.chain, testX)
	must(t, err)
	if _, err := s.Sign(testCall, "A", testID, epoch); err == nil || !strings.Contains(err.Error(), "token removed") {
		t.Error(err)
	}
}
