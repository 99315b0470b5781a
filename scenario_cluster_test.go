package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"riptide/bridge/store"
	"riptide/configs"
)

// nodeFiles are the directories of three nodes, each with its configuration,
// made from the examples.
type nodeFiles struct {
	t    *testing.T
	dirs map[string]string
}

func newNodeFiles(t *testing.T) nodeFiles {
	t.Helper()
	f := nodeFiles{t, map[string]string{}}
	key, certificate := nodesCertificate(t)
	sealing := make([]byte, 32)
	_, _ = rand.Read(sealing)
	values := []string{"192.0.2.11:8443", "127.0.0.1:0", "192.0.2.12:8443", "127.0.0.1:0", "192.0.2.11:5060", "127.0.0.1:0", "192.0.2.12:5060", "127.0.0.1:0"}
	var held []net.Listener // until each node has a port
	for _, addr := range []string{"192.0.2.11:6222", "192.0.2.12:6222", "192.0.2.13:6222"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
		values = append(values, addr, l.Addr().String())
	}
	for _, l := range held {
		_ = l.Close()
	}
	for name, example := range map[string]string{"telco-1": "cluster-1.yaml", "telco-2": "cluster-2.yaml", "witness": "witness.yaml"} {
		dir := t.TempDir()
		f.dirs[name] = dir
		text, err := os.ReadFile(filepath.Join("configs", "examples", example))
		if err != nil {
			t.Fatal(err)
		}
		values := append(values, "/var/lib/riptide", filepath.Join(dir, "state"), "node: ", "admin: 127.0.0.1:0\nnode: ")
		// What concerns RIPT is tried elsewhere.
		site, _, _ := strings.Cut(strings.NewReplacer(values...).Replace(string(text)), "\nript:")
		if name != "witness" {
			site += "\ntrunks: {core: {sip: {peer: 127.0.0.1:9, callers: \"*\"}}}\n"
		}
		for file, content := range map[string][]byte{
			"riptide.yaml": []byte(site), "node.key": key, "node.crt": certificate, "nodes-ca.crt": certificate,
			"cluster.key": []byte(base64.StdEncoding.EncodeToString(sealing)),
		} {
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

// nodesCertificate is one that all nodes have, and its own authority.
func nodesCertificate(t *testing.T) (private, certificate []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nodes"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (f nodeFiles) load(name string) *configs.Config {
	f.t.Helper()
	cfg, err := configs.Load(filepath.Join(f.dirs[name], "riptide.yaml"))
	if err != nil {
		f.t.Fatal(err)
	}
	return cfg
}

// TestThreeNodes: two boxes and a witness, as the examples have them, share one
// store; without the witness the two go on; one of them alone says that it cannot.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	f := newNodeFiles(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	var one, two *appliance
	var third *witness
	var errs [3]error
	var wg sync.WaitGroup
	wg.Go(func() { one, errs[0] = newAppliance(ctx, f.load("telco-1"), quiet, nil) })
	wg.Go(func() { two, errs[1] = newAppliance(ctx, f.load("telco-2"), quiet, nil) })
	wg.Go(func() { third, errs[2] = newWitness(ctx, f.load("witness"), quiet, nil) })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = one.close(context.Background()) }()

	await := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal("never: ", what)
			}
		}
	}
	for _, m := range []interface{ Held() bool }{one.members, two.members, third.members} {
		await("a node hears the others", m.Held)
	}
	secret := []byte("+12025550123")
	if _, err := one.store.Create(ctx, store.Calls, "call", secret, 0); err != nil {
		t.Fatal(err)
	}
	if e, err := two.store.Get(ctx, store.Calls, "call"); err != nil || !bytes.Equal(e.Value, secret) {
		t.Errorf("read elsewhere as %q, %v", e.Value, err)
	}
	_ = third.close(ctx)
	if n := filesWith(t, f.dirs["witness"], secret); n > 0 {
		t.Errorf("%d files of the witness say who calls", n)
	}
	await("two of three write", func() bool {
		_, err := two.store.Put(ctx, store.Calls, "call", secret)
		return err == nil
	})
	_ = two.close(ctx)
	await("a node notices that it is alone", func() bool { return joined(one.members, &one.trouble) != nil })
	if err := joined(one.members, &one.trouble); !strings.Contains(err.Error(), "not heard") {
		t.Error(err)
	}
}

// filesWith counts the files below a directory that hold some bytes.
func filesWith(t *testing.T, dir string, what []byte) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, what) {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCheckCluster: check says what a node will do with the others.
func TestCheckCluster(t *testing.T) {
	t.Parallel()
	f := newNodeFiles(t)
	for name, want := range map[string][]string{
		"telco-1": {"cluster: this node takes calls", "cluster: node telco-2 at 127.0.0.1:", "a witness", "works as long as 2 of 3 nodes hear each other", "SIP on"},
		"witness": {"cluster: this node is a witness", "cluster: listens on 127.0.0.1:"},
	} {
		var out bytes.Buffer
		app := newApp()
		app.Writer = &out
		if err := app.Run([]string{"riptide", "check", "-c", filepath.Join(f.dirs[name], "riptide.yaml")}); err != nil {
			t.Fatal(err)
		}
		for _, line := range want {
			if !strings.Contains(out.String(), line) {
				t.Errorf("%s: %s\nlacks %q", name, &out, line)
			}
		}
		if name == "witness" && strings.Contains(out.String(), "SIP") {
			t.Error(fmt.Sprint("a witness speaks SIP: ", &out))
		}
	}
}
