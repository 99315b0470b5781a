package stir

import (
	"crypto"
	"crypto/x509"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"
	"github.com/go-jose/go-jose/v4/json"

	"riptide/policy"
)

// Errors of Signer.Sign.
var (
	ErrNotCovered = errors.New("calling number outside our STIR certificate")
	ErrNotValid   = errors.New("our STIR certificate is not valid now")
)

// Signer signs PASSporTs with one certificate. It is safe for concurrent use.
type Signer struct {
	jws  jose.Signer
	cred *Credential
	from time.Time // the latest NotBefore of the chain
	x5u  string
}

// NewSigner puts a key, its certificate chain (leaf first) and the URL where
// others find that chain together. It refuses a key that is not the leaf's, a
// chain whose links do not hold, and a URL that nobody may fetch.
func NewSigner(key crypto.Signer, chain []*x509.Certificate, x5u string) (*Signer, error) {
	if err := CheckURL(x5u); err != nil {
		return nil, fmt.Errorf("STIR signer: x5u: %w", err)
	}
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("STIR signer: chain of %d certificates, want 1 to %d", len(chain), maxChain)
	}
	leaf := chain[0]
	if err := errors.Join(sameKey(leaf, key), checkLeaf(leaf)); err != nil {
		return nil, fmt.Errorf("STIR signer: %w", err)
	}
	s := &Signer{x5u: x5u, from: leaf.NotBefore, cred: &Credential{Leaf: leaf, NotAfter: leaf.NotAfter}}
	for i, c := range chain[1:] {
		if err := chain[i].CheckSignatureFrom(c); err != nil {
			return nil, fmt.Errorf("STIR signer: certificate %q was not issued by the next one, %q: %w", chain[i].Subject, c.Subject, err)
		}
		s.from = later(s.from, c.NotBefore)
		s.cred.NotAfter = earlier(s.cred.NotAfter, c.NotAfter)
	}
	var err error
	if s.cred.Numbers, err = NumbersOf(leaf); err != nil {
		return nil, fmt.Errorf("STIR signer: %w", err)
	}
	if s.cred.constraints, err = constraintsOf(leaf); err != nil {
		return nil, fmt.Errorf("STIR signer: %w", err)
	}
	// A provider's own certificate names no number; which ones are the
	// provider's to sign is decided by policy, not by it.
	s.cred.anyNumber = s.cred.Numbers.isProvider()
	s.jws, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: cryptosigner.Opaque(key)},
		(&jose.SignerOptions{}).WithType(typ).WithHeader("ppt", pptShaken).WithHeader("x5u", x5u))
	if err != nil {
		return nil, fmt.Errorf("STIR signer: %w", err)
	}
	return s, nil
}

func (l TNAuthList) isProvider() bool {
	for _, e := range l {
		if e.SPC == "" {
			return false
		}
	}
	return true
}

// Sign makes the PASSporT of a call, in full form with ppt "shaken" (RFC
// 8588). attest is A, B or C; origID a UUID (RFC 8588 section 5). Errors wrap
// ErrNotCovered or ErrNotValid when that is why.
func (s *Signer) Sign(c Call, attest, origID string, now time.Time) (string, error) {
	token, err := s.sign(c, attest, origID, now)
	if err != nil {
		return "", fmt.Errorf("sign PASSporT of call from %q to %q: %w", c.From, c.To, err)
	}
	return token, nil
}

func (s *Signer) sign(c Call, attest, origID string, now time.Time) (string, error) {
	if !s.Covers(c.From) {
		return "", fmt.Errorf("%w: it is for %.200s; enrol one that holds the number, or correct the trunk's numbers", ErrNotCovered, s.cred.Numbers)
	}
	if now.Before(s.from) || now.After(s.cred.NotAfter) {
		return "", fmt.Errorf("%w: it is valid from %s to %s; enrol a new one", ErrNotValid,
			s.from.Format(time.DateTime), s.cred.NotAfter.Format(time.DateTime))
	}
	if !attestation(attest) {
		return "", fmt.Errorf("attestation %.20q is not A, B or C", attest)
	}
	if !isUUID(origID) {
		return "", fmt.Errorf("origination identifier %.50q is no UUID", origID)
	}
	claims := Claims{Attest: attest, IssuedAt: now.Unix(), Orig: Orig{TN: c.From.TN()}, OrigID: origID}
	if tn := c.To.TN(); tn != "" {
		claims.Dest.TN = []string{tn}
	} else {
		claims.Dest.URI = []string{"sip:" + string(c.To)}
	}
	if !claims.To(c.To) {
		return "", errors.New("the called party is no number or address")
	}
	payload := claims.Append(nil)
	var named map[string]stdjson.RawMessage
	if err := json.Unmarshal(payload, &named); err != nil {
		return "", err
	}
	if err := s.cred.permits(named); err != nil {
		return "", err
	}
	jws, err := s.jws.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// Covers tells whether Sign would sign for the number.
func (s *Signer) Covers(n policy.Number) bool { return s.cred.Covers(n) }

// NotAfter is when the first certificate of the chain expires.
func (s *Signer) NotAfter() time.Time { return s.cred.NotAfter }

// Numbers are the numbers of the certificate.
func (s *Signer) Numbers() TNAuthList { return s.cred.Numbers }

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if s[i] != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
			return false
		}
	}
	return true
}
