package h3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
	"golang.org/x/time/rate"

	"riptide/h3/media"
)

// Server takes RIPT calls: one handler tree on HTTP/3 and, on the same port
// number of TCP, on HTTP/2 and HTTP/1.1.
//
// TLS 1.3 only. Early data is not accepted for anything: a replayed POST would
// be a call that nobody made.
type Server struct {
	cfg       ServerConfig
	log       *slog.Logger
	base      string // "https://" and the authority
	tgs       map[string]*terminalGroup
	tokens    *tokenChecker
	issuer    *tokenIssuer
	handlers  *handlerTable
	calls     *callTable
	replays   *idempotency
	customers *customers
	grants    *grants
	claims    claims
	published Published
	paces     map[string]pace // by client
	media     *media.Server
	stats     serverStats
	strangers *strangers
	tokenLog  rate.Sometimes
	handler   http.Handler

	h3  *webtransport.Server
	h2  *http.Server // and HTTP/1.1
	udp *quic.Transport
	ln  *quic.EarlyListener
	tcp net.Listener

	conns    sync.WaitGroup // QUIC connections and listeners
	accepted chan error     // why no more QUIC connections are
	serving  chan struct{}  // closed: requests are read
	drained  chan struct{}  // closed: no new calls
	draining atomic.Bool    // balancers are told
	once     sync.Once

	starting sync.Mutex // Shutdown may come before Serve has begun
}

// Timeouts of connections (30-second defaults would hide a dead peer longer
// than a call tolerates).
const (
	idleTimeout = 10 * time.Second
	keepAlive   = 3 * time.Second
)

// NewServer checks the configuration and makes a server that does not listen
// yet.
func NewServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("RIPT server: %w", err)
	}
	s := &Server{
		cfg:       cfg,
		log:       cfg.Log,
		base:      "https://" + cfg.Authority,
		tgs:       map[string]*terminalGroup{},
		calls:     newCallTable(cfg.Limits),
		replays:   newIdempotency(cfg.Store),
		published: NewPublished(cfg.Authority, cfg.Store),
		tokenLog:  rate.Sometimes{Interval: time.Second},
		paces:     pacesOf(cfg.TGs, cfg.Limits),
		accepted:  make(chan error, 1),
		serving:   make(chan struct{}),
		drained:   make(chan struct{}),
	}
	s.strangers = &strangers{limit: cfg.Limits.Strangers, cut: func() {
		s.stats.count(func(st *ServerState) { st.CutStrangers++ })
	}}
	key, err := derive(cfg.Certificate.PrivateKey, "riptide tokens of customer TGs", 32)
	if err != nil {
		return nil, fmt.Errorf("RIPT server: customer TGs: %w", err)
	}
	seal, err := newSealer(key)
	if err != nil {
		return nil, fmt.Errorf("RIPT server: customer TGs: %w", err)
	}
	s.customers = &customers{store: cfg.Store, seal: seal}
	s.grants = newGrants(cfg.Store, cfg.Now)
	s.tokens = newTokenChecker(s.base, &cfg.TokenKey.PublicKey, cfg.Now)
	s.tokens.granted = s.granted
	s.handlers = newHandlerTable(cfg.Store, cfg.Limits.Handlers)
	resources := map[string][]string{}
	for _, tg := range cfg.TGs {
		group, err := s.newTG(tg)
		if err != nil {
			return nil, fmt.Errorf("RIPT server: %w", err)
		}
		s.tgs[tg.Name] = group
		resources[tg.ClientID] = append(resources[tg.ClientID], group.uri)
	}
	for client := range resources {
		resources[client] = append(resources[client], s.rootURIs()...)
	}
	if s.issuer, err = newTokenIssuer(s.base, cfg.TokenKey, cfg.Clients, resources, cfg.Store); err != nil {
		return nil, fmt.Errorf("RIPT server: %w", err)
	}
	s.h3 = media.NewWebTransportServer(&http3.Server{
		TLSConfig:      s.tlsConfig(http3.NextProtoH3),
		MaxHeaderBytes: maxHeader,
		IdleTimeout:    connIdle,
		ConnContext:    s.meetQUIC,
		Logger:         slog.New(slog.DiscardHandler),
	})
	s.media = media.NewServer(s.h3)
	s.handler = overHTTP1(s.tree())
	s.h3.H3.Handler = s.handler
	s.h2 = s.newTLS()
	return s, nil
}

// maxHeader bounds the header fields of a request.
const maxHeader = 32 << 10

func (s *Server) tlsConfig(alpn ...string) *tls.Config {
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{s.cfg.Certificate},
		NextProtos:   alpn,
	}
	if renewed := s.cfg.Renewed; renewed != nil {
		cfg.Certificates = nil // GetCertificate comes second to them
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return renewed() }
	}
	return cfg
}

// Limit changes how many calls may be placed here at once.
func (s *Server) Limit(calls int) { s.calls.limit(calls) }

// Listen takes the UDP and the TCP port and loads the registered handlers. With
// port 0 it chooses one that is free on both. From then on peers connect, and
// those of a process before us learn that it is gone; their requests are read
// when Serve is called. Shutdown ends that, too.
func (s *Server) Listen(ctx context.Context) error {
	if err := s.handlers.load(ctx); err != nil {
		return fmt.Errorf("RIPT server: %w", err)
	}
	const attempts = 20 // a port that is free on UDP may be taken on TCP
	var err error
	for range attempts {
		if err = s.listen(ctx); err == nil {
			return nil
		}
		if _, port, _ := net.SplitHostPort(s.cfg.Listen); port != "0" {
			break
		}
	}
	return fmt.Errorf("RIPT server: listen on %s: %w", s.cfg.Listen, err)
}

// SocketOpener opens listeners; a *net.ListenConfig is one.
type SocketOpener interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

func (s *Server) listen(ctx context.Context) error {
	open := s.cfg.Sockets
	if open == nil {
		open = &net.ListenConfig{}
	}
	udp, err := open.ListenPacket(ctx, "udp", s.cfg.Listen)
	if err != nil {
		return err
	}
	tcp, err := open.Listen(ctx, "tcp", net.JoinHostPort(hostOf(s.cfg.Listen), strconv.Itoa(udp.LocalAddr().(*net.UDPAddr).Port)))
	if err != nil {
		return errors.Join(err, udp.Close())
	}
	s.udp = &quic.Transport{Conn: udp, StatelessResetKey: s.cfg.StatelessReset}
	s.ln, err = s.udp.ListenEarly(s.h3.H3.TLSConfig, media.QUICConfig(quic.Config{
		MaxIdleTimeout:  idleTimeout,
		KeepAlivePeriod: keepAlive,
		// A balancer puts all its clients on one connection.
		MaxIncomingStreams:    10_000,
		MaxIncomingUniStreams: 100,
		Allow0RTT:             false,
	}))
	if err != nil {
		return errors.Join(err, udp.Close(), tcp.Close())
	}
	s.tcp = tcp
	s.conns.Go(func() { s.accepted <- s.acceptQUIC() })
	return nil
}

func hostOf(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return host
}

// Addr is the address it listens on, the same for UDP and TCP.
func (s *Server) Addr() net.Addr { return s.tcp.Addr() }

// Handler is the tree, for servers of our own making in tests and behind
// socket activation.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve serves until Shutdown is called, a listener fails, or ctx ends, which
// only stops it from taking connections: call Shutdown in any case. It returns
// nil after Shutdown.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 2)
	if !s.start(ctx, failed) {
		return nil
	}
	err := <-failed
	select {
	case <-s.drained:
		return nil
	default:
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("RIPT server on %s: %w", s.Addr(), err)
}

// start begins to serve, unless Shutdown was called before.
func (s *Server) start(ctx context.Context, failed chan<- error) bool {
	s.starting.Lock()
	defer s.starting.Unlock()
	select {
	case <-s.drained:
		return false
	default:
	}
	close(s.serving)
	s.conns.Go(func() { failed <- s.serveQUIC(ctx) })
	s.conns.Go(func() { s.strangers.watch(s.drained) })
	s.conns.Go(func() {
		err := s.h2.ServeTLS(guests{s.tcp, s.strangers}, "", "")
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		failed <- err
	})
	return true
}

func (s *Server) newTLS() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           s.handler,
		TLSConfig:         s.tlsConfig("h2", "http/1.1"),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       connIdle,
		ConnContext:       meetTCP,
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 10_000,
			SendPingTimeout:      keepAlive,
			PingTimeout:          idleTimeout - keepAlive,
			WriteByteTimeout:     idleTimeout,
		},
		ErrorLog: log.New(quiet{}, "", 0),
	}
}

// quiet drops what net/http says about broken handshakes: anybody can cause
// them, at any rate.
type quiet struct{}

func (quiet) Write(p []byte) (int, error) { return len(p), nil }

// acceptQUIC takes the connections that come. Those that come before Serve
// wait: the listener itself would refuse more than thirty-two, and after a restart
// all come at once.
func (s *Server) acceptQUIC() error {
	for {
		conn, err := s.ln.Accept(context.Background())
		if err != nil {
			select {
			case <-s.drained:
				return nil
			default:
			}
			return fmt.Errorf("accept QUIC: %w", err)
		}
		s.conns.Go(func() {
			select {
			case <-s.serving:
			case <-conn.Context().Done():
				return
			case <-s.drained:
				_ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
				return
			}
			// What ends a connection is the peer's business; calls notice by their byways.
			_ = s.h3.ServeQUICConn(conn)
		})
	}
}

func (s *Server) serveQUIC(ctx context.Context) error {
	select {
	case err := <-s.accepted:
		return err
	case <-ctx.Done():
		return fmt.Errorf("accept QUIC: %w", context.Cause(ctx))
	}
}

// closeSockets ends every connection that is left.
func (s *Server) closeSockets() {
	_ = s.tcp.Close()
	_ = s.ln.Close()
	_ = s.h3.Close()
	_ = s.udp.Close()
	_ = s.udp.Conn.Close()
}
