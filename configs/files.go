package configs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/go-jose/go-jose/v4"

	"riptide/h3/chunk/seal"
)

// maxKeyFile bounds a key, a certificate chain or a bundle of roots. The
// largest system bundles are a quarter of it.
const maxKeyFile = 1 << 20

// loadFiles reads every file the configuration names, so that a wrong one is
// found before anything starts, and what runs later is what was checked.
func (d *decoder) loadFiles(c *Config) {
	if r := &c.RIPT; r.Listen.IsValid() {
		if pair := d.loadPair("ript.tls", r.TLS.Certificate, r.TLS.Key); pair != nil {
			d.checkServerName(r, pair.Leaf)
			r.TLS.Pair = NewSecret(pair)
		}
	}
	if c.RIPT.Key != "" {
		if key := d.loadClientKey("ript.key", c.RIPT.Key); key != nil {
			c.RIPT.ClientKey = NewSecret(key)
		}
	}
	if c.RIPT.Tokens != "" {
		if key := d.loadClientKey("ript.token-key", c.RIPT.Tokens); key != nil {
			c.RIPT.TokenKey = NewSecret(key)
		}
	}
	if ca := c.Identity.CA; ca != nil {
		if pair := d.loadPair("identity.ca", ca.Certificate, ca.Key); pair != nil {
			d.checkCA("identity.ca.certificate", pair)
			ca.Pair = NewSecret(pair)
		}
	}
	if len(c.Identity.Roots) > 0 {
		c.Identity.Anchors = d.loadAnchors("identity.roots", c.Identity.Roots)
	}
	d.loadSIPTLS(c)
	d.loadCluster(c)
	d.loadTrace(&c.Trace)
	for _, t := range c.Trunks {
		if t.SIP != nil {
			d.loadSIPTrunk("trunks."+t.Name+".sip", t.SIP)
		}
		key := "trunks." + t.Name + ".ript"
		if t.RIPT == nil {
			continue
		}
		if t.RIPT.Roots != "" {
			t.RIPT.RootCAs = d.loadAnchors(key+".roots", []File{t.RIPT.Roots})
		}
		if t.RIPT.E2EKeys != "" {
			if ring := d.loadRing(key+".e2e-keys", t.RIPT.E2EKeys); ring != nil {
				t.RIPT.Keys = NewSecret(ring)
			}
		}
		if a := t.RIPT.Accept; a != nil && a.Key != "" {
			a.PublicKeys = d.loadPublicKeys(key+".accept.key", a.Key)
		}
	}
}

// loadRing reads end-to-end keys.
func (d *decoder) loadRing(key string, name File) *seal.Ring {
	b := d.read(key, name, true)
	if b == nil {
		return nil
	}
	ring, err := seal.ParseRing(b)
	if err != nil {
		d.problem(key, err.Error(), `write a JSON array of keys, as [{"kid": 1, "suite": 4, "key": "…"}]; "openssl rand -hex 32" makes a key`)
		return nil
	}
	return ring
}

// read returns a file's bytes; private files must not be everybody's.
func (d *decoder) read(key string, name File, private bool) []byte {
	path, err := locateCredential(name)
	if err != nil {
		d.wrong(key, err)
		return nil
	}
	b, err := readFile(path, private)
	if err != nil {
		d.wrong(key, err)
		return nil
	}
	d.sums.note(key, b)
	return b
}

func (d *decoder) wrong(key string, err error) {
	what, mend := explain(err)
	d.problem(key, what, mend)
}

// locateCredential finds the file behind credential:NAME.
func locateCredential(name File) (string, error) {
	s := string(name)
	if len(s) <= len(credential) || s[:len(credential)] != credential {
		return s, nil
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", mistake(s+" is handed over by systemd, but this process was not started by it with credentials",
			"add LoadCredential="+s[len(credential):]+":/path to the unit; by hand, set CREDENTIALS_DIRECTORY to the directory that holds the file")
	}
	return filepath.Join(dir, s[len(credential):]), nil
}

// The unit hands over the whole configuration directory under this name, so that
// each of its files becomes a credential NAME_FILE (systemd.exec(5),
// LoadCredential=).
const credentialDir = "riptide_"

// handedOver finds a file that we may not read ourselves among the credentials:
// a service without a user of its own cannot read root's keys in /etc/riptide,
// and the same configuration then works by hand and as a service.
func handedOver(path string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return path
	}
	f, err := os.Open(path)
	if err == nil {
		_ = f.Close()
		return path
	}
	copied := filepath.Join(dir, credentialDir+filepath.Base(path))
	if _, missing := os.Stat(copied); !errors.Is(err, fs.ErrPermission) || missing != nil {
		return path
	}
	return copied
}

func readFile(path string, private bool) ([]byte, error) {
	path = handedOver(path)
	// Looked at before it is opened: opening a pipe would wait for a writer.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, mistake(path+" is not a regular file", "name a PEM file")
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, mistake("there is no file "+path, "relative names are relative to the configuration's directory")
	case errors.Is(err, fs.ErrPermission):
		return nil, mistake("not allowed to read "+path, "let the user that riptide runs as read it, or hand it over with LoadCredential= and write credential:NAME")
	case err != nil:
		return nil, mistake(err.Error(), "")
	}
	defer f.Close()
	if mode := info.Mode().Perm(); private && mode&0o007 != 0 {
		return nil, mistake(fmt.Sprintf("%s is secret, but every user of this host may read it (mode %04o)", path, mode), "chmod o= "+path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, mistake(err.Error(), "")
	}
	if len(b) > maxKeyFile {
		return nil, mistake(fmt.Sprintf("%s is larger than %d bytes", path, maxKeyFile), "name a PEM file")
	}
	return b, nil
}

// loadPair reads a certificate and the private key that belongs to it.
func (d *decoder) loadPair(key string, certificate, private File) *tls.Certificate {
	if certificate == "" || private == "" {
		return nil // reported already
	}
	certPEM := d.read(key+".certificate", certificate, false)
	keyPEM := d.read(key+".key", private, true)
	if certPEM == nil || keyPEM == nil {
		return nil
	}
	if _, err := parseCertificates(certPEM); err != nil {
		d.wrong(key+".certificate", err)
		return nil
	}
	if _, err := parsePrivateKey(keyPEM); err != nil {
		d.wrong(key+".key", err)
		return nil
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		d.problem(key+".key", fmt.Sprintf("%s is not the key of %s", private, certificate), "name the key that the first certificate of the file was made for")
		return nil
	}
	return &pair
}

// checkServerName compares the certificate with the name peers will ask for.
func (d *decoder) checkServerName(r *RIPT, leaf *x509.Certificate) {
	host := r.Listen.Addr().String()
	if r.Authority != "" {
		host, _, _ = net.SplitHostPort(r.Authority)
	}
	if err := leaf.VerifyHostname(host); err != nil {
		d.problem("ript.tls.certificate", fmt.Sprintf("not valid for %s, the name peers connect to", host), "use a certificate with that subject alternative name, or set ript.authority to one it has")
	}
}

func (d *decoder) checkCA(key string, pair *tls.Certificate) {
	if !pair.Leaf.IsCA || pair.Leaf.KeyUsage != 0 && pair.Leaf.KeyUsage&x509.KeyUsageCertSign == 0 {
		d.problem(key, "not the certificate of an authority", "use one with CA:TRUE and keyCertSign")
	}
	// ES256 is the one algorithm of PASSporTs (RFC 8225 section 8); RFC 8226
	// certificates are signed with it too.
	if !isP256(pair.Leaf.PublicKey) {
		d.problem(key, "its key is not EC P-256", "make one with: openssl ecparam -name prime256v1 -genkey -noout")
	}
}

func isP256(public any) bool {
	k, ok := public.(*ecdsa.PublicKey)
	return ok && k.Curve == elliptic.P256()
}

func (d *decoder) loadClientKey(key string, name File) *ClientKey {
	b := d.read(key, name, true)
	if b == nil {
		return nil
	}
	private, err := parsePrivateKey(b)
	if err != nil {
		d.wrong(key, err)
		return nil
	}
	k, ok := private.(*ecdsa.PrivateKey)
	if !ok || k.Curve != elliptic.P256() {
		d.problem(key, "not an EC P-256 key", "make one with: openssl ecparam -name prime256v1 -genkey -noout")
		return nil
	}
	return k
}

func (d *decoder) loadAnchors(key string, names []File) Anchors {
	a := Anchors{Pool: x509.NewCertPool()}
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", key, i)
		if !d.has(at) {
			at = key
		}
		b := d.read(at, name, false)
		if b == nil {
			continue
		}
		certs, err := parseCertificates(b)
		if err != nil {
			d.wrong(at, err)
			continue
		}
		for _, cert := range certs {
			a.Pool.AddCert(cert)
		}
		a.Certs = append(a.Certs, certs...)
	}
	return a
}

func (d *decoder) loadPublicKeys(key string, name File) []PublicKey {
	b := d.read(key, name, false)
	if b == nil {
		return nil
	}
	keys, err := ParsePublicKeys(b)
	if err != nil {
		d.wrong(key, err)
	}
	return keys
}

// parseCertificates reads a PEM file of certificates and nothing else that
// matters; it wants one at least.
func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	const mend = "name a PEM file that begins with -----BEGIN CERTIFICATE-----"
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, mistake("a certificate in it cannot be read: "+err.Error(), mend)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, mistake("holds no certificate", mend)
	}
	return certs, nil
}

// parsePrivateKey reads the first private key of a PEM file: PKCS #8, SEC 1 or
// PKCS #1. Errors never quote the file.
func parsePrivateKey(b []byte) (any, error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return nil, mistake("holds no private key", "name a PEM file that begins with -----BEGIN PRIVATE KEY-----")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, mistake("the key is encrypted, and nobody is there to type its passphrase", "decrypt it with openssl pkey, and protect it by its mode or LoadCredentialEncrypted=")
		default:
			continue // EC PARAMETERS stand before keys made by openssl ecparam
		}
		if err != nil {
			return nil, mistake("the key cannot be read", "make a new one, or convert it with openssl pkey")
		}
		return key, nil
	}
}

// ParsePublicKeys reads a peer's keys: a PEM public key or certificate, one
// JWK, or a JWKS. Each must be EC P-256, the key of ES256.
func ParsePublicKeys(b []byte) ([]PublicKey, error) {
	var set jose.JSONWebKeySet
	if len(b) > maxKeyFile {
		return nil, mistake(fmt.Sprintf("larger than %d bytes", maxKeyFile), "name the peer's public key")
	}
	if block, _ := pem.Decode(b); block != nil {
		key, err := publicFromPEM(block)
		if err != nil {
			return nil, err
		}
		set.Keys = []jose.JSONWebKey{{Key: key}}
	} else if set.Keys = keysFromJSON(b); len(set.Keys) == 0 {
		return nil, mistake("neither PEM nor a JWKS", "ask the peer for its public key: openssl pkey -in client.key -pubout")
	}
	var keys []PublicKey
	for _, k := range set.Keys {
		public, ok := k.Key.(*ecdsa.PublicKey)
		if _, private := k.Key.(*ecdsa.PrivateKey); private {
			return nil, mistake("a private key, where the peer's public key belongs", "ask the peer for the public half, and for a new key: this one has been seen")
		}
		if !ok || !isP256(public) {
			return nil, mistake("not an EC P-256 key", "ask the peer for one: private_key_jwt is signed with ES256")
		}
		keys = append(keys, PublicKey{ID: k.KeyID, Key: public})
	}
	return keys, nil
}

func keysFromJSON(b []byte) []jose.JSONWebKey {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b, &set); err == nil && len(set.Keys) > 0 {
		return set.Keys
	}
	var one jose.JSONWebKey
	if one.UnmarshalJSON(b) == nil {
		return []jose.JSONWebKey{one}
	}
	return nil
}

func publicFromPEM(block *pem.Block) (any, error) {
	const mend = "ask the peer for its public key: openssl pkey -in client.key -pubout"
	switch block.Type {
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, mistake("the public key cannot be read", mend)
		}
		return key, nil
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, mistake("the certificate cannot be read", mend)
		}
		return cert.PublicKey, nil
	case "PRIVATE KEY", "EC PRIVATE KEY":
		return nil, mistake("a private key, where the peer's public key belongs", "ask the peer for the public half, and for a new key: this one has been seen")
	}
	return nil, mistake("neither PEM of a public key nor a JWKS", mend)
}
