package stir_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"log"
	"time"

	"riptide/policy"
	"riptide/policy/stir"
)

// Set-up, enrolment, a signed call and its verdict.
func Example() {
	now := time.Now()
	check := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}

	// The telco makes a CA for its numbers.
	caPEM, caKeyPEM, err := stir.GenerateCA("Telco STIR CA", []policy.Pattern{"+1202555xxxx"}, 365*24*time.Hour, now)
	check(err)
	caCerts, err := stir.ParseChain(caPEM)
	check(err)
	caKey, err := stir.ParseKey(caKeyPEM)
	check(err)
	ca, err := stir.NewCA(caCerts[0], caKey)
	check(err)

	// The office asks for a certificate for its part of them.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	csr, err := stir.NewCSR(key, []policy.Pattern{"+120255501xx"})
	check(err)
	chain, err := ca.Issue(csr, policy.NumberSet{Allow: []policy.Pattern{"+12025550*"}}, 24*time.Hour, now)
	check(err)

	// It signs a call,
	signer, err := stir.NewSigner(key, chain, "https://telco.example/certs/"+stir.Thumbprint(chain[0])+".pem")
	check(err)
	call := stir.Call{From: "+12025550123", To: "+442079460000"}
	passport, err := signer.Sign(call, "A", "123e4567-e89b-12d3-a456-426655440000", now)
	check(err)

	// and the telco verifies it, once.
	anchors, err := stir.ParseChain(caPEM)
	check(err)
	verifier := &stir.Verifier{
		Trust: stir.Trust{Roots: stir.Roots(anchors...)},
		Chain: func(context.Context, string) ([]*x509.Certificate, error) { return chain, nil },
	}
	v := verifier.Verify(context.Background(), passport, call, now)
	fmt.Println(v.Status, v.Attestation, v.Signer)
	v = verifier.Verify(context.Background(), passport, call, now)
	fmt.Println(v.Status, "-", v.Reason)
	// Output:
	// valid A 12025550100-12025550199
	// identity-replayed - this PASSporT was accepted for an earlier call
}
