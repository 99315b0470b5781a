package sip

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key = newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue signs a certificate. Names are DNS names, addresses or URIs.
func (a *authority) issue(change func(*x509.Certificate), names ...string) *tls.Certificate {
	a.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "cn.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else if u, err := url.Parse(name); err == nil && u.Scheme != "" {
			tmpl.URIs = append(tmpl.URIs, u)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, name)
		}
	}
	if change != nil {
		change(tmpl)
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func shows(c *tls.Certificate) Certificate {
	return func() (*tls.Certificate, error) { return c, nil }
}

// RFC 5922 section 7: who a certificate is of.
func TestCertificateNames(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, tc := range []struct {
		names []string
		name  string
		want  bool
	}{
		{[]string{"sip.example.net"}, "sip.example.net", true},
		{[]string{"sip.example.net"}, "SIP.Example.NET", true},
		{[]string{"sip.example.net"}, "example.net", false},
		{[]string{"*.example.net"}, "sip.example.net", false},
		{[]string{"*.example.net"}, "*.example.net", true},
		{[]string{"sip:example.net"}, "example.net", true},
		{[]string{"sip:example.net", "sip.example.net"}, "sip.example.net", false}, // URIs come first
		{[]string{"sip:alice@example.net", "sip.example.net"}, "sip.example.net", true},
		{[]string{"sip:alice@example.net"}, "example.net", false},
		{[]string{"https://example.net"}, "example.net", false},
		{[]string{"sip:example.net;transport=tls"}, "example.net", true},
		{[]string{"127.0.0.1"}, "127.0.0.1", true},
		{[]string{"127.0.0.1"}, "127.0.0.2", false},
		{[]string{"2001:db8::1"}, "2001:DB8::1", true},
		{[]string{"sip.example.net"}, "", false},
		{nil, "cn.example", false}, // the common name counts for nothing
	} {
		if got := certifies(ca.issue(nil, tc.names...).Leaf, tc.name); got != tc.want {
			t.Errorf("%v for %q: %v", tc.names, tc.name, got)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	usage := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	for name, tc := range map[string]struct {
		cert *tls.Certificate
		want string // "" = good
	}{
		"good":         {ca.issue(nil, "pbx.example"), ""},
		"of a client":  {ca.issue(usage(x509.ExtKeyUsageClientAuth), "pbx.example"), ""},
		"for anything": {ca.issue(usage(), "pbx.example"), ""},
		"made for SIP": {ca.issue(func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{sipDomain}
		}, "pbx.example"), ""},
		"for mail":       {ca.issue(usage(x509.ExtKeyUsageEmailProtection), "pbx.example"), "usage"},
		"of another":     {ca.issue(nil, "evil.example"), `valid for evil.example, not for "pbx.example"`},
		"self-made":      {other.issue(nil, "pbx.example"), "unknown authority"},
		"expired":        {ca.issue(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "pbx.example"), "expired"},
		"not valid yet":  {ca.issue(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, "pbx.example"), "not yet valid"},
		"without a name": {ca.issue(nil), "not for"},
	} {
		err := verify([]*x509.Certificate{tc.cert.Leaf}, ca.pool, "pbx.example", time.Now())
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if verify(nil, ca.pool, "pbx.example", time.Now()) == nil {
		t.Error("no certificate is good")
	}
}

// tlsAgent listens for TLS besides UDP and TCP.
func tlsAgent(t *testing.T, ca *authority, acc bridge.Acceptor, tr Trunk) (*Agent, netip.AddrPort) {
	t.Helper()
	a := startAgent(t, acc, tr, func(c *Config) {
		c.Listen = append(c.Listen, "tls:127.0.0.1:0", "ws:127.0.0.1:0", "wss:127.0.0.1:0")
		c.Certificate = shows(ca.issue(nil, "riptide.example", "127.0.0.1"))
	})
	return a, a.at(overTLS)
}

// at is where an agent listens for a transport.
func (a *Agent) at(over transport) netip.AddrPort {
	for _, s := range a.sockets {
		if s.over == over {
			return s.addr
		}
	}
	return netip.AddrPort{}
}

// dialTLS connects a scripted peer.
func dialTLS(t *testing.T, ca *authority, to netip.AddrPort, own *tls.Certificate, version uint16) (*tls.Conn, error) {
	t.Helper()
	cfg := &tls.Config{RootCAs: ca.pool, ServerName: "riptide.example", MaxVersion: version}
	if own != nil {
		cfg.Certificates = []tls.Certificate{*own}
	}
	d := net.Dialer{Timeout: patience}
	conn, err := tls.DialWithDialer(&d, "tcp", to.String(), cfg)
	if err == nil {
		// TLS 1.3 has the client's certificate judged after its handshake.
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err = conn.Read(make([]byte, 1)); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			err = nil
		}
		_ = conn.SetReadDeadline(time.Time{})
	}
	return conn, err
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Row 9 and 10 of the trunk behaviours: a call over TLS, 1.2 and 1.3, with sip
// and with sips, hung up by us over the same connection.
func TestCallOverTLS(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "tls", "scripted")
	ca := newAuthority(t)
	for name, tc := range map[string]struct {
		version uint16
		scheme  string
	}{"1.2": {tls.VersionTLS12, "sip"}, "1.3": {tls.VersionTLS13, "sip"}, "sips": {tls.VersionTLS13, "sips"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			a, at := tlsAgent(t, ca, acc, Trunk{Transport: "tls"})
			conn, err := dialTLS(t, ca, at, nil, tc.version)
			if err != nil {
				t.Fatal(err)
			}
			p := newTCPPeer(t, conn)
			d := p.caller(a)
			d.uri = tc.scheme + ":+12025550199@riptide.example"
			d.invite(offerSDP(1, 40000))
			l := acc.next(t)
			if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
				t.Fatal(err)
			}
			ok := d.status(200, "INVITE")
			c := ok.Contact().Address
			if c.Scheme != tc.scheme || c.Port != int(at.Port()) || tc.scheme == "sip" && c.UriParams.GetOr("transport", "") != "tls" {
				t.Errorf("Contact %s", ok.Contact().Value())
			}
			d.learn(ok)
			d.ack("")
			end(t, p, l)
			if bye := p.all[len(p.all)-1]; bye.Via().Transport != "TLS" || bye.Via().Port != int(at.Port()) {
				t.Errorf("Via %s", bye.Via().Value())
			}
		})
	}
}

// RFC 8996: TLS 1.1 is no more.
func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	a, at := tlsAgent(t, ca, newAcceptor(), Trunk{Transport: "tls"})
	if conn, err := dialTLS(t, ca, at, nil, tls.VersionTLS11); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	for a.Counts().Handshakes == 0 {
		time.Sleep(time.Millisecond)
	}
}

// sipgo sent requests for sips URIs over clear UDP (fault 7 of its dialog
// layer). Here they are refused when they come in clear, and never leave in it.
func TestSipsIsNeverDowngraded(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	acc := newAcceptor()
	a, _ := tlsAgent(t, ca, acc, Trunk{})
	p := newPeer(t)
	d := p.caller(a)
	d.uri = "sips:+12025550199@riptide.example"
	d.invite(offerSDP(1, 40000))
	d.ackRefusal(d.status(416, "INVITE"))

	// A call over UDP whose peer then names a sips Contact: our BYE goes over TLS.
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*ca.issue(nil, "127.0.0.1")}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	a = startAgent(t, acc, Trunk{Peer: "127.0.0.1:5060", TLS: &TrunkTLS{Roots: ca.pool}})
	d = p.caller(a)
	d.headers = []string{"Record-Route: <sips:" + ln.Addr().String() + ";lr>"}
	l := establish(t, acc, d)
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake() // the agent waits for it
			accepted <- c
		}
	}()
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	secure := newTCPPeer(t, <-accepted)
	bye := secure.request("BYE")
	if bye.Via().Transport != "TLS" {
		t.Errorf("Via %s", bye.Via().Value())
	}
	secure.respond(bye, 200, "OK", "", "")
	closed(t, l)
	if n := p.count(func(m sipgo.Message) bool { return isRequest(m, "BYE") }); n != 0 {
		t.Errorf("%d BYEs in clear", n)
	}
}

// livekit/sip#530 and the like: mutual TLS. A trunk that wants a certificate is
// spoken for by nothing else, and by it from any address.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "tls", "scripted")
	ca, other := newAuthority(t), newAuthority(t)
	acc := newAcceptor()
	anywhere := Trunk{Name: "carrier", Transport: "tls", TLS: &TrunkTLS{Roots: ca.pool, Name: "carrier.example", Require: true}, Match: []netip.Prefix{}}
	a, at := tlsAgent(t, ca, acc, anywhere)
	for name, tc := range map[string]struct {
		cert *tls.Certificate
		want bool
	}{
		"its certificate":   {ca.issue(nil, "carrier.example"), true},
		"none":              {nil, false},
		"another's":         {ca.issue(nil, "customer.example"), false},
		"signed by nobody":  {other.issue(nil, "carrier.example"), false},
		"another, wildcard": {ca.issue(nil, "*.example"), false},
	} {
		conn, err := dialTLS(t, ca, at, tc.cert, 0)
		if (err == nil) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		p := newTCPPeer(t, conn)
		d := p.caller(a)
		d.do("OPTIONS", "")
		d.status(200, "OPTIONS")
	}
	// In clear it is a stranger, whatever its address.
	clear := newPeer(t)
	clear.caller(a).do("OPTIONS", "")
	for a.Counts().Strangers == 0 {
		time.Sleep(time.Millisecond)
	}
	if n := clear.count(func(sipgo.Message) bool { return true }); n != 0 {
		t.Error("a trunk on TLS is answered over UDP")
	}
	if n := a.Counts().Handshakes; n != 4 {
		t.Errorf("%d failed handshakes counted, want 4", n)
	}
}

// A call that we place over TLS: name, certificate and connection are checked on
// both sides.
func TestDialOverTLS(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "tls", "scripted")
	ca, other := newAuthority(t), newAuthority(t)
	for name, tc := range map[string]struct {
		server *tls.Certificate
		name   string
		want   bool
	}{
		"by address":      {ca.issue(nil, "127.0.0.1"), "", true},
		"by name":         {ca.issue(nil, "carrier.example"), "carrier.example", true},
		"of another":      {ca.issue(nil, "evil.example"), "carrier.example", false},
		"signed by other": {other.issue(nil, "carrier.example"), "carrier.example", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Value
			ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
				GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
					asked.Store(hello.ServerName)
					return tc.server, nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ln.Close() }()
			client := ca.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "riptide.example")
			a, at := tlsAgent(t, ca, newAcceptor(), Trunk{
				Peer: ln.Addr().String(), Transport: "tls", TLS: &TrunkTLS{Roots: ca.pool, Name: tc.name, Certificate: shows(client)},
			})
			accepted := make(chan net.Conn, 1)
			go func() {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				if c.(*tls.Conn).Handshake() == nil {
					accepted <- c
					return
				}
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
			l, err := a.Dial(ctx, intent)
			if !tc.want {
				if err == nil || bridge.CauseOf(err).Code != bridge.CauseUnreachable.Code || !strings.Contains(err.Error(), "certificate") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p := newTCPPeer(t, <-accepted)
			invite := p.request("INVITE")
			if v := invite.Via(); v.Transport != "TLS" || v.Port != int(at.Port()) || !v.Params.Has("alias") {
				t.Errorf("Via %s", v.Value())
			}
			if got := invite.Contact().Address; got.UriParams.GetOr("transport", "") != "tls" || got.Port != int(at.Port()) {
				t.Errorf("Contact %s", got.String())
			}
			if got := asked.Load(); got != tc.name {
				t.Errorf("SNI %q, want %q", got, tc.name)
			}
			p.respond(invite, 486, "Busy", "x", "")
			event(t, l, bridge.Ended)
			closed(t, l)
		})
	}
}

// RFC 5923: the connection that a peer has made and proven itself on is used
// for calls to it.
func TestConnectionReuse(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close() // a connection to it would fail
	peerAt := addrPortOf(nobody.Addr())
	a, at := tlsAgent(t, ca, newAcceptor(), Trunk{
		Peer: peerAt.String(), Transport: "tls", TLS: &TrunkTLS{Roots: ca.pool, Name: "carrier.example", Require: true},
	})
	conn, err := dialTLS(t, ca, at, ca.issue(nil, "carrier.example"), 0)
	if err != nil {
		t.Fatal(err)
	}
	p := newTCPPeer(t, conn)
	d := p.caller(a)
	d.send(strings.Replace(d.make("OPTIONS", 1, newBranch(), ""), p.addr().String()+";branch", peerAt.String()+";alias;branch", 1))
	d.status(200, "OPTIONS")
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	p.respond(p.request("INVITE"), 486, "Busy", "x", "")
	event(t, l, bridge.Ended)
	closed(t, l)
}

// Certificates expire: a new one is shown on the next connection, and the agent
// runs on.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	var current atomic.Pointer[tls.Certificate]
	current.Store(ca.issue(nil, "riptide.example"))
	a := startAgent(t, newAcceptor(), Trunk{Transport: "tls"}, func(c *Config) {
		c.Listen = []string{"tls:127.0.0.1:0"}
		c.Certificate = func() (*tls.Certificate, error) { return current.Load(), nil }
	})
	serial := func() *big.Int {
		conn, err := dialTLS(t, ca, a.Addr(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber
	}
	before := serial()
	current.Store(ca.issue(nil, "riptide.example"))
	if serial().Cmp(before) == 0 {
		t.Error("the old certificate is still shown")
	}
}
