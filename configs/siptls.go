package configs

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
)

// SIPTLS is how a SIP peer and we know each other on TLS.
type SIPTLS struct {
	Certificate File `yaml:"certificate"` // ours to this peer; "" = that of SIP.TLS
	Key         File `yaml:"key"`
	Roots       File `yaml:"roots"` // who signs the peer's certificates; "" = the system's
	Name        Name `yaml:"name"`  // what the peer's certificate must be valid for; default: the host of Peer

	Client string `yaml:"client" oneof:"optional required"` // must the peer show it on its connections

	Pair    Secret[*tls.Certificate] // loaded from Certificate and Key by Load
	RootCAs Anchors                  // loaded from Roots by Load
}

// Name is a name in a certificate: a SIP domain, or a wildcard that stands for
// itself (RFC 5922 section 7.2).
type Name string

// MarshalText is the name.
func (n Name) MarshalText() ([]byte, error) { return []byte(n), nil }

// UnmarshalText reads "sip.carrier.example", "*.carrier.example" or an address.
func (n *Name) UnmarshalText(b []byte) error {
	s := string(b)
	if _, err := netip.ParseAddr(s); err != nil && !isHost(strings.TrimPrefix(s, "*.")) {
		return mistake("not a name that a certificate could have", "write it as sip.carrier.example")
	}
	*n = Name(strings.ToLower(s))
	return nil
}

// secure tells the transports that use certificates.
func secureTransport(word string) bool { return word == "tls" || word == "wss" }

func (d *decoder) checkSIPTLS(c *Config) {
	s := &c.SIP
	if s.TLS.Certificate != "" || s.TLS.Key != "" {
		d.checkPair("sip.tls", s.TLS.Certificate, s.TLS.Key)
	}
	for i, l := range s.Listen {
		if secureTransport(l.Transport) && s.TLS.Certificate == "" && d.lacks("sip.tls") {
			d.problem(fmt.Sprintf("sip.listen[%d]", i), "there is no certificate to show there", "add sip.tls: the certificate and key of this box")
		}
	}
	for i := range c.Trunks {
		t := &c.Trunks[i]
		if t.SIP != nil {
			d.checkTrunkTLS("trunks."+t.Name+".sip", t.SIP, s)
		}
	}
}

func (d *decoder) checkTrunkTLS(key string, t *SIPTrunk, s *SIP) {
	if at := t.Listen.Addr; at.IsValid() && at.Addr().IsUnspecified() && len(s.Advertise) == 0 && t.Advertise == "" {
		d.problem(key+".listen", "listens on every address, but the peer must be told one", "add "+key+".advertise: the address at which the peer reaches this box")
	}
	own := t.TLS != nil && (t.TLS.Certificate != "" || t.TLS.Key != "")
	switch {
	case own:
		d.checkPair(key+".tls", t.TLS.Certificate, t.TLS.Key)
	case secureTransport(t.Listen.Transport) && s.TLS.Certificate == "":
		d.problem(key+".listen", "there is no certificate to show there", "add sip.tls or "+key+".tls: certificate and key")
	}
	if t.TLS != nil && !secureTransport(t.Transport) {
		d.problem(key+".tls", fmt.Sprintf("the peer is spoken to over %s, where nobody shows a certificate", t.Transport), "add transport: tls")
	}
	if !secureTransport(t.Transport) || !t.Listen.Addr.IsValid() || secureTransport(t.Listen.Transport) {
		return
	}
	d.problem(key+".listen", fmt.Sprintf("the peer is spoken to over %s only, and that is not what is listened for there", t.Transport), "write it as "+t.Transport+":"+t.Listen.Addr.String())
}

// byCertificate tells that a trunk's connections are known by the certificate
// that the peer shows, so that it needs no addresses.
func (s *SIPTrunk) byCertificate() bool { return s.TLS != nil && s.TLS.Client == "required" }

func (d *decoder) loadSIPTLS(c *Config) {
	s := &c.SIP
	if s.TLS.Certificate != "" {
		if pair := d.loadPair("sip.tls", s.TLS.Certificate, s.TLS.Key); pair != nil {
			s.TLS.Pair = NewSecret(pair)
		}
	}
	for i := range c.Trunks {
		t := c.Trunks[i].SIP
		if t == nil || t.TLS == nil {
			continue
		}
		key := "trunks." + c.Trunks[i].Name + ".sip.tls"
		if pair := d.loadPair(key, t.TLS.Certificate, t.TLS.Key); pair != nil {
			t.TLS.Pair = NewSecret(pair)
		}
		if t.TLS.Roots != "" {
			t.TLS.RootCAs = d.loadAnchors(key+".roots", []File{t.TLS.Roots})
		}
	}
}
