package main

import (
	"crypto/x509"
	"time"

	"riptide/h3"
	"riptide/policy/stir"
)

// newIdentityVerifier verifies callers for both edges, with one cache of
// certificates and one memory of PASSporTs seen. It believes certificates below
// roots. Chains are fetched over HTTPS with tls as trusted CAs (nil: the
// system's); hosts are those that may be at a private address, because the
// configuration names them.
func newIdentityVerifier(roots, tls *x509.CertPool, hosts []string) *stir.Verifier {
	source := stir.NewSource(h3.NewFetch(tls, hosts), time.Now)
	return &stir.Verifier{Trust: stir.Trust{Roots: roots}, Chain: source.Chain}
}
