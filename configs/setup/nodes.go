package setup

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Names of the files that CreateNodes writes, beside NAME.crt and NAME.key of
// each node.
const (
	NodesCACert = "nodes-ca.crt" // issued to the nodes of one cluster, and to nobody else
	NodesCAKey  = "nodes-ca.key" // not needed by a running riptide
	ClusterKey  = "cluster.key"  // seals call records; the same on every node
)

// Nodes says for which boxes that share one store the files are.
type Nodes struct {
	Dir   string
	Hosts map[string]string // DNS name or address of each node, by the node's name
	Now   time.Time
}

// CreateNodes writes what the nodes of a cluster know each other by, and the key
// that seals their records. It writes over nothing.
func CreateNodes(n Nodes) error {
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return fmt.Errorf("make directory for keys: %w", err)
	}
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of the nodes' authority: %w", err)
	}
	ca := certificate("riptide nodes", n.Now, caLife)
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, authority.Public(), authority)
	if err != nil {
		return fmt.Errorf("make the nodes' authority: %w", err)
	}
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing) // never fails (crypto/rand)
	if err := errors.Join(
		writeCert(filepath.Join(n.Dir, NodesCACert), der),
		writeKey(filepath.Join(n.Dir, NodesCAKey), authority),
		writeNew(filepath.Join(n.Dir, ClusterKey), []byte(base64.StdEncoding.EncodeToString(sealing)+"\n"), 0o600),
	); err != nil {
		return err
	}
	for name, host := range n.Hosts {
		if err := createNode(n, name, host, ca, authority); err != nil {
			return err
		}
	}
	return nil
}

// createNode makes one node's certificate, which is good in both directions.
func createNode(n Nodes, name, host string, ca *x509.Certificate, authority *ecdsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of node %q: %w", name, err)
	}
	leaf := certificate(name, n.Now, tlsLife)
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), authority)
	if err != nil {
		return fmt.Errorf("make the certificate of node %q for %s: %w", name, host, err)
	}
	return errors.Join(
		writeCert(filepath.Join(n.Dir, name+".crt"), der),
		writeKey(filepath.Join(n.Dir, name+".key"), key),
	)
}
