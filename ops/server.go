package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what a Server is made of.
type Config struct {
	Listen  netip.AddrPort // a loopback address; port 0 = any free one
	Logger  *slog.Logger
	Version string // of this release, for build_info
	Sources Sources
	Tracer  *Tracer // nil: nothing is traced
	State   string  // directory whose disk is watched; "" = none is
}

// Sources are the parts to look at. Each is called while somebody waits for
// /metrics or /readyz, from any goroutine, and returns at once. One that is nil
// has no metrics.
type Sources struct {
	ActiveCalls func() int
	SIP         func() SIPCounts
	SIPTrunks   func() []TrunkState
	RIPT        func() RIPTCounts

	// Ready tells why new calls are not taken just now; nil = they are.
	Ready func() error
}

// Server is the admin server. It has no login, so it is reached from the box
// itself only, and it shows no secret and changes nothing.
type Server struct {
	cfg      Config
	registry *prometheus.Registry
	calls    *callMetrics
	store    *storeMetrics
	http     http.Server
	addr     atomic.Pointer[netip.AddrPort] // once the port is open
	serving  sync.WaitGroup
	room     *room           // nil: none is watched
	watching context.Context // ends with Close
	close    context.CancelFunc
	starting atomic.Pointer[func() error] // why the parts are not there yet; nil = they are
}

// New makes the server and its metrics. Start opens its port.
func New(cfg Config) (*Server, error) {
	if !cfg.Listen.Addr().IsLoopback() {
		return nil, fmt.Errorf("admin server: %v is not a loopback address (key admin)", cfg.Listen)
	}
	s := &Server{cfg: cfg, registry: prometheus.NewRegistry(), calls: newCallMetrics(), store: newStoreMetrics()}
	s.watching, s.close = context.WithCancel(context.Background())
	if cfg.State != "" {
		s.room = &room{dir: cfg.State, left: roomLeft}
	}
	if err := s.register(); err != nil {
		return nil, fmt.Errorf("admin server: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.Handle("GET /readyz", s.onceStarted(http.HandlerFunc(s.readyz)))
	mux.Handle("GET /metrics", s.onceStarted(promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
	})))
	s.http = http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Await opens the port before there is anything to look at: until Start, why says
// what is waited for.
func (s *Server) Await(ctx context.Context, why func() error) error {
	s.starting.Store(&why)
	return s.listen(ctx)
}

// Start opens the port, if it is not open yet, and serves until Close. What the
// sources need is there from now on.
func (s *Server) Start(ctx context.Context) error {
	s.starting.Store(nil)
	if s.Addr().IsValid() {
		return nil
	}
	return s.listen(ctx)
}

func (s *Server) listen(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("admin server: %w (another address: key admin)", err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	s.addr.Store(&addr)
	s.serving.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Logger.Error("admin server stopped", "error", err)
		}
	})
	if s.room != nil {
		s.serving.Go(func() { s.watchRoom(s.watching) })
	}
	return nil
}

// Addr is where the server listens, once it does.
func (s *Server) Addr() netip.AddrPort {
	if addr := s.addr.Load(); addr != nil {
		return *addr
	}
	return netip.AddrPort{}
}

// Close lets requests end while ctx lasts, then cuts them off. It waits for
// what the server started.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.close()
	s.serving.Wait()
	return err
}

// healthz says that the process lives. It asks nobody, so that a slow disk or
// a lost peer never has a box restarted that still carries calls.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, "ok\n")
}

// notReady says that no calls are taken, and why.
func notReady(w http.ResponseWriter, why error) {
	answer(w, http.StatusServiceUnavailable, "not ready: "+why.Error()+"\n")
}

// onceStarted is next as soon as there is something to look at.
func (s *Server) onceStarted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if why := s.starting.Load(); why != nil {
			notReady(w, (*why)())
			return
		}
		next.ServeHTTP(w, r)
	})
}

// readyz says whether new calls are taken.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.cfg.Sources.Ready != nil {
		if err := s.cfg.Sources.Ready(); err != nil {
			notReady(w, err)
			return
		}
	}
	text := "ready\n"
	if s.room != nil {
		text += s.room.complaint()
	}
	answer(w, http.StatusOK, text)
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}
