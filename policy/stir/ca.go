package stir

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"

	"riptide/policy"
)

// Errors of CA.Issue.
var (
	ErrCSR              = errors.New("certificate request not usable")                                 // 400
	ErrNumberNotAllowed = errors.New("certificate request asks for numbers that are not the client's") // 403
)

const (
	maxCSR  = 48 << 10 // a full TNAuthList and a little
	maxName = 64       // ub-common-name, RFC 5280 appendix A.1
	// skew is how far a new certificate reaches back, for clocks that are slow.
	skew = 5 * time.Minute
)

// NewCSR asks for a certificate for the numbers: a DER PKCS #10 request whose
// extensionRequest holds the TNAuthList and nothing else. The key must be
// ECDSA on P-256.
func NewCSR(key crypto.Signer, numbers []policy.Pattern) ([]byte, error) {
	if _, ok := p256(key.Public()); !ok {
		return nil, fmt.Errorf("certificate request: key is %T, want ECDSA on P-256", key.Public())
	}
	ext, err := tnExtension(numbers)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{ext}}, key)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return der, nil
}

func tnExtension(numbers []policy.Pattern) (pkix.Extension, error) {
	list, err := NewTNAuthList(numbers)
	if err != nil {
		return pkix.Extension{}, err
	}
	der, err := list.Append(nil)
	return pkix.Extension{Id: oidTNAuthList, Value: der}, err
}

// CA issues STIR certificates: the authenticator behind a TG's /certs.
// It is safe for concurrent use.
type CA struct {
	cert    *x509.Certificate
	key     crypto.Signer
	numbers TNAuthList // nil: the CA is not limited
}

// NewCA puts a CA certificate and its key together. They must match.
func NewCA(cert *x509.Certificate, key crypto.Signer) (*CA, error) {
	if !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("STIR CA: certificate %q may not sign certificates", cert.Subject)
	}
	if err := sameKey(cert, key); err != nil {
		return nil, fmt.Errorf("STIR CA: %w", err)
	}
	numbers, err := tnAuthListOf(cert)
	if err != nil {
		return nil, fmt.Errorf("STIR CA: certificate %q: %w", cert.Subject, err)
	}
	return &CA{cert: understood(cert), key: key, numbers: numbers}, nil
}

// sameKey refuses a certificate that belongs to another key: signatures made
// with the pair would be refused by everyone, one call at a time.
func sameKey(cert *x509.Certificate, key crypto.Signer) error {
	public, ok := p256(key.Public())
	if !ok {
		return fmt.Errorf("key is %T, want ECDSA on P-256", key.Public())
	}
	if !public.Equal(cert.PublicKey) {
		return fmt.Errorf("the key does not belong to certificate %q; check that both files are of the same enrolment", cert.Subject)
	}
	return nil
}

// Certificate is the CA's own certificate.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Issue answers a DER certificate request with a chain, leaf first and the
// CA's certificate after it. The request's numbers must lie within allowed and
// within the CA's own list. Nothing but the key and the TNAuthList is taken
// from the request. Errors wrap ErrCSR or ErrNumberNotAllowed, others are ours.
func (ca *CA) Issue(csr []byte, allowed policy.NumberSet, validity time.Duration, now time.Time) ([]*x509.Certificate, error) {
	public, list, der, err := parseCSR(csr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	if err := list.Within(allowed); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNumberNotAllowed, err)
	}
	if ca.numbers != nil && !ca.numbers.Encompasses(list) {
		return nil, fmt.Errorf("%w: the CA itself speaks only for %.200s", ErrNumberNotAllowed, ca.numbers)
	}
	if validity <= 0 || now.After(ca.cert.NotAfter) || now.Before(ca.cert.NotBefore) {
		return nil, fmt.Errorf("issue STIR certificate: CA %q is valid from %s to %s, asked for %s", ca.cert.Subject,
			ca.cert.NotBefore.Format(time.DateTime), ca.cert.NotAfter.Format(time.DateTime), validity)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%.*s", maxName, list)},
		NotBefore:             later(now.Add(-skew), ca.cert.NotBefore),
		NotAfter:              earlier(now.Add(validity), ca.cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		// Not critical: RFC 8226 section 9 leaves it open, and the tools that
		// check PASSporTs with plain TLS libraries refuse what they don't know.
		ExtraExtensions: []pkix.Extension{{Id: oidTNAuthList, Value: der}},
	}
	leaf, err := create(template, ca.cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue STIR certificate for %.200s: %w", list, err)
	}
	return []*x509.Certificate{leaf, ca.cert}, nil
}

// parseCSR checks a request by itself: syntax, proof of possession, key type
// and its list of numbers, which it also returns as it stands.
func parseCSR(der []byte) (*ecdsa.PublicKey, TNAuthList, []byte, error) {
	if len(der) > maxCSR {
		return nil, nil, nil, fmt.Errorf("%d bytes, at most %d", len(der), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("not a DER PKCS #10 request: %w", err)
	}
	public, ok := p256(csr.PublicKey)
	if !ok {
		return nil, nil, nil, fmt.Errorf("key is %T, want ECDSA on P-256", csr.PublicKey)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, nil, nil, fmt.Errorf("signature of the request: %w", err)
	}
	value := extension(csr.Extensions, oidTNAuthList) // crypto/x509 refuses a second one
	if value == nil {
		return nil, nil, nil, errors.New("no TNAuthList among the requested extensions")
	}
	list, err := ParseTNAuthList(value)
	return public, list, value, err
}

// GenerateCA makes a self-signed CA with a fresh key, for set-up: it may issue
// leaves for the numbers, or for every number if there are none. The key is
// PKCS #8 PEM.
func GenerateCA(name string, numbers []policy.Pattern, validity time.Duration, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate CA %q: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	if len(numbers) > 0 {
		ext, err := tnExtension(numbers)
		if err != nil {
			return nil, nil, fmt.Errorf("generate CA %q: %w", name, err)
		}
		template.ExtraExtensions = []pkix.Extension{ext}
	}
	cert, err := create(template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("generate CA %q: %w", name, err)
	}
	keyPEM, err = EncodeKey(key)
	return EncodeChain([]*x509.Certificate{cert}), keyPEM, err
}

// create signs a certificate; crypto/x509 draws the serial number.
func create(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
