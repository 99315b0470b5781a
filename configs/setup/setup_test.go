package setup_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"riptide/configs"
	"riptide/configs/setup"
	"riptide/policy"
)

func create(t *testing.T, dir string) error {
	t.Helper()
	return setup.Create(setup.Options{
		Dir: dir, Node: "box", Hosts: []string{"sip.example.net", "192.0.2.1"},
		Numbers: []policy.Pattern{"+1202555xxxx"}, Now: time.Now(),
	})
}

// TestStarterIsValid: what init writes is what serve reads.
func TestStarterIsValid(t *testing.T) {
	t.Parallel()
	for _, numbers := range [][]policy.Pattern{nil, {"+1202555xxxx"}, {"+1202555xxxx", "+442079460000"}} {
		dir := filepath.Join(t.TempDir(), "new")
		if err := create(t, dir); err != nil {
			t.Fatal(err)
		}
		s := setup.Starter{Node: "box", SIP: "127.0.0.1:5060", Listen: "[::]:8443", Authority: "sip.example.net:8443", Numbers: numbers}
		text, err := s.Text()
		if err != nil {
			t.Fatal(err)
		}
		if err := setup.WriteConfig(dir, text); err != nil {
			t.Fatal(err)
		}
		cfg, err := configs.Load(filepath.Join(dir, setup.ConfigFile))
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Node != "box" || cfg.RIPT.Authority != s.Authority || cfg.RIPT.ClientKey.Reveal() == nil || cfg.Identity.CA == nil {
			t.Errorf("read back %+v", cfg)
		}
		if err := setup.WriteConfig(dir, text); err == nil {
			t.Error("the configuration was overwritten")
		}
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := create(t, dir); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(dir, setup.CACert))
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("CA: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, setup.TLSCert))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for host, good := range map[string]bool{"sip.example.net": true, "192.0.2.1": true, "evil.example.net": false} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
		if (err == nil) != good {
			t.Errorf("%s: %v", host, err)
		}
	}
	for name, mode := range map[string]os.FileMode{
		setup.CAKey: 0o600, setup.TLSKey: 0o600, setup.ClientKey: 0o600, setup.StirCAKey: 0o600,
		setup.CACert: 0o644, setup.ClientPub: 0o644, setup.StirCACert: 0o644,
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// TestNothingIsOverwritten: one file that exists keeps all of them from being
// written.
func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, setup.StirCAKey), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := create(t, dir); !errors.Is(err, setup.ErrExists) {
		t.Errorf("create returned %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

// TestStarterQuotes: whatever can be a node, an address or an authority stands
// in the configuration as it was given.
func TestStarterQuotes(t *testing.T) {
	t.Parallel()
	for _, s := range []setup.Starter{
		{Node: "1", SIP: "[::1]:5060", Listen: "[::]:8443", Authority: "[::1]:8443"},
		{Node: "true", SIP: "0.0.0.0:5060", Listen: "[::]:8443", Authority: "a.example:443"},
		{Node: "a: {", SIP: "x # y", Listen: "[::]:8443", Authority: "\"\\\n"},
	} {
		text, err := s.Text()
		if err != nil {
			t.Fatal(err)
		}
		cfg, problems := configs.Parse("x.yaml", text)
		if cfg == nil {
			t.Fatalf("%+v makes no YAML: %v", s, problems)
		}
		if s.Node == "1" && (len(problems) > 0 || cfg.RIPT.Authority != s.Authority || cfg.Node != "1") {
			t.Errorf("%+v reads as %+v, %v", s, cfg.RIPT, problems)
		}
	}
}

// TestNothingHalfMade: a CA that cannot be made leaves no file behind.
func TestNothingHalfMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	err := setup.Create(setup.Options{Dir: dir, Node: "box", Hosts: []string{"a.example"}, Numbers: []policy.Pattern{"+1*"}, Now: time.Now()})
	files, _ := os.ReadDir(dir)
	if err == nil || len(files) > 0 {
		t.Errorf("error %v, %d files", err, len(files))
	}
	if err := setup.Create(setup.Options{Dir: dir, Node: "box", Hosts: []string{"\u00fc.example"}, Now: time.Now()}); err == nil {
		t.Error("a host that no certificate can name was taken")
	}
	if files, _ = os.ReadDir(dir); len(files) > 0 {
		t.Errorf("%d files", len(files))
	}
}
