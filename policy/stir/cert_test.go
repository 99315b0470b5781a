package stir

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"riptide/policy"
)

// node is a certificate with its key, for chains that no CA of ours issues.
type node struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// child issues a certificate; edit changes the template. Without a parent it
// signs itself.
func (n *node) child(t testing.TB, name string, edit func(*x509.Certificate)) *node {
	t.Helper()
	return n.childWithKey(t, name, newKey(t), edit)
}

func (n *node) childWithKey(t testing.TB, name string, key crypto.Signer, edit func(*x509.Certificate)) *node {
	t.Helper()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             epoch.Add(-time.Hour),
		NotAfter:              epoch.Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(template)
	}
	parent, parentKey := template, key
	if n != nil {
		parent, parentKey = n.cert, n.key
	}
	cert, err := create(template, parent, key.Public(), parentKey)
	must(t, err)
	return &node{cert: cert, key: key}
}

func asCA(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }

func with(edits ...func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, e := range edits {
			e(c)
		}
	}
}

func ext(id asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: value})
	}
}

func tns(t testing.TB, critical bool, l ...TNEntry) func(*x509.Certificate) {
	t.Helper()
	der, err := TNAuthList(l).Append(nil)
	must(t, err)
	return ext(oidTNAuthList, critical, der)
}

func chainOf(nodes ...*node) []*x509.Certificate {
	var chain []*x509.Certificate
	for _, n := range nodes {
		chain = append(chain, n.cert)
	}
	return chain
}

// reparsed are certificates as they are read from a file.
func reparsed(t testing.TB, certs []*x509.Certificate) []*x509.Certificate {
	t.Helper()
	for i, c := range certs {
		again, err := x509.ParseCertificate(c.Raw)
		must(t, err)
		certs[i] = again
	}
	return certs
}

func trusting(t testing.TB, root *node) Trust {
	t.Helper()
	return Trust{Roots: Roots(reparsed(t, chainOf(root))...)}
}

func TestValidate(t *testing.T) {
	r := func(start string, count uint64) TNEntry { return TNEntry{Start: start, Count: count} }
	spc := TNEntry{SPC: "709J"}
	root := (*node)(nil).child(t, "root", asCA)
	mid := root.child(t, "mid", with(asCA, tns(t, true, r("12025550000", 1000))))
	plain := mid.child(t, "plain", asCA) // no list of its own: mid's holds
	provider := root.child(t, "provider", with(asCA, tns(t, false, spc)))
	bounded := (*node)(nil).child(t, "bounded", with(asCA, tns(t, true, r("12025550000", 10))))
	other := (*node)(nil).child(t, "other", asCA)
	good := tns(t, false, r("12025550100", 1))
	critical := tns(t, true, r("12025550100", 1))
	wide := tns(t, false, r("12025550900", 200))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)

	leaf := func(parent *node, edit func(*x509.Certificate)) *node { return parent.child(t, "leaf", edit) }
	for _, tc := range []struct {
		name  string
		root  *node
		chain []*x509.Certificate
		spcs  []string
		at    time.Time
		bad   string // "" = accepted
	}{
		{name: "leaf under root", chain: chainOf(leaf(root, good))},
		{name: "root sent too", chain: chainOf(leaf(root, good), root)},
		{name: "critical list", chain: chainOf(leaf(mid, critical), mid)},
		{name: "list inherited", chain: chainOf(leaf(plain, good), plain, mid)},
		{name: "critical list in the root", root: bounded, chain: chainOf(leaf(bounded, tns(t, true, r("12025550001", 2))))},
		{name: "provider's own", chain: chainOf(leaf(provider, tns(t, false, spc)), provider)},
		{name: "trusted provider delegates", chain: chainOf(leaf(provider, good), provider), spcs: []string{"709J"}},

		{name: "empty", chain: nil, bad: "0 certificates"},
		{name: "too long", chain: make([]*x509.Certificate, maxChain+1), bad: "7 certificates"},
		{name: "unknown root", chain: chainOf(leaf(other, good), other), bad: "unknown authority"},
		{name: "intermediate missing", chain: chainOf(leaf(mid, good)), bad: "unknown authority"},
		{name: "root first", chain: chainOf(root, leaf(root, good)), bad: "leaf must come first"},
		{name: "leaf issues", chain: chainOf(leaf(leaf(root, good), good), leaf(root, good)), bad: "x509"},
		{name: "expired", chain: chainOf(leaf(root, good)), at: epoch.Add(25 * time.Hour), bad: "expired"},
		{name: "not yet valid", chain: chainOf(leaf(root, good)), at: epoch.Add(-2 * time.Hour), bad: "not yet valid"},
		{name: "other critical extension", chain: chainOf(leaf(root, with(critical, ext(asn1.ObjectIdentifier{1, 2, 3}, true, []byte{5, 0})))), bad: "unhandled critical"},
		{name: "key usage", chain: chainOf(leaf(root, with(good, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }))), bad: "not for signatures"},
		{name: "RSA key", chain: chainOf(root.childWithKey(t, "leaf", rsaKey, good)), bad: "no P-256 key"},
		{name: "P-384 key", chain: chainOf(root.childWithKey(t, "leaf", p384, good)), bad: "no P-256 key"},
		{name: "no list", chain: chainOf(leaf(root, nil)), bad: "no TNAuthList"},
		{name: "no list under one", chain: chainOf(leaf(mid, nil), mid), bad: "no TNAuthList"},
		{name: "broken list", chain: chainOf(leaf(root, ext(oidTNAuthList, false, []byte{0x30, 0}))), bad: "TNAuthList"},
		{name: "broken list in an issuer", chain: func() []*x509.Certificate {
			ca := root.child(t, "ca", with(asCA, ext(oidTNAuthList, true, []byte{0x30, 0})))
			return chainOf(leaf(ca, good), ca)
		}(), bad: "TNAuthList"},
		{name: "broken constraints", chain: chainOf(leaf(root, with(good, ext(oidClaimConstraints, true, []byte{0x30, 0})))), bad: "claim constraints"},
		{name: "outside the issuer", chain: chainOf(leaf(mid, wide), mid), bad: "its issuer only for"},
		{name: "outside the issuer's issuer", chain: chainOf(leaf(plain, wide), plain, mid), bad: "its issuer only for"},
		{name: "outside the root", root: bounded, chain: chainOf(leaf(bounded, good)), bad: "its issuer only for"},
		{name: "provider delegates", chain: chainOf(leaf(provider, good), provider), bad: "its issuer only for"},
		{name: "other provider trusted", chain: chainOf(leaf(provider, good), provider), spcs: []string{"709K"}, bad: "its issuer only for"},
	} {
		if tc.root == nil {
			tc.root = root
		}
		if tc.at.IsZero() {
			tc.at = epoch
		}
		trust := trusting(t, tc.root)
		trust.Providers = tc.spcs
		cred, err := trust.Validate(tc.chain, tc.at)
		if tc.bad == "" && err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if tc.bad != "" && (!errors.Is(err, ErrChain) || !strings.Contains(err.Error(), tc.bad) || cred != nil) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.bad)
		}
	}
	if _, err := (Trust{}).Validate(chainOf(leaf(root, good)), epoch); err == nil || !strings.Contains(err.Error(), "no trust anchor") {
		t.Errorf("no roots: %v", err)
	}
}

// The list of critical extensions of the caller's certificate is not ours to
// change, and a chain may be shared between goroutines.
func TestValidateLeavesCertificates(t *testing.T) {
	root := (*node)(nil).child(t, "root", asCA)
	leaf := root.child(t, "leaf", tns(t, true, TNEntry{Start: "1", Count: 1}))
	if _, err := trusting(t, root).Validate(chainOf(leaf), epoch); err != nil {
		t.Fatal(err)
	}
	if len(leaf.cert.UnhandledCriticalExtensions) != 1 {
		t.Error("the certificate was changed")
	}
}

func TestCredential(t *testing.T) {
	early := epoch.Add(time.Hour)
	root := (*node)(nil).child(t, "root", asCA)
	mid := root.child(t, "mid", with(asCA, func(c *x509.Certificate) { c.NotAfter = early }))
	leaf := mid.child(t, "", with(tns(t, false, TNEntry{SPC: "709J"}, TNEntry{Start: "12025550100", Count: 1}),
		func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{"Telco"}} }))
	trust := trusting(t, root)
	cred, err := trust.Validate(chainOf(leaf, mid), epoch)
	must(t, err)
	if !cred.NotAfter.Equal(early) || cred.Name() != "O=Telco" {
		t.Errorf("NotAfter %s, name %q", cred.NotAfter, cred.Name())
	}
	if !cred.Covers("+12025550100") || cred.Covers("+12025550101") {
		t.Error("covers by number")
	}
	trust.Providers = []string{"709J"}
	cred, err = trust.Validate(chainOf(leaf, mid), epoch)
	must(t, err)
	if !cred.Covers("+442079460000") || cred.Covers("alice@example.com") || cred.Covers("") {
		t.Error("covers by provider")
	}
}

func TestParseChain(t *testing.T) {
	root := (*node)(nil).child(t, "root", asCA)
	one := EncodeChain(chainOf(root))
	keyPEM, err := EncodeKey(root.key)
	must(t, err)
	for name, tc := range map[string]struct {
		in  string
		bad string
	}{
		"six":               {strings.Repeat(string(one), maxChain), ""},
		"seven":             {strings.Repeat(string(one), maxChain+1), "more than 6"},
		"64 KiB":            {string(one) + strings.Repeat("\n", maxChainPEM-len(one)), ""},
		"64 KiB and one":    {string(one) + strings.Repeat("\n", maxChainPEM-len(one)+1), "more than 65536 bytes"},
		"nothing":           {"", "no PEM"},
		"text":              {"hello", "no PEM"},
		"DER":               {string(root.cert.Raw), "no PEM"},
		"a key in it":       {string(one) + string(keyPEM), "PRIVATE KEY"},
		"not a certificate": {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "certificate 1"},
	} {
		_, err := ParseChain([]byte(tc.in))
		if (err == nil) != (tc.bad == "") || err != nil && (!errors.Is(err, ErrChain) || !strings.Contains(err.Error(), tc.bad)) {
			t.Errorf("%s: %v, want %q", name, err, tc.bad)
		}
	}
}

func TestParseKey(t *testing.T) {
	key := newKey(t)
	pkcs8, err := EncodeKey(key)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	sec1PEM := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}))
	params := string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}}))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	wrong, err := EncodeKey(p384)
	must(t, err)
	for name, in := range map[string]string{"PKCS 8": string(pkcs8), "SEC 1": sec1PEM, "openssl ecparam": params + sec1PEM} {
		if got, err := ParseKey([]byte(in)); err != nil || !key.PublicKey.Equal(got.Public()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, in := range map[string]string{
		"nothing": "", "parameters only": params, "P-384": string(wrong),
		"public key": "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n",
		"cut short":  "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
	} {
		if _, err := ParseKey([]byte(in)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := EncodeKey(nil); err == nil {
		t.Error("nil key: encoded")
	}
}

func TestNumbersOf(t *testing.T) {
	root := (*node)(nil).child(t, "root", asCA)
	if got, err := NumbersOf(office(t).chain[0]); err != nil || got.String() != "12025550000-12025559999" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := NumbersOf(root.cert); err == nil {
		t.Error("none: no error")
	}
	if _, err := NumbersOf(root.child(t, "x", ext(oidTNAuthList, false, []byte{5, 0})).cert); !errors.Is(err, ErrTNAuthList) {
		t.Errorf("broken: %v", err)
	}
	if a, b := Thumbprint(root.cert), Thumbprint(office(t).chain[0]); len(a) != 64 || a == b {
		t.Errorf("thumbprints %q, %q", a, b)
	}
}

func FuzzParseChain(f *testing.F) {
	h := newHouse(f, []policy.Pattern{block}, []policy.Pattern{block})
	f.Add(EncodeChain(h.chain))
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, err := ParseChain(b)
		if err != nil {
			return
		}
		if len(chain) == 0 || len(chain) > maxChain {
			t.Fatalf("%d certificates", len(chain))
		}
		_, _ = (Trust{Roots: h.roots}).Validate(chain, epoch)
	})
}
