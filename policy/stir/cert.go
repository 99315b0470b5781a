package stir

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"riptide/policy"
)

// Credential is a certificate chain that was accepted: whose key it is, and
// for which numbers it may speak.
type Credential struct {
	Leaf     *x509.Certificate
	Numbers  TNAuthList
	NotAfter time.Time // the earliest of the chain

	constraints []ClaimConstraints
	anyNumber   bool // a trusted provider's own certificate
}

// Trust says whom to believe.
type Trust struct {
	// Roots are the trust anchors, from Roots. Without any, nothing is
	// believed.
	Roots *x509.CertPool
	// Providers are the service provider codes whose certificates are believed
	// for every number. A SHAKEN certificate names a provider and no number, so
	// that nothing else can be checked; none is believed unless listed here.
	Providers []string
}

// Validate checks a chain, leaf first: signatures and validity up to a trust
// anchor, a P-256 leaf that is no CA, and the scope of every certificate within
// that of its issuer (RFC 9060 section 4.1). Errors wrap ErrChain.
func (t Trust) Validate(chain []*x509.Certificate, now time.Time) (*Credential, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("%w: %d certificates, want 1 to %d", ErrChain, len(chain), maxChain)
	}
	leaf := understood(chain[0])
	if err := checkLeaf(leaf); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if t.Roots == nil {
		return nil, fmt.Errorf("%w: no trust anchor is configured", ErrChain)
	}
	opts := x509.VerifyOptions{
		Roots:         t.Roots,
		Intermediates: x509.NewCertPool(),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(understood(c))
	}
	paths, err := leaf.Verify(opts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChain, err)
	}
	var first error
	for _, path := range paths {
		cred, err := t.credential(path)
		if err == nil {
			return cred, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrChain, first)
}

// checkLeaf refuses what can never sign a PASSporT.
func checkLeaf(leaf *x509.Certificate) error {
	switch _, ok := p256(leaf.PublicKey); {
	case leaf.IsCA:
		return fmt.Errorf("the first certificate, %q, is a CA; the leaf must come first", leaf.Subject)
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("certificate %q is not for signatures (key usage)", leaf.Subject)
	case !ok:
		return fmt.Errorf("certificate %q has no P-256 key", leaf.Subject)
	}
	return nil
}

// credential walks a verified path from the root to the leaf. A CA without a
// TNAuthList leaves the scope as it was.
func (t Trust) credential(path []*x509.Certificate) (*Credential, error) {
	cred := &Credential{Leaf: path[0], NotAfter: path[0].NotAfter}
	var scope TNAuthList
	for _, c := range slices.Backward(path) {
		if c.NotAfter.Before(cred.NotAfter) {
			cred.NotAfter = c.NotAfter
		}
		list, err := tnAuthListOf(c)
		if err != nil {
			return nil, fmt.Errorf("certificate %q: %w", c.Subject, err)
		}
		if list == nil {
			continue
		}
		if scope != nil && !t.believes(scope) && !scope.Encompasses(list) {
			return nil, fmt.Errorf("certificate %q is for %.200s, its issuer only for %.200s", c.Subject, list, scope)
		}
		scope = list
		cred.Numbers = list
	}
	// What an issuer may do says nothing about what it let the leaf do.
	if own, err := tnAuthListOf(cred.Leaf); err != nil || own == nil {
		return nil, fmt.Errorf("certificate %q names no numbers (no TNAuthList, RFC 8226)", cred.Leaf.Subject)
	}
	cred.anyNumber = t.believes(cred.Numbers)
	var err error
	cred.constraints, err = constraintsOf(cred.Leaf)
	return cred, err
}

func (t Trust) believes(l TNAuthList) bool { return slices.ContainsFunc(t.Providers, l.HasSPC) }

// Covers tells whether the credential may speak for the number.
func (c *Credential) Covers(n policy.Number) bool {
	return c.Numbers.Covers(n) || c.anyNumber && n.IsE164()
}

// Name is how operators know the signer: the subject's common name, else the
// whole subject.
func (c *Credential) Name() string {
	if cn := c.Leaf.Subject.CommonName; cn != "" {
		return cn
	}
	return c.Leaf.Subject.String()
}

func (c *Credential) permits(claims map[string]json.RawMessage) error {
	for _, k := range c.constraints {
		if err := k.check(claims); err != nil {
			return err
		}
	}
	return nil
}

// understood takes the extensions that this package checks by itself off the
// list of critical ones that crypto/x509 would refuse. The certificate given
// is left as it is.
func understood(c *x509.Certificate) *x509.Certificate {
	left := slices.DeleteFunc(slices.Clone(c.UnhandledCriticalExtensions), func(id asn1.ObjectIdentifier) bool {
		return id.Equal(oidTNAuthList) || id.Equal(oidClaimConstraints) || id.Equal(oidEnhancedClaimConstraints)
	})
	if len(left) == len(c.UnhandledCriticalExtensions) {
		return c
	}
	own := *c
	own.UnhandledCriticalExtensions = left
	return &own
}

// tnAuthListOf returns a certificate's list, nil if it has none.
func tnAuthListOf(c *x509.Certificate) (TNAuthList, error) {
	der := extension(c.Extensions, oidTNAuthList)
	if der == nil {
		return nil, nil
	}
	return ParseTNAuthList(der)
}

func constraintsOf(c *x509.Certificate) ([]ClaimConstraints, error) {
	var all []ClaimConstraints
	for _, id := range []asn1.ObjectIdentifier{oidClaimConstraints, oidEnhancedClaimConstraints} {
		der := extension(c.Extensions, id)
		if der == nil {
			continue
		}
		k, err := ParseClaimConstraints(der, id.Equal(oidEnhancedClaimConstraints))
		if err != nil {
			return nil, fmt.Errorf("certificate %q: %w", c.Subject, err)
		}
		all = append(all, k)
	}
	return all, nil
}

func extension(list []pkix.Extension, id asn1.ObjectIdentifier) []byte {
	for _, e := range list {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}

// NumbersOf returns the numbers that a certificate names, for people and for
// TG documents. An error says that it names none, or wraps ErrTNAuthList.
func NumbersOf(c *x509.Certificate) (TNAuthList, error) {
	list, err := tnAuthListOf(c)
	if err == nil && list == nil {
		err = errors.New("no TNAuthList in it")
	}
	if err != nil {
		return nil, fmt.Errorf("certificate %q: %w", c.Subject, err)
	}
	return list, nil
}
