package sip

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Certificate gives the certificate to show. It is asked at every handshake, so
// that one may be renewed while we run.
type Certificate func() (*tls.Certificate, error)

// TrunkTLS is how a trunk and we know each other on TLS (RFC 5922).
type TrunkTLS struct {
	Certificate Certificate    // ours to this peer; nil = that of Config
	Roots       *x509.CertPool // who signs the peer's certificates; nil = the system's
	Name        string         // what the peer's certificate must be valid for; "" = the host of Peer

	// Require has the peer show such a certificate on connections that it
	// makes, too. Without Match the certificate alone says whose they are.
	Require bool
}

// check finds what cannot be: t may be nil.
func (t *TrunkTLS) check(over transport, host string) error {
	switch {
	case t == nil || !t.Require:
	case !over.secure():
		return fmt.Errorf("a certificate is required of the peer, but its transport is %s: use tls or wss", transports[over].key)
	case host == "" && t.Name == "":
		return errors.New("a certificate is required of the peer, but neither peer nor tls.name says of whom")
	}
	return nil
}

// name is what the peer's certificate must be valid for.
func (t *trunk) name() string {
	if t.TLS != nil && t.TLS.Name != "" {
		return t.TLS.Name
	}
	return t.host
}

// requires tells that the peer must show a certificate to us.
func (t *trunk) requires() bool { return t.TLS != nil && t.TLS.Require }

func (t *trunk) roots() *x509.CertPool {
	if t.TLS == nil {
		return nil
	}
	return t.TLS.Roots
}

// certificateFor is what we show to a trunk, nil if we have nothing.
func (a *Agent) certificateFor(t *trunk) (*tls.Certificate, error) {
	source := a.cfg.Certificate
	if t.TLS != nil && t.TLS.Certificate != nil {
		source = t.TLS.Certificate
	}
	if source == nil {
		return nil, nil
	}
	return source()
}

// clientTLS is our side of a connection to a trunk.
func (a *Agent) clientTLS(t *trunk) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, // RFC 8996
		ServerName: serverName(t.name(), t.host),
		// Not skipped: done below, by the rules of SIP, which know names in URIs
		// and no wildcards (RFC 5922 section 7).
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			return verify(s.PeerCertificates, t.roots(), t.name(), time.Now())
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c, err := a.certificateFor(t)
			if c == nil && err == nil {
				c = &tls.Certificate{} // none, and the server decides
			}
			return c, err
		},
	}
}

// serverName is what is asked for in the handshake: a name, no pattern and no
// address (RFC 6066 section 3).
func serverName(name, host string) string {
	for _, s := range []string{name, host} {
		if _, err := netip.ParseAddr(s); err != nil && s != "" && !strings.HasPrefix(s, "*") {
			return s
		}
	}
	return ""
}

// serverTLS is our side of a connection that may be of one of several trunks,
// best first. found is told which one it is.
func (a *Agent) serverTLS(candidates []*trunk, found func(*trunk)) *tls.Config {
	auth := tls.NoClientCert
	strict := true
	for _, t := range candidates {
		if t.requires() {
			auth = tls.RequestClientCert
		} else {
			strict = false
		}
	}
	if strict {
		auth = tls.RequireAnyClientCert
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: auth,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.choose(candidates, hello)
		},
		VerifyConnection: func(s tls.ConnectionState) error {
			t, err := whose(candidates, s.PeerCertificates, time.Now())
			if err == nil {
				found(t)
			}
			return err
		},
	}
}

// choose finds the certificate that the peer asks for by name; without a name,
// or with one that we do not have, it gets the first.
func (a *Agent) choose(candidates []*trunk, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var first *tls.Certificate
	for _, t := range candidates {
		c, err := a.certificateFor(t)
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
		if first == nil {
			first = c
		}
	}
	if first == nil {
		return nil, errors.New("no certificate to show (set sip.tls)")
	}
	return first, nil
}

// whose finds the trunk of a connection: one whose certificate was shown, before
// one that is known by its address.
func whose(candidates []*trunk, certs []*x509.Certificate, now time.Time) (*trunk, error) {
	var failed error
	for _, t := range candidates {
		if !t.requires() {
			continue
		}
		err := errors.New("it shows no certificate")
		if len(certs) > 0 {
			err = verify(certs, t.roots(), t.name(), now)
		}
		if err == nil {
			return t, nil
		}
		failed = errors.Join(failed, fmt.Errorf("trunk %q: %w", t.Name, err))
	}
	for _, t := range candidates {
		if !t.requires() {
			return t, nil
		}
	}
	return nil, failed
}

// verify checks a chain of certificates, leaf first, and that it is of name.
func verify(certs []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) error {
	if len(certs) == 0 {
		return errors.New("the peer shows no certificate")
	}
	leaf := certs[0]
	o := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		// Both ends of a trunk are servers, and show the same certificate
		// whoever connects.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if slices.ContainsFunc(leaf.UnknownExtKeyUsage, sipDomain.Equal) {
		o.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(o); err != nil {
		return fmt.Errorf("certificate of the peer: %w (is the authority that signed it in tls.roots?)", err)
	}
	if !certifies(leaf, name) {
		return fmt.Errorf("certificate of the peer is valid for %s, not for %q (set tls.name to what it should be)", strings.Join(identities(leaf), ", "), name)
	}
	return nil
}

// sipDomain is id-kp-sipDomain: a certificate made for SIP (RFC 5924).
var sipDomain = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 20}

// certifies tells whether a certificate is of a SIP domain, or of an address
// where a trunk has no name. Wildcards stand for themselves only (RFC 5922
// section 7.2).
func certifies(c *x509.Certificate, name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		for _, ip := range c.IPAddresses {
			if found, ok := netip.AddrFromSlice(ip); ok && found.Unmap() == addr.Unmap() {
				return true
			}
		}
		return false
	}
	return slices.ContainsFunc(identities(c), func(id string) bool { return name != "" && strings.EqualFold(id, name) })
}

// identities are the SIP domains of a certificate: those in sip URIs, and if
// there are none, its DNS names (RFC 5922 section 7.1).
func identities(c *x509.Certificate) []string {
	var out []string
	for _, u := range c.URIs {
		if domain := sipDomainOf(u); domain != "" {
			out = append(out, domain)
		}
	}
	if len(out) > 0 {
		return out
	}
	return c.DNSNames
}

// sipDomainOf is the domain of a URI that names one, and no user in it.
func sipDomainOf(u *url.URL) string {
	if !strings.EqualFold(u.Scheme, "sip") || strings.Contains(u.Opaque, "@") || u.User != nil {
		return ""
	}
	host, _, _ := strings.Cut(u.Opaque, ";")
	host, _, _ = strings.Cut(host, "?")
	host, _, _ = strings.Cut(host, ":")
	return host
}
