package main

import (
	"context"
	"crypto/x509"
	"time"

	"riptide/h3"
	"riptide/policy"
	"riptide/policy/stir"
)

// identityVerifier verifies callers for both edges with one cache of
// certificates and one memory of PASSporTs seen.
type identityVerifier struct {
	*stir.Verifier
}

// newIdentityVerifier believes certificates below roots. Chains are fetched
// over HTTPS with tls as trusted CAs (nil: the system's); hosts are those
// that may be at a private address, because the configuration names them.
func newIdentityVerifier(roots, tls *x509.CertPool, hosts []string) *identityVerifier {
	source := stir.NewSource(h3.NewFetch(tls, hosts), time.Now)
	return &identityVerifier{&stir.Verifier{Trust: stir.Trust{Roots: roots}, Chain: source.Chain}}
}

// Verify implements sip.Verifier. Of several Identity header fields one that
// holds is enough (RFC 8224 section 6.2).
func (v *identityVerifier) Verify(ctx context.Context, identities []string, from, to policy.Number) (passport string, verdict stir.Verdict) {
	verdict = stir.Verdict{Status: stir.Missing, Reason: "no Identity header"}
	for _, header := range identities {
		verdict = v.VerifyIdentity(ctx, header, stir.Call{From: from, To: to}, time.Now())
		if id, err := stir.ParseIdentity(header); err == nil && !id.Compact() {
			passport = id.Passport
		}
		if verdict.Status == stir.Valid {
			return passport, verdict
		}
	}
	return passport, verdict
}
