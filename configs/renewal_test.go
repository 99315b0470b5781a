package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePair writes a certificate with this serial number, and its key.
func writePair(t *testing.T, dir string, serial int64) (certificate, key File) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"riptide.example"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = File(filepath.Join(dir, "sip.crt")), File(filepath.Join(dir, "sip.key"))
	for name, block := range map[File]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(string(name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// kamailio/kamailio#3823 and the like: certificates are renewed a thousand times
// in the life of a process. What is half replaced, or wrong, changes nothing.
func TestRenewed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certificate, key := writePair(t, dir, 1)
	d := &decoder{at: map[string]place{}, told: map[string]bool{}}
	loaded := d.loadPair("sip.tls", certificate, key)
	if loaded == nil {
		t.Fatal(d.problems)
	}
	var complaints []string
	r := &renewal{certificate: certificate, key: key, pair: loaded, complain: func(err error) { complaints = append(complaints, err.Error()) }}
	r.stamp, _ = r.look()
	now := time.Now()
	serial := func() int64 {
		now = now.Add(2 * renewEvery)
		return r.current(now).Leaf.SerialNumber.Int64()
	}
	for want := int64(2); want < 50; want++ {
		writePair(t, dir, want)
		touch(t, certificate, want)
		if got := serial(); got != want {
			t.Fatalf("certificate %d after the change to %d", got, want)
		}
	}
	old, err := os.ReadFile(string(key))
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, dir, 50)
	if err := os.WriteFile(string(key), old, 0o600); err != nil { // only half is there
		t.Fatal(err)
	}
	for range 3 {
		if got := serial(); got != 49 {
			t.Errorf("certificate %d with the key of 49", got)
		}
	}
	if len(complaints) != 1 || !strings.Contains(complaints[0], "is not the key of") {
		t.Errorf("complaints %q, want one", complaints)
	}
	if err := os.Remove(string(certificate)); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 49 || len(complaints) != 1 {
		t.Errorf("certificate %d while there is none; complaints %q", got, complaints)
	}
	writePair(t, dir, 51)
	touch(t, certificate, 51)
	if got := serial(); got != 51 {
		t.Errorf("certificate %d, want 51", got)
	}
	if pair, err := Renewed(certificate, key, loaded, nil)(); err != nil || pair == (*tls.Certificate)(nil) {
		t.Errorf("%v %v", pair, err)
	}
}

// touch gives a file a time of its own: the clock of file systems is coarse.
func touch(t *testing.T, name File, n int64) {
	t.Helper()
	at := time.Unix(1_700_000_000+n, 0)
	if err := os.Chtimes(string(name), at, at); err != nil {
		t.Fatal(err)
	}
}

// TestRenewedForAnotherName: a new certificate of the RIPT server that peers
// would not take for it is not shown to them.
func TestRenewedForAnotherName(t *testing.T) {
	t.Parallel()
	certificate, key := writePair(t, t.TempDir(), 1)
	d := &decoder{at: map[string]place{}, told: map[string]bool{}}
	r := &RIPT{Authority: "another.example:443", TLS: TLS{Certificate: certificate, Key: key, Pair: NewSecret(d.loadPair("ript.tls", certificate, key))}}
	var complaints []string
	renewed := r.Renewed(func(err error) { complaints = append(complaints, err.Error()) })
	touch(t, certificate, 2)
	pair, err := renewed()
	if err != nil || pair != r.TLS.Pair.Reveal() || len(complaints) != 1 || !strings.Contains(complaints[0], "not valid for another.example") {
		t.Errorf("%v, complaints %q", err, complaints)
	}
}
