package setup_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"riptide/bridge/store/sealed"
	"riptide/configs/setup"
)

// TestNodesKnowEachOther: each node's certificate is good at the others, as
// server and as client, for its own address alone.
func TestNodesKnowEachOther(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	n := setup.Nodes{Dir: dir, Hosts: map[string]string{"one": "192.0.2.11", "two": "two.example"}, Now: time.Now()}
	if err := setup.CreateNodes(n); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, setup.NodesCACert))
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("authority: %v", err)
	}
	for name, host := range n.Hosts {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if pair.Leaf.VerifyHostname("192.0.2.99") == nil {
			t.Errorf("%s is good for another's address", name)
		}
	}
	key, err := os.ReadFile(filepath.Join(dir, setup.ClusterKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.ParseRing(key); err != nil {
		t.Errorf("the key of the cluster: %v", err)
	}
	if err := setup.CreateNodes(n); !errors.Is(err, os.ErrExist) {
		t.Errorf("written over: %v", err)
	}
}
