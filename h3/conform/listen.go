package conform

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"riptide/policy"
	"riptide/policy/stir"
)

// ListenOptions say how a Listener presents itself.
type ListenOptions struct {
	Addr        string           // "host:port"; port 0 = any that is free
	Authority   string           // in URIs; "" = Addr
	Certificate *tls.Certificate // nil = one is made
	ClientID    string           // the only one that may log in; "" = anybody
	Key         *ecdsa.PublicKey // its key; nil = the one it comes with is believed

	// Calls is after how many the run ends; 0 = as many as there are scripts.
	Calls int
	// Time is after how long it ends in any case.
	Time time.Duration

	Only     []string
	Progress func(string)

	// Wrap, if not nil, stands before all that is judged. It is for tests of the judge.
	Wrap func(http.Handler) http.Handler
}

// Listener plays server for one client, and judges it.
type Listener struct {
	opt   ListenOptions
	base  string
	pem   []byte // of its certificate
	found *findings

	ca       *stir.CA
	tokenKey *ecdsa.PrivateKey

	udp *net.UDPConn
	tcp net.Listener
	tr  *quic.Transport
	wt  *webtransport.Server
	h2  *http.Server
	wg  sync.WaitGroup

	handler http.Handler
	outage  outage
	state   listenState
	done    chan struct{} // closed when all scripts are through
	finish  sync.Once
}

// listenState is what the client has done so far.
type listenState struct {
	mu       sync.Mutex
	seen     map[string]time.Time // "oauth", "root", "list", "tg", "token", "certs" …: first time
	tokens   map[string]string    // token -> resource
	revoked  map[string]bool
	lapsed   int // requests with a revoked token
	handlers map[string]handlerSeen
	forgot   map[string]bool // handlers that are not registered any more
	certs    map[string][]byte
	pending  map[string][]byte // certificates that are issued later
	asked    map[string]int
	placed   map[string]*placed // by Idempotency-Key
	order    []*played
	byID     map[string]*played
	sessions map[string]*trunkServed
	scripts  []*script // still to be given to calls
	conns    []*quic.Conn
	running  int
	ended    int
}

// handlerSeen is a registration.
type handlerSeen struct {
	uri, id, adv string
	at           time.Time
}

// NewListener makes a listener and opens its ports.
func NewListener(o ListenOptions) (*Listener, error) {
	if err := checkIDs(o.Only); err != nil {
		return nil, err
	}
	if o.Time <= 0 {
		o.Time = 10 * time.Minute
	}
	l := &Listener{opt: o, found: newFindings(Client), done: make(chan struct{})}
	l.state = listenState{
		seen: map[string]time.Time{}, tokens: map[string]string{}, revoked: map[string]bool{}, handlers: map[string]handlerSeen{},
		forgot: map[string]bool{}, certs: map[string][]byte{}, pending: map[string][]byte{}, asked: map[string]int{},
		placed: map[string]*placed{}, byID: map[string]*played{}, sessions: map[string]*trunkServed{},
	}
	l.state.scripts = l.chosenScripts()
	if err := l.makeKeys(); err != nil {
		return nil, err
	}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.Addr, err)
	}
	return l, nil
}

func (l *Listener) makeKeys() error {
	certPEM, keyPEM, err := stir.GenerateCA("riptide conform", nil, 24*time.Hour, time.Now())
	if err != nil {
		return err
	}
	chain, err := stir.ParseChain(certPEM)
	if err != nil {
		return err
	}
	key, err := stir.ParseKey(keyPEM)
	if err != nil {
		return err
	}
	if l.ca, err = stir.NewCA(chain[0], key); err != nil {
		return err
	}
	l.tokenKey, err = newKey()
	return err
}

// open takes the UDP port and the TCP port of the same number.
func (l *Listener) open() error {
	const attempts = 20
	var err error
	for range attempts {
		if err = l.openOnce(); err == nil {
			return l.serve()
		}
		if _, port, _ := net.SplitHostPort(l.opt.Addr); port != "0" {
			break
		}
	}
	return err
}

func (l *Listener) openOnce() error {
	addr, err := net.ResolveUDPAddr("udp", l.opt.Addr)
	if err != nil {
		return err
	}
	if l.udp, err = net.ListenUDP("udp", addr); err != nil {
		return err
	}
	local := l.udp.LocalAddr().(*net.UDPAddr)
	if l.tcp, err = net.ListenTCP("tcp", &net.TCPAddr{IP: local.IP, Port: local.Port}); err != nil {
		return errors.Join(err, l.udp.Close())
	}
	return nil
}

// serve begins to answer.
func (l *Listener) serve() error {
	addr := l.udp.LocalAddr().(*net.UDPAddr)
	authority := l.opt.Authority
	if authority == "" {
		authority = addr.String()
		if host, _, err := net.SplitHostPort(l.opt.Addr); err == nil && host != "" && net.ParseIP(host) == nil {
			authority = net.JoinHostPort(host, strconv.Itoa(addr.Port))
		}
	}
	u, err := url.Parse("https://" + authority)
	if err != nil || u.Host != authority || u.Hostname() == "" {
		return fmt.Errorf("authority %q is not a host or host:port", authority)
	}
	l.base = "https://" + authority
	cert, err := l.certificate(u.Hostname())
	if err != nil {
		return err
	}
	l.handler = l.tree()
	if l.opt.Wrap != nil {
		l.handler = l.opt.Wrap(l.handler)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	h3 := conf.Clone()
	h3.NextProtos = []string{http3.NextProtoH3}
	l.wt = &webtransport.Server{
		H3: &http3.Server{TLSConfig: h3, Handler: l.handler, Logger: slog.New(slog.DiscardHandler), MaxHeaderBytes: 64 << 10,
			ConnContext: func(ctx context.Context, c *quic.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }},
		Config:               &webtransport.Config{MaxIncomingStreams: 1, MaxIncomingUniStreams: 16, MaxIncomingData: 1 << 20},
		ApplicationProtocols: []string{subProtocol},
	}
	l.tr = &quic.Transport{Conn: l.outage.wrap(l.udp)}
	ln, err := l.tr.ListenEarly(h3, &quic.Config{
		MaxIdleTimeout: 10 * time.Second, KeepAlivePeriod: 3 * time.Second, EnableDatagrams: true, EnableStreamResetPartialDelivery: true,
		MaxIncomingStreams: 10_000, MaxIncomingUniStreams: 100, Allow0RTT: true, // so that a client that misuses it can be seen
	})
	if err != nil {
		return err
	}
	l.wg.Go(func() { l.accept(ln) })
	h2 := conf.Clone()
	h2.NextProtos = []string{"h2"}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	l.h2 = &http.Server{Handler: l.handler, TLSConfig: h2, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(discard{}, "", 0)}
	l.wg.Go(func() { _ = l.h2.ServeTLS(outageListener{l.tcp, &l.outage}, "", "") })
	return nil
}

type connKey struct{}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// cutConnections ends every QUIC connection there is.
func (l *Listener) cutConnections() {
	l.state.mu.Lock()
	conns := l.state.conns
	l.state.conns = nil
	l.state.mu.Unlock()
	for _, c := range conns {
		_ = c.CloseWithError(0, "")
	}
}

func (l *Listener) accept(ln *quic.EarlyListener) {
	for {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			return
		}
		l.state.mu.Lock()
		l.state.conns = append(l.state.conns, conn)
		l.state.mu.Unlock()
		l.wg.Go(func() { _ = l.wt.ServeQUICConn(conn) }) // how a connection ends is the client's business
	}
}

// certificate is ours, or one that was made for the host.
func (l *Listener) certificate(host string) (tls.Certificate, error) {
	if l.opt.Certificate != nil {
		l.pem = nil
		return *l.opt.Certificate, nil
	}
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate for %s: %w", host, err)
	}
	l.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// URL is what the client connects to.
func (l *Listener) URL() string { return l.base }

// CertificatePEM is what the client must trust; nil if the certificate was given.
func (l *Listener) CertificatePEM() []byte { return l.pem }

// IdentityPEM is the CA that signs the callers' certificates.
func (l *Listener) IdentityPEM() []byte {
	return stir.EncodeChain([]*x509.Certificate{l.ca.Certificate()})
}

// CallsWanted is how many calls the client must place for all that is judged.
func (l *Listener) CallsWanted() int {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	return len(l.state.scripts)
}

// Run judges until every script has had its call, the time is over or ctx ends,
// and reports. Who has not placed enough calls gets skips that say so.
func (l *Listener) Run(ctx context.Context) (*Report, error) {
	timer := time.NewTimer(l.opt.Time)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	if l.firstSeen("tg").IsZero() {
		return nil, fmt.Errorf("%w: no client has found the TG at %s", ErrUnreachable, l.base)
	}
	return l.report(), nil
}

// Close ends the server.
func (l *Listener) Close() {
	l.state.mu.Lock()
	calls := append([]*played(nil), l.state.order...)
	l.state.mu.Unlock()
	for _, c := range calls {
		c.over("end", nil)
	}
	_ = l.h2.Close()
	_ = l.wt.Close()
	for _, c := range calls {
		c.wg.Wait()
	}
	_ = l.tr.Close()
	_ = l.udp.Close()
	_ = l.tcp.Close()
	l.wg.Wait()
}

func (l *Listener) say(format string, args ...any) {
	if l.opt.Progress != nil {
		l.opt.Progress(fmt.Sprintf(format, args...))
	}
}

// note adds what was found about some requirements.
func (l *Listener) note(ids []string, did string, err error) {
	for _, id := range ids {
		if wanted(l.opt.Only, id) {
			l.found.note(id, did, err, 0)
		}
	}
}

// saw remembers when something happened first.
func (l *Listener) saw(what string) {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if l.state.seen[what].IsZero() {
		l.state.seen[what] = time.Now()
	}
	l.state.asked[what]++
}

func (l *Listener) firstSeen(what string) time.Time {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	return l.state.seen[what]
}

// anybody is what the listener's TG takes.
var anybody = policy.NumberSet{Allow: []policy.Pattern{"*"}}
