package h3

import (
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/quic-go/quic-go"
)

// resetKey makes the key of stateless resets (RFC 9000 section 10.3) from the
// server's TLS key: it must outlive the process, and be the same on every node
// of an authority, which is also true of that key. With it a server that was
// killed and started again tells the connections of its predecessor that they
// are gone; without, peers send into the void until the idle timeout, and calls
// to a server that is long back fail.
func resetKey(tls crypto.PrivateKey) (*quic.StatelessResetKey, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(tls)
	if err != nil {
		return nil, fmt.Errorf("stateless resets: read the TLS key: %w", err)
	}
	var key quic.StatelessResetKey
	out, err := hkdf.Key(sha256.New, secret, nil, "riptide QUIC stateless reset", len(key))
	if err != nil {
		return nil, fmt.Errorf("stateless resets: derive a key: %w", err)
	}
	copy(key[:], out)
	return &key, nil
}
