package stir

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// Limits of a PEM chain, of what an x5u yields and of our own files.
const (
	maxChainPEM = 64 << 10
	maxChain    = 6 // certificates
)

// ErrChain is wrapped by every error about the form or the trust of a
// certificate chain.
var ErrChain = errors.New("certificate chain not usable")

// ParseChain reads a PEM certificate chain, leaf first: no more than six
// certificates in 64 KiB. Blocks that are not certificates are refused.
// Errors wrap ErrChain.
func ParseChain(b []byte) ([]*x509.Certificate, error) {
	if len(b) > maxChainPEM {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrChain, maxChainPEM)
	}
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: holds a PEM block %.40q", ErrChain, block.Type)
		}
		if len(certs) == maxChain {
			return nil, fmt.Errorf("%w: more than %d certificates", ErrChain, maxChain)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrChain, len(certs)+1, err)
		}
		certs = append(certs, understood(c))
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: no PEM certificate found", ErrChain)
	}
	return certs, nil
}

// Roots are trust anchors: a private peering CA, or the list of a policy
// administrator. System roots never vouch for telephone numbers.
func Roots(certs ...*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(understood(c))
	}
	return pool
}

// EncodeChain writes certificates as PEM, application/pem-certificate-chain.
func EncodeChain(chain []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}

// EncodeKey writes a private key as PKCS #8 PEM. Keep it in a file that only
// riptide can read.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads a P-256 private key, PKCS #8 or SEC 1 PEM. An "EC PARAMETERS"
// block before it, as `openssl ecparam -genkey` writes, is skipped. No error
// quotes the input.
func ParseKey(b []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(b)
	if block != nil && block.Type == "EC PARAMETERS" {
		block, _ = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("private key: no PEM block found")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("private key: PEM block is %.40q, want PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, errors.New("private key: the PEM block cannot be read; was it encrypted or cut short?")
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, fmt.Errorf("private key is %T, want ECDSA on P-256; make one with `openssl ecparam -name prime256v1 -genkey`", key)
	}
	return ec, nil
}

// Thumbprint names a certificate: the SHA-256 of its DER, in hexadecimal.
func Thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// p256 returns the public key if it is one that ES256 can use (RFC 7518
// section 3.4).
func p256(public crypto.PublicKey) (*ecdsa.PublicKey, bool) {
	key, ok := public.(*ecdsa.PublicKey)
	return key, ok && key.Curve == elliptic.P256()
}
