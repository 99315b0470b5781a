package stir

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"
)

// DefaultMaxAge is how far a PASSporT's iat may lie from now, either way
// (RFC 8224 section 6.2.2, ATIS-1000074).
const DefaultMaxAge = 60 * time.Second

// Verifier verifies PASSporTs for one bridge. Set its fields before the first
// call; after that it is safe for concurrent use and must not be copied.
//
// It accepts each PASSporT once. A PASSporT that is relayed passes several
// bridges in turn, and each has a Verifier of its own.
type Verifier struct {
	Trust

	// Chain fetches the certificate chain of an x5u: Source.Chain, or a map in
	// tests. An error that wraps ErrChain says that something was fetched, and
	// what came is no chain.
	Chain func(ctx context.Context, x5u string) ([]*x509.Certificate, error)

	// MaxAge is the freshness window; 0 is DefaultMaxAge.
	MaxAge time.Duration

	credentials credentialCache
	replays     replayCache
}

// Verify tells what a PASSporT in full form is worth for the call. The verdict
// is Valid, or says in words why not; it names the signer only when the
// signature is the signer's.
func (v *Verifier) Verify(ctx context.Context, passport string, c Call, now time.Time) Verdict {
	if passport == "" {
		return Verdict{Status: Missing, Reason: "the call carries no PASSporT"}
	}
	p, err := ParsePassport(passport)
	if err != nil {
		return Verdict{Status: Invalid, Reason: err.Error()}
	}
	if ext := p.Extension(); ext != "" {
		return Verdict{Status: Invalid, Reason: fmt.Sprintf("a PASSporT of type %s proves no caller", ext)}
	}
	return v.verify(ctx, p, c, now)
}

// verify judges a PASSporT of any type.
func (v *Verifier) verify(ctx context.Context, p *Passport, c Call, now time.Time) Verdict {
	cred, status, err := v.credential(ctx, p.Header.X5U, now)
	if err != nil {
		return Verdict{Status: status, Reason: err.Error()}
	}
	if err := p.verifySignature(cred.Leaf); err != nil {
		return Verdict{Status: Invalid, Reason: err.Error()}
	}
	d := Verdict{Status: Valid, Signer: cred.Name()}
	if d.Status, err = v.judge(p, cred, c, now); err != nil {
		d.Reason = err.Error()
		return d
	}
	d.Attestation = p.Claims.Attest
	return d
}

// credential gets the chain behind an x5u and has it accepted.
func (v *Verifier) credential(ctx context.Context, x5u string, now time.Time) (*Credential, Status, error) {
	if err := CheckURL(x5u); err != nil {
		return nil, InfoUnavailable, fmt.Errorf("x5u of the PASSporT: %w", err)
	}
	chain, err := v.Chain(ctx, x5u)
	switch {
	case errors.Is(err, ErrChain):
		return nil, CredentialUnsupported, fmt.Errorf("certificate at %s: %w", x5u, err)
	case err != nil:
		return nil, InfoUnavailable, fmt.Errorf("certificate at %s cannot be fetched: %w", x5u, err)
	case len(chain) == 0:
		return nil, InfoUnavailable, fmt.Errorf("no certificate at %s", x5u)
	}
	if cred := v.credentials.get(chain[0], now); cred != nil {
		return cred, Valid, nil
	}
	cred, err := v.Validate(chain, now)
	if err != nil {
		return nil, CredentialUnsupported, fmt.Errorf("certificate at %s: %w", x5u, err)
	}
	v.credentials.put(cred, now)
	return cred, Valid, nil
}

// judge compares an authentic PASSporT with its certificate, the call and the
// clock. The replay cache comes last: it must hold only what was accepted.
func (v *Verifier) judge(p *Passport, cred *Credential, c Call, now time.Time) (Status, error) {
	from := p.Claims.From()
	subject, needed := p.subject()
	switch {
	case !needed:
	case subject == "" || !subject.IsE164():
		return NotCovered, fmt.Errorf("the certificate of %q speaks for telephone numbers, the PASSporT names the caller otherwise", cred.Name())
	case !cred.Covers(subject):
		return NotCovered, fmt.Errorf("the certificate of %q is for %.200s, %s is %s", cred.Name(), cred.Numbers, p.subjectIs(), subject)
	}
	if err := cred.permits(p.raw); err != nil {
		return Invalid, err
	}
	window := v.MaxAge
	if window == 0 {
		window = DefaultMaxAge
	}
	if age := now.Sub(time.Unix(p.Claims.IssuedAt, 0)).Truncate(time.Second); age.Abs() > window {
		when := "ago"
		if age < 0 {
			when = "from now"
		}
		return Stale, fmt.Errorf("issued %s %s, accepted are %s; if it is new, compare the clocks of both sides", age.Abs(), when, window)
	}
	if from != c.From {
		return Mismatch, fmt.Errorf("the PASSporT is for a call from %s, this one is from %q", from, c.From)
	}
	if !p.Claims.To(c.To) {
		return Mismatch, fmt.Errorf("the PASSporT is for a call to %.200s, this one is to %q", p.Claims.Dest, c.To)
	}
	until := p.Claims.IssuedAt + 2*int64(window/time.Second)
	switch v.replays.accept(p.replayKey(), now.Unix(), until) {
	case seenBefore:
		return Replayed, errors.New("this PASSporT was accepted for an earlier call")
	case cacheFull:
		return Replayed, errors.New("too many calls to remember this PASSporT; retry in a minute")
	}
	return Valid, nil
}

// Limits of a credential cache. Revocation reaches us after the TTL at the
// latest, through a new Verifier at once.
const (
	credentialTTL  = 10 * time.Minute
	maxCredentials = 1024
)

// credentialCache keeps accepted chains by the hash of their leaf: checking a
// chain costs several times what checking a signature does.
type credentialCache struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]knownCredential
}

type knownCredential struct {
	cred  *Credential
	until time.Time
}

func (cc *credentialCache) get(leaf *x509.Certificate, now time.Time) *Credential {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	k, ok := cc.known[sha256.Sum256(leaf.Raw)]
	if !ok || now.After(k.until) || now.Before(leaf.NotBefore) {
		return nil
	}
	return k.cred
}

func (cc *credentialCache) put(cred *Credential, now time.Time) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.known == nil {
		cc.known = map[[sha256.Size]byte]knownCredential{}
	}
	if len(cc.known) >= maxCredentials {
		for key, k := range cc.known {
			if now.After(k.until) {
				delete(cc.known, key)
			}
		}
	}
	if len(cc.known) >= maxCredentials {
		for key := range cc.known { // any one: it costs a validation, no more
			delete(cc.known, key)
			break
		}
	}
	cc.known[sha256.Sum256(cred.Leaf.Raw)] = knownCredential{cred, earlier(now.Add(credentialTTL), cred.NotAfter)}
}
