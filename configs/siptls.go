package configs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
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

// renewEvery is how often the files of a certificate are looked at.
const renewEvery = time.Second

// Renewed gives the certificate of two files as they are now: the one that was
// loaded until they change, and then what they hold, so that a certificate can
// be renewed without a restart. Files that are wrong, or of which only one has
// been replaced so far, change nothing; complain, if not nil, is told once.
// Credentials of systemd stay as they were when the service began.
func Renewed(certificate, key File, loaded *tls.Certificate, complain func(error)) func() (*tls.Certificate, error) {
	if complain == nil {
		complain = func(error) {}
	}
	r := &renewal{certificate: certificate, key: key, pair: loaded, complain: complain}
	r.stamp, _ = r.look() // what cannot be looked at is what was loaded
	return func() (*tls.Certificate, error) { return r.current(time.Now()), nil }
}

type renewal struct {
	certificate, key File
	complain         func(error)

	mu     sync.Mutex
	pair   *tls.Certificate
	stamp  string // of the files that pair, or the last complaint, is from
	looked time.Time
}

func (r *renewal) current(now time.Time) *tls.Certificate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.looked) < renewEvery {
		return r.pair
	}
	r.looked = now
	stamp, err := r.look()
	if err != nil || stamp == r.stamp {
		return r.pair // gone for a moment: a renewal may be under way
	}
	r.stamp = stamp
	d := &decoder{at: map[string]place{}, told: map[string]bool{}}
	pair := d.loadPair("certificate", r.certificate, r.key)
	if pair == nil {
		var errs []error
		for _, p := range d.problems {
			errs = append(errs, errors.New(p.What))
		}
		r.complain(fmt.Errorf("renewed certificate %s is not taken: %w", r.certificate, errors.Join(errs...)))
		return r.pair
	}
	r.pair = pair
	return pair
}

// look says in short which files are there.
func (r *renewal) look() (string, error) {
	var stamp strings.Builder
	for _, name := range []File{r.certificate, r.key} {
		path, err := locateCredential(name)
		if err != nil {
			return "", err
		}
		info, err := os.Stat(handedOver(path))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&stamp, "%d %d %d;", info.ModTime().UnixNano(), info.Size(), info.Mode())
	}
	return stamp.String(), nil
}
