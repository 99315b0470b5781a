package siptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"riptide/policy"
	"riptide/policy/stir"
)

// identity is a good Identity header, and the file of the certificate it names.
func identity(t *testing.T, from, to string, now time.Time) (header, certificate string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	caCert, caKey, err := stir.GenerateCA("test", nil, time.Hour, now)
	must(err)
	roots, err := stir.ParseChain(caCert)
	must(err)
	signKey, err := stir.ParseKey(caKey)
	must(err)
	ca, err := stir.NewCA(roots[0], signKey)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	number, err := policy.ParsePattern(from)
	must(err)
	csr, err := stir.NewCSR(key, []policy.Pattern{number})
	must(err)
	chain, err := ca.Issue(csr, policy.NumberSet{Allow: []policy.Pattern{number}}, time.Hour, now)
	must(err)
	signer, err := stir.NewSigner(key, chain, "https://cert.example.org/leaf.pem")
	must(err)
	passport, err := signer.Sign(stir.Call{From: policy.Number(from), To: policy.Number(to)}, "A", "123e4567-e89b-42d3-a456-426614174000", now)
	must(err)
	header, err = stir.FormatIdentity(passport)
	must(err)
	certificate = filepath.Join(t.TempDir(), "leaf.pem")
	must(os.WriteFile(certificate, stir.EncodeChain(chain[:1]), 0o644))
	return header, certificate
}

// tamper changes one character of the signed claims.
func tamper(header string) string {
	dot := strings.IndexByte(header, '.') + 20
	c := byte('A')
	if header[dot] == 'A' {
		c = 'B'
	}
	return header[:dot] + string(c) + header[dot+1:]
}

const calling, called = "+12025550100", "+12025550199"

func TestSecsipidxJudges(t *testing.T) {
	t.Parallel()
	s := NewSecsipidx(t)
	good, certificate := identity(t, calling, called, time.Now())
	if err := s.Check(good, certificate, 60); err != nil {
		t.Errorf("good: %v", err)
	}
	if err := s.Check(tamper(good), certificate, 60); !errors.Is(err, ErrIdentityRefused) {
		t.Errorf("tampered with: %v", err)
	}
	_, other := identity(t, calling, called, time.Now())
	if err := s.Check(good, other, 60); !errors.Is(err, ErrIdentityRefused) {
		t.Errorf("somebody else's certificate: %v", err)
	}
}

func TestKamailioJudges(t *testing.T) {
	t.Parallel()
	Need(t, "kamailio", "sipp")
	good, certificate := identity(t, calling, called, time.Now())
	other, _ := identity(t, calling, called, time.Now())
	callee := Sipp{Scenario: UAS, Calls: 1}.Start(t)
	proxy := Kamailio{Certificate: certificate, Next: callee.Addr}.Start(t)

	refused := func(status int, headers ...string) {
		t.Helper()
		Sipp{Scenario: UACRefused, Script: Script{From: calling, Status: status, Headers: headers}, Service: called, Remote: proxy.Addr}.Start(t).Check(t, 1)
	}
	refused(428)
	refused(438, "Identity: "+tamper(good))
	refused(438, "Identity: "+other) // signed by another key
	Sipp{Scenario: UAC, Script: Script{From: calling, HoldMS: 50, Headers: []string{"Identity: " + good}}, Service: called, Remote: proxy.Addr}.Start(t).Check(t, 1)
	callee.Check(t, 1)
}
