package main

import (
	"context"
	"crypto/x509"
	"time"

	"riptide/h3"
	"riptide/policy/stir"
)

// newIdentityVerifier verifies callers for both edges, with one cache of
// certificates and one memory of PASSporTs seen. It believes certificates below
// roots. Chains are our own, or fetched over HTTPS with tls as trusted CAs (nil:
// the system's); hosts are those that may be at a private address, because the
// configuration names them.
func newIdentityVerifier(roots, tls *x509.CertPool, own h3.Published, hosts []string) *stir.Verifier {
	source := stir.NewSource(h3.NewFetch(tls, hosts), time.Now)
	chain := func(ctx context.Context, x5u string) ([]*x509.Certificate, error) {
		if chain := own.Chain(ctx, x5u); chain != nil {
			return chain, nil
		}
		return source.Chain(ctx, x5u)
	}
	return &stir.Verifier{Trust: stir.Trust{Roots: roots}, Chain: chain}
}
