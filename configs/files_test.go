package configs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// kit writes keys and certificates into a directory of one test.
type kit struct {
	t   *testing.T
	dir string
}

func newKit(t *testing.T) kit { return kit{t, t.TempDir()} }

func (k kit) write(name string, mode os.FileMode, b []byte) string {
	k.t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.WriteFile(path, b, mode); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask is not ours
		k.t.Fatal(err)
	}
	return path
}

func newECKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func publicPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func certificate(t *testing.T, key crypto.Signer, ca bool, names ...string) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IsCA: ca, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// fill writes every file that the example configurations name.
func (k kit) fill() {
	key := newECKey(k.t, elliptic.P256())
	k.write("tls.key", 0o600, pkcs8(k.t, key))
	k.write("tls.crt", 0o644, certificate(k.t, key, false, "office.example", "telco.example"))
	k.write("stir-ca.key", 0o640, pkcs8(k.t, key))
	k.write("stir-ca.crt", 0o644, certificate(k.t, key, true))
	k.write("stir-roots.pem", 0o644, certificate(k.t, key, true))
	k.write("client.key", 0o600, pkcs8(k.t, key))
	k.write("telco.pub", 0o644, publicPEM(k.t, key.Public()))
	k.write("office.pub", 0o644, publicPEM(k.t, key.Public()))
	k.write("node.key", 0o600, pkcs8(k.t, key))
	node := nodeCertificate(k.t, key, "192.0.2.11", "192.0.2.12", "192.0.2.13")
	k.write("node.crt", 0o644, node)
	k.write("nodes-ca.crt", 0o644, node)
	k.write("cluster.key", 0o600, []byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"))
}

// nodeCertificate is good at some addresses, and its own authority.
func nodeCertificate(t *testing.T, key crypto.Signer, addresses ...string) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	for _, a := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestExamplesLoad(t *testing.T) {
	names, err := filepath.Glob("*.yaml")
	if err != nil || len(names) < 3 {
		t.Fatalf("examples: %v, %v", names, err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			k := newKit(t)
			k.fill()
			t.Setenv("CREDENTIALS_DIRECTORY", k.dir)
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Load(k.write(name, 0o644, text))
			if err != nil {
				t.Fatal(err)
			}
			if c.RIPT.ClientKey.Reveal() == nil {
				t.Error("ript.key was not loaded")
			}
			if c.RIPT.Listen.IsValid() && (c.RIPT.TLS.Pair.Reveal() == nil || c.Identity.CA != nil && (c.Identity.CA.Pair.Reveal() == nil || c.Identity.Anchors.Pool == nil)) {
				t.Error("certificates were not loaded")
			}
			for _, trunk := range c.Trunks {
				if r := trunk.RIPT; r != nil && r.Accept != nil && len(r.Accept.PublicKeys) != 1 {
					t.Errorf("trunk %s: keys %v", trunk.Name, r.Accept.PublicKeys)
				}
			}
		})
	}
}

func TestFileMistakes(t *testing.T) {
	telco, err := os.ReadFile("telco.yaml")
	if err != nil {
		t.Fatal(err)
	}
	other := newECKey(t, elliptic.P256())
	p384 := newECKey(t, elliptic.P384())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		damage func(k kit)
		want   []string // of each problem: what it must hold, in the file's order
	}{
		{"missing", func(k kit) { os.Remove(filepath.Join(k.dir, "tls.key")) }, []string{"ript.tls.key: there is no file"}},
		{"two missing", func(k kit) { os.Remove(filepath.Join(k.dir, "tls.crt")); os.Remove(filepath.Join(k.dir, "office.pub")) },
			[]string{"ript.tls.certificate: there is no file", "accept.key: there is no file"}},
		{"readable by all", func(k kit) { os.Chmod(filepath.Join(k.dir, "client.key"), 0o604) }, []string{"ript.key: "}},
		{"not a pair", func(k kit) { k.write("tls.key", 0o600, pkcs8(t, other)) }, []string{"ript.tls.key: "}},
		{"another name", func(k kit) {
			k.write("tls.key", 0o600, pkcs8(t, other))
			k.write("tls.crt", 0o600, certificate(t, other, false, "elsewhere.example"))
		}, []string{"not valid for telco.example"}},
		{"no authority", func(k kit) {
			k.write("stir-ca.key", 0o600, pkcs8(t, other))
			k.write("stir-ca.crt", 0o600, certificate(t, other, false))
		}, []string{"identity.ca.certificate: not the certificate of an authority"}},
		{"RSA authority", func(k kit) {
			k.write("stir-ca.key", 0o600, pkcs8(t, rsaKey))
			k.write("stir-ca.crt", 0o600, certificate(t, rsaKey, true))
		}, []string{"not EC P-256"}},
		{"RSA client key", func(k kit) { k.write("client.key", 0o600, pkcs8(t, rsaKey)) }, []string{"ript.key: not an EC P-256 key"}},
		{"P-384 peer key", func(k kit) { k.write("office.pub", 0o600, publicPEM(t, p384.Public())) }, []string{"accept.key: not an EC P-256 key"}},
		{"private peer key", func(k kit) { k.write("office.pub", 0o600, pkcs8(t, other)) }, []string{"accept.key: a private key"}},
		{"key without PEM", func(k kit) { k.write("client.key", 0o600, []byte("sesame-open")) }, []string{"ript.key: holds no private key"}},
		{"broken key", func(k kit) {
			k.write("client.key", 0o600, []byte("-----BEGIN PRIVATE KEY-----\nc2VzYW1l\n-----END PRIVATE KEY-----\n"))
		}, []string{"ript.key: the key cannot be read"}},
		{"encrypted key", func(k kit) {
			k.write("client.key", 0o600, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VzYW1l\n-----END ENCRYPTED PRIVATE KEY-----\n"))
		}, []string{"ript.key: the key is encrypted"}},
		{"no certificate", func(k kit) { k.write("stir-roots.pem", 0o600, []byte("x")) }, []string{"identity.roots[0]: holds no certificate"}},
		{"too large", func(k kit) { k.write("office.pub", 0o600, make([]byte, maxKeyFile+1)) }, []string{"accept.key: "}},
		{"a directory", func(k kit) {
			os.Remove(filepath.Join(k.dir, "tls.crt"))
			os.Mkdir(filepath.Join(k.dir, "tls.crt"), 0o700)
		}, []string{"not a regular file"}},
		{"a pipe", func(k kit) {
			os.Remove(filepath.Join(k.dir, "tls.crt"))
			if err := syscall.Mkfifo(filepath.Join(k.dir, "tls.crt"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"not a regular file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := newKit(t)
			k.fill()
			tc.damage(k)
			_, err := Load(k.write("telco.yaml", 0o644, telco))
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != len(tc.want) {
				t.Fatalf("got %v", err)
			}
			for i, p := range problems {
				if !strings.Contains(p.String(), tc.want[i]) || p.Line == 0 {
					t.Errorf("got %s, want it to say %q", p, tc.want[i])
				}
				if strings.Contains(p.String(), "sesame") || strings.Contains(p.String(), "c2VzYW1l") {
					t.Errorf("quotes the key: %s", p)
				}
			}
		})
	}
}

// TestHandedOver: a key that only root may read is found among the credentials.
func TestHandedOver(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may read everything, so the way there is tried as somebody else.
		cmd := exec.Command(os.Args[0], "-test.run=^TestHandedOver$", "-test.v")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		dir, err := os.MkdirTemp("", "riptide-configs-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		exe := filepath.Join(dir, "test")
		b, err := os.ReadFile(os.Args[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(exe, b, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Dir = exe, dir
		cmd.Env = append(os.Environ(), "TMPDIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	k := newKit(t)
	k.fill()
	path := k.write("x.yaml", 0o644, []byte("ript: {key: client.key}\n"))
	key := filepath.Join(k.dir, "client.key")
	credentials := t.TempDir()
	b, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(credentials, "riptide_client.key"), b, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(key, 0); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "not allowed to read") {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if cfg, err := Load(path); err != nil || cfg.RIPT.ClientKey.Reveal() == nil {
		t.Errorf("with credentials: %v", err)
	}
}

// TestTokenKey: it may be left out, and is held to what a client key is.
func TestTokenKey(t *testing.T) {
	k := newKit(t)
	k.fill()
	for text, want := range map[string]string{
		"node: x\n":                       "",
		"ript: {token-key: client.key}\n": "",
		"ript: {token-key: tls.crt}\n":    "ript.token-key",
		"ript: {token-key: none.key}\n":   "there is no file",
	} {
		cfg, err := Load(k.write("x.yaml", 0o644, []byte(text)))
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want == "" && (cfg.RIPT.TokenKey.Reveal() != nil) != strings.Contains(text, "token-key"):
			t.Errorf("%q: token key %v", text, cfg.RIPT.TokenKey.Reveal() != nil)
		}
	}
}

func TestCredentials(t *testing.T) {
	k := newKit(t)
	k.fill()
	path := k.write("x.yaml", 0o644, []byte("ript: {key: 'credential:client.key'}\n"))
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "LoadCredential=client.key:") {
		t.Errorf("without systemd: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", k.dir)
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
	if _, problems := Parse("x.yaml", []byte("ript: {key: 'credential:../client.key'}\n")); len(problems) != 1 {
		t.Errorf("a credential outside the directory: %v", problems)
	}
}

func TestLoadNoFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestParsePublicKeysJSON(t *testing.T) {
	key := newECKey(t, elliptic.P256())
	one, err := jose.JSONWebKey{Key: key.Public(), KeyID: "a"}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	private, err := jose.JSONWebKey{Key: key, KeyID: "a"}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, text string
		keys       int
	}{
		{"one", string(one), 1},
		{"set", fmt.Sprintf(`{"keys":[%s,%s]}`, one, one), 2},
		{"private", string(private), 0},
		{"private in set", fmt.Sprintf(`{"keys":[%s,%s]}`, one, private), 0},
		{"symmetric", `{"kty":"oct","k":"c2VzYW1l"}`, 0},
		{"empty set", `{"keys":[]}`, 0},
		{"no JSON", `hello`, 0},
		{"nothing", ``, 0},
	} {
		keys, err := ParsePublicKeys([]byte(tc.text))
		if len(keys) != tc.keys || (err == nil) != (tc.keys > 0) {
			t.Errorf("%s: %v, %v", tc.name, keys, err)
		}
		if tc.keys > 0 && keys[0].ID != "a" {
			t.Errorf("%s: lost the key's id", tc.name)
		}
	}
}

func FuzzParsePublicKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := ParsePublicKeys(b)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%v, %v", keys, err)
		}
	})
}

func TestSecretIsNeverPrinted(t *testing.T) {
	type holder struct{ S Secret[string] }
	s := NewSecret("sesame")
	asJSON, err := json.Marshal(holder{s})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "holder", holder{s})
	for _, text := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", holder{s}, &holder{s}, holder{s}), string(asJSON), log.String(),
	} {
		if strings.Contains(text, "sesame") || strings.Contains(text, fmt.Sprintf("%x", "sesame")) || !strings.Contains(text, redacted) {
			t.Errorf("printed as %s", text)
		}
	}
	if s.Reveal() != "sesame" {
		t.Error("the secret is lost")
	}
}

func TestLoadEndToEndKeys(t *testing.T) {
	dir := t.TempDir()
	files := 0
	write := func(text string, mode os.FileMode) string {
		files++
		path := filepath.Join(dir, fmt.Sprintf("%d.json", files))
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const good = `[{"kid": 1, "suite": 4, "key": "000102030405060708090a0b0c0d0e0f"}]`
	for name, tc := range map[string]struct {
		path string
		want string // in the problem; empty: none
	}{
		"good":                {write(good, 0o600), ""},
		"readable by all":     {write(good, 0o644), "trunks.peer.ript.e2e-keys"},
		"no JSON":             {write("hello", 0o600), "want a JSON array"},
		"a suite of no RFC":   {write(`[{"kid": 1, "suite": 9, "key": "000102030405060708090a0b0c0d0e0f"}]`, 0o600), "suite 9"},
		"a key that is short": {write(`[{"kid": 1, "suite": 4, "key": "00"}]`, 0o600), "16 to 64 bytes"},
		"no file":             {filepath.Join(dir, "none"), "trunks.peer.ript.e2e-keys"},
	} {
		var c Config
		c.Trunks = []Trunk{{Name: "peer", RIPT: &RIPTTrunk{E2EKeys: File(tc.path)}}}
		d := &decoder{}
		d.loadFiles(&c)
		var told []string
		for _, p := range d.problems {
			told = append(told, fmt.Sprint(p))
		}
		text := strings.Join(told, "; ")
		if (text == "") != (tc.want == "") || !strings.Contains(text, tc.want) || (c.Trunks[0].RIPT.Keys.Reveal() != nil) != (tc.want == "") {
			t.Errorf("%s: %q, want %q", name, text, tc.want)
		}
		if strings.Contains(text, "0102030405") {
			t.Errorf("%s: a key is shown: %s", name, text)
		}
	}
}
