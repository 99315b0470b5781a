package setup

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"riptide/policy"
	"riptide/policy/stir"
)

// Names of the files that Create writes.
const (
	CACert     = "ca.crt"      // private CA of our TLS certificate; peers trust it
	CAKey      = "ca.key"      // its key; not needed by a running riptide
	TLSCert    = "tls.crt"     // chain of the RIPT server
	TLSKey     = "tls.key"     //
	ClientKey  = "client.key"  // signs private_key_jwt assertions
	ClientPub  = "client.pub"  // its public half; peers pin it
	StirCACert = "stir-ca.crt" // issues RFC 8226 certificates at /certs; peers trust it
	StirCAKey  = "stir-ca.key"
)

// Lifetimes. The private CAs outlive a box; the TLS certificate is renewed by
// hand, so it lives as long as an operator can be asked to remember.
const (
	caLife  = 10 * 365 * 24 * time.Hour
	tlsLife = 2 * 365 * 24 * time.Hour
)

// Options says for whom the files are.
type Options struct {
	Dir     string           // made if it is not there, mode 0755: the keys protect themselves
	Node    string           // name in certificates
	Hosts   []string         // DNS names and addresses of the RIPT authority
	Numbers []policy.Pattern // blocks the caller identity CA may issue for; none = any
	Now     time.Time
}

// ErrExists is wrapped when a file is already there.
var ErrExists = errors.New("already exists")

// Create writes all files. If any of them or ConfigFile exists it writes none.
func Create(o Options) error {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("make directory for keys: %w", err)
	}
	for _, name := range []string{CACert, CAKey, TLSCert, TLSKey, ClientKey, ClientPub, StirCACert, StirCAKey, ConfigFile} {
		path := filepath.Join(o.Dir, name)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s %w: keys are never overwritten, choose an empty directory", path, ErrExists)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for %s: %w", path, err)
		}
	}
	// First what the options can make impossible, so that nothing is left half made.
	cert, key, err := stir.GenerateCA(o.Node, o.Numbers, caLife, o.Now)
	if err != nil {
		return fmt.Errorf("make the caller identity CA of %q: %w", o.Node, err)
	}
	if err := createTLS(o); err != nil {
		return err
	}
	if err := createClient(o); err != nil {
		return err
	}
	return errors.Join(
		writeNew(filepath.Join(o.Dir, StirCACert), cert, 0o644),
		writeNew(filepath.Join(o.Dir, StirCAKey), key, 0o600),
	)
}

// createTLS makes the private CA and the server certificate it signs.
func createTLS(o Options) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the private CA's key: %w", err)
	}
	ca := certificate(o.Node+" riptide CA", o.Now, caLife)
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return fmt.Errorf("make the private CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the TLS key: %w", err)
	}
	leaf := certificate(o.Node, o.Now, tlsLife)
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range o.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return fmt.Errorf("make the TLS certificate for %v: %w", o.Hosts, err)
	}
	return errors.Join(
		writeCert(filepath.Join(o.Dir, CACert), caDER),
		writeKey(filepath.Join(o.Dir, CAKey), caKey),
		writeCert(filepath.Join(o.Dir, TLSCert), der),
		writeKey(filepath.Join(o.Dir, TLSKey), key),
	)
}

func createClient(o Options) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the client key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode the client's public key: %w", err)
	}
	return errors.Join(
		writeKey(filepath.Join(o.Dir, ClientKey), key),
		writeNew(filepath.Join(o.Dir, ClientPub), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644),
	)
}

func certificate(name string, now time.Time, life time.Duration) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails (crypto/rand)
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour), // peers' clocks are not ours
		NotAfter:     now.Add(life),
	}
}

func writeCert(path string, der []byte) error {
	return writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key for %s: %w", path, err)
	}
	return writeNew(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// writeNew writes a file that must not exist.
func writeNew(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
