package stir

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
	"testing"
	"time"

	"riptide/policy"
)

func TestIssue(t *testing.T) {
	h := office(t)
	key := newKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "the President"},
		DNSNames: []string{"bank.example"},
		ExtraExtensions: []pkix.Extension{
			{Id: oidTNAuthList, Critical: true, Value: unhex(t, "300fa20d160b3132303235353530313030")},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: unhex(t, "30030101ff")}, // a CA, please
		},
	}, key)
	must(t, err)
	allowed := policy.NumberSet{Allow: []policy.Pattern{"+120255501*"}}
	chain, err := h.ca.Issue(csr, allowed, 24*time.Hour, epoch)
	must(t, err)
	leaf := chain[0]
	if len(chain) != 2 || !chain[1].Equal(h.ca.Certificate()) || !key.PublicKey.Equal(leaf.PublicKey) {
		t.Errorf("chain of %d", len(chain))
	}
	if leaf.IsCA || len(leaf.DNSNames) > 0 || leaf.Subject.CommonName != "12025550100" || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("taken from the request: CA %v, %v, %s, %v", leaf.IsCA, leaf.DNSNames, leaf.Subject, leaf.KeyUsage)
	}
	if len(leaf.UnhandledCriticalExtensions) > 0 || leaf.SerialNumber.BitLen() < 64 {
		t.Errorf("critical %v, serial %v", leaf.UnhandledCriticalExtensions, leaf.SerialNumber)
	}
	if want := epoch.Add(24 * time.Hour); !leaf.NotAfter.Equal(want) || !leaf.NotBefore.Before(epoch) {
		t.Errorf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	if _, err := (Trust{Roots: h.roots}).Validate(chain, epoch); err != nil {
		t.Error(err)
	}
	// Longer than the CA lives is as long as the CA lives.
	chain, err = h.ca.Issue(csr, allowed, 10*365*24*time.Hour, epoch)
	if err != nil || !chain[0].NotAfter.Equal(h.ca.Certificate().NotAfter) {
		t.Errorf("ten years: %v", err)
	}
	if _, err := (Trust{Roots: h.roots}).Validate(chain, epoch); err != nil {
		t.Error(err)
	}
}

func TestIssueRefusals(t *testing.T) {
	h := office(t)
	everything := policy.NumberSet{Allow: []policy.Pattern{"*"}}
	request := func(key any, exts ...pkix.Extension) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{ExtraExtensions: exts}, key)
		must(t, err)
		return der
	}
	list := func(hex string) pkix.Extension { return pkix.Extension{Id: oidTNAuthList, Value: unhex(t, hex)} }
	one := list("300fa20d160b3132303235353530313030")
	good := request(newKey(t), one)
	forged := append([]byte{}, good...)
	forged[len(forged)-1] ^= 1
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	twice, err := NewCSR(newKey(t), []policy.Pattern{"+12025550100"})
	must(t, err)

	for _, tc := range []struct {
		name    string
		csr     []byte
		allowed policy.NumberSet
		want    error
	}{
		{"good", good, everything, nil},
		{"good, from NewCSR", twice, everything, nil},
		{"empty", nil, everything, ErrCSR},
		{"rubbish", []byte("hello"), everything, ErrCSR},
		{"cut short", good[:len(good)-1], everything, ErrCSR},
		{"too long", make([]byte, maxCSR+1), everything, ErrCSR},
		{"signature forged", forged, everything, ErrCSR},
		{"P-384", request(p384, one), everything, ErrCSR},
		{"no list", request(newKey(t)), everything, ErrCSR},
		{"broken list", request(newKey(t), list("3000")), everything, ErrCSR},
		{"two lists", request(newKey(t), one, one), everything, ErrCSR},
		{"not the client's", good, policy.NumberSet{Allow: []policy.Pattern{"+12025550101"}}, ErrNumberNotAllowed},
		{"excepted", good, policy.NumberSet{Allow: []policy.Pattern{"*"}, Except: []policy.Pattern{"+12025550100"}}, ErrNumberNotAllowed},
		{"nothing is allowed", good, policy.NumberSet{}, ErrNumberNotAllowed},
		{"not the CA's", request(newKey(t), list("300fa20d160b3132313535353531323132")), everything, ErrNumberNotAllowed},
		{"a provider code", request(newKey(t), list("3008a00616043730394a")), everything, ErrNumberNotAllowed},
	} {
		chain, err := h.ca.Issue(tc.csr, tc.allowed, time.Hour, epoch)
		if !errors.Is(err, tc.want) || (chain == nil) != (tc.want != nil) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	for _, at := range []time.Time{epoch.Add(-time.Hour), epoch.Add(400 * 24 * time.Hour)} {
		if _, err := h.ca.Issue(good, everything, time.Hour, at); err == nil || errors.Is(err, ErrCSR) {
			t.Errorf("outside the CA's life: %v", err)
		}
	}
	if _, err := h.ca.Issue(good, everything, 0, epoch); err == nil {
		t.Error("no validity: issued")
	}
}

func TestNewCSRRefusals(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	if _, err := NewCSR(p384, []policy.Pattern{block}); err == nil {
		t.Error("P-384: accepted")
	}
	if _, err := NewCSR(newKey(t), []policy.Pattern{"+1202*"}); !errors.Is(err, ErrTNAuthList) {
		t.Errorf("prefix: %v", err)
	}
}

func TestNewCARefusals(t *testing.T) {
	root := (*node)(nil).child(t, "root", asCA)
	leaf := root.child(t, "leaf", nil)
	broken := root.child(t, "broken", with(asCA, ext(oidTNAuthList, true, []byte{5, 0})))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	for name, tc := range map[string]struct {
		n   *node
		bad string
	}{
		"leaf":        {leaf, "may not sign"},
		"other key":   {&node{root.cert, newKey(t)}, "does not belong"},
		"P-384":       {&node{root.cert, p384}, "P-256"},
		"broken list": {broken, "TNAuthList"},
	} {
		if _, err := NewCA(tc.n.cert, tc.n.key); err == nil || !strings.Contains(err.Error(), tc.bad) {
			t.Errorf("%s: %v, want %q", name, err, tc.bad)
		}
	}
}

func TestGenerateCA(t *testing.T) {
	if _, _, err := GenerateCA("x", []policy.Pattern{"+1*"}, time.Hour, epoch); !errors.Is(err, ErrTNAuthList) {
		t.Errorf("prefix: %v", err)
	}
	// Without numbers it may issue for all.
	h := newHouse(t, nil, []policy.Pattern{"+442079460000"})
	if _, err := (Trust{Roots: h.roots}).Validate(h.chain, epoch); err != nil {
		t.Error(err)
	}
	a, _, err := GenerateCA("x", nil, time.Hour, epoch)
	must(t, err)
	b, _, err := GenerateCA("x", nil, time.Hour, epoch)
	must(t, err)
	if string(a) == string(b) {
		t.Error("the same certificate twice")
	}
}

func FuzzIssue(f *testing.F) {
	h := office(f)
	csr, err := NewCSR(h.key, []policy.Pattern{"+12025550100"})
	must(f, err)
	f.Add(csr)
	f.Fuzz(func(t *testing.T, der []byte) {
		chain, err := h.ca.Issue(der, policy.NumberSet{Allow: []policy.Pattern{block}}, time.Hour, epoch)
		if err == nil {
			if _, err := (Trust{Roots: h.roots}).Validate(chain, epoch); err != nil {
				t.Fatal(err)
			}
		}
	})
}
