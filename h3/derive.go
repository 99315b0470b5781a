package h3

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/quic-go/quic-go"
)

// Some keys must outlive the process and be the same on every node of an
// authority. That is also true of the server's TLS key, so they are derived from
// it (RFC 5869), each under a name of its own.

// resetKey makes the key of stateless resets (RFC 9000 section 10.3). With it a
// server that was killed and started again tells the connections of its
// predecessor that they are gone; without, peers send into the void until the
// idle timeout, and calls to a server that is long back fail.
func resetKey(tls crypto.PrivateKey) (*quic.StatelessResetKey, error) {
	var key quic.StatelessResetKey
	out, err := derive(tls, "riptide QUIC stateless reset", len(key))
	if err != nil {
		return nil, fmt.Errorf("stateless resets: %w", err)
	}
	copy(key[:], out)
	return &key, nil
}

// tokenKey makes the key that signs access tokens: one node's are good at every
// other, and at the same node after a restart.
func tokenKey(tls crypto.PrivateKey) (*ecdsa.PrivateKey, error) {
	curve := elliptic.P256()
	size := (curve.Params().N.BitLen() + 7) / 8
	// One number in 2^32 is none of the curve's; then the next is taken.
	for n := range 4 {
		raw, err := derive(tls, fmt.Sprintf("riptide access tokens %d", n), size)
		if err != nil {
			return nil, fmt.Errorf("access tokens: %w", err)
		}
		if key, err := ecdsa.ParseRawPrivateKey(curve, raw); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("access tokens: no key can be derived") // never seen by anybody
}

func derive(tls crypto.PrivateKey, name string, size int) ([]byte, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(tls)
	if err != nil {
		return nil, fmt.Errorf("read the TLS key: %w", err)
	}
	out, err := hkdf.Key(sha256.New, secret, nil, name, size)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return out, nil
}
