package rtp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"

	"riptide/sip/sdp"
)

const (
	handshakeTimeout = 30 * time.Second
	flightInterval   = 250 * time.Millisecond // of the handshake, until a flight is repeated
	handshakeQueue   = 32                     // records that wait for the handshake; more are dropped
	attemptPause     = 250 * time.Millisecond // between two attempts
)

// dtlsProfiles are offered in this order (RFC 5764 section 4.1.2, RFC 7714
// section 14.2).
var dtlsProfiles = []dtls.SRTPProtectionProfile{
	dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AES128_CM_HMAC_SHA1_32,
}

// Certificate is what we show in DTLS handshakes: nobody has signed it, for its
// fingerprint is in the session description (RFC 5763 section 5). There is one
// for the life of the pool, made when it is first needed.
func (p *Pool) Certificate() (tls.Certificate, error) {
	p.certOnce.Do(func() {
		if p.cert, p.certErr = newCertificate(p.now()); p.certErr == nil {
			p.print = sdp.FingerprintOf(p.cert.Certificate[0])
		}
	})
	return p.cert, p.certErr
}

// Fingerprint is that of Certificate.
func (p *Pool) Fingerprint() (sdp.Fingerprint, error) {
	_, err := p.Certificate()
	return p.print, err
}

func newCertificate(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a key for DTLS: %w", err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate for DTLS: %w", err)
	}
	template := x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "riptide"}, // says nothing about who we are
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate for DTLS: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// association is one DTLS association, on the way of the media or of the reports
// (RFC 5764 section 3). It has a goroutine until it is closed, which waits for
// it. Anybody may send to a media port, so a handshake that comes to nothing is
// only an attempt: there is another, until one gives keys or the time is up.
type association struct {
	fingerprint sdp.Fingerprint
	active      bool
	cert        tls.Certificate
	target      func() netip.AddrPort // where the peer should be
	out         func(b []byte, to netip.AddrPort) error
	keys        func(Exports) error        // when the handshake is done
	failed      func(err error, last bool) // an attempt came to nothing

	in     chan record
	closed chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
	cancel context.CancelFunc

	mu      sync.Mutex
	now     *attempt
	shunned netip.AddrPort // source of an attempt that came to nothing
	until   time.Time      // how long it is shunned
}

type record struct {
	b    []byte
	from netip.AddrPort
}

// start begins with what a peer that begins has said already. Where some of it
// comes from where the peer should be, the rest is nobody's.
func (a *association) start(early []record) {
	a.in, a.closed = make(chan record, handshakeQueue), make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	a.cancel = cancel
	first := a.begin(netip.AddrPort{})
	if !a.active {
		target := a.target()
		elsewhere := func(r record) bool { return r.from != target }
		if theirs := slices.DeleteFunc(slices.Clone(early), elsewhere); len(theirs) > 0 {
			early = theirs
		}
		for _, r := range early {
			a.take(r.b, r.from)
		}
	}
	a.wg.Go(func() {
		defer cancel()
		a.run(ctx, first)
	})
}

// run makes attempts until one succeeds, and keeps that for what comes late of it.
func (a *association) run(ctx context.Context, t *attempt) {
	var why error
	for {
		err := a.handshake(ctx, t)
		first := a.end(t)
		select {
		case <-a.closed: // nobody waits for it any more
			return
		default:
		}
		if first.IsValid() {
			t = a.begin(first)
			continue
		}
		if why == nil || ctx.Err() == nil {
			why = fmt.Errorf("DTLS handshake with %v: %w", a.peer(t), err)
		}
		a.failed(why, ctx.Err() != nil)
		select {
		case <-time.After(attemptPause):
		case <-ctx.Done():
			return
		case <-a.closed:
			return
		}
		t = a.begin(netip.AddrPort{})
	}
}

// handshake makes one attempt. It returns when that has failed, or when the
// association is closed.
func (a *association) handshake(ctx context.Context, t *attempt) error {
	conn, err := a.dial(t)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	a.succeeded(t)
	if err := a.extract(conn); err != nil {
		return err
	}
	<-a.closed
	return nil
}

// dial makes the connection. Certificates are judged by their fingerprint, which
// came in the session description, and by nothing else: their chains prove
// nothing here (RFC 5763 section 5).
func (a *association) dial(t *attempt) (*dtls.Conn, error) {
	o := []dtls.Option{
		dtls.WithCertificates(a.cert),
		dtls.WithSRTPProtectionProfiles(dtlsProfiles...),
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
		dtls.WithFlightInterval(flightInterval),
		dtls.WithInsecureSkipVerify(true),
		dtls.WithVerifyPeerCertificate(a.verify),
	}
	if a.active {
		client := make([]dtls.ClientOption, len(o))
		for i, option := range o {
			client[i] = option
		}
		return dtls.ClientWithOptions(t, t.RemoteAddr(), client...)
	}
	server := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
	for _, option := range o {
		server = append(server, option)
	}
	return dtls.ServerWithOptions(t, t.RemoteAddr(), server...)
}

var errFingerprint = errors.New("the certificate is not the one whose fingerprint the session description has")

func (a *association) verify(chain [][]byte, _ [][]*x509.Certificate) error {
	if len(chain) == 0 || !a.fingerprint.Matches(chain[0]) {
		return errFingerprint
	}
	return nil
}

// extract hands on the keys that came of the handshake (RFC 5764 section 4.2).
func (a *association) extract(conn *dtls.Conn) error {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("the peer takes no SRTP profile of ours")
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("no keys came of it")
	}
	c := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := c.ExtractSessionKeysFromDTLS(&state, a.active); err != nil {
		return err
	}
	return a.keys(Exports{
		Profile: uint16(c.Profile),
		Ours:    slices.Concat(c.Keys.LocalMasterKey, c.Keys.LocalMasterSalt),
		Theirs:  slices.Concat(c.Keys.RemoteMasterKey, c.Keys.RemoteMasterSalt),
	})
}

// take hands a record to the handshake, or drops it: DTLS repeats what is lost.
func (a *association) take(b []byte, from netip.AddrPort) {
	if !takesPart(b) || !a.believes(from) {
		return
	}
	select {
	case a.in <- record{slices.Clone(b), from}:
	default:
	}
}

// stop ends the association and waits for its goroutine.
func (a *association) stop() {
	a.once.Do(func() { close(a.closed) })
	a.cancel()
	a.wg.Wait()
}
