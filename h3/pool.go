package h3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/webtransport-go"

	"riptide/h3/media"
)

// Limits of a pool. Balancers allow 100 concurrent request streams per client
// connection and block the next one without an error, so a client counts its
// streams and opens more connections well before that.
const (
	maxStreams  = 80  // requests in flight on one connection
	maxSessions = 10  // WebTransport sessions on one connection
	headroom    = 20  // with fewer free slots than this the next connection is dialled
	spare       = 4   // the same for sessions, once there are any
	maxConns    = 256 // connections per authority
	maxAttempts = 4   // connections tried for a request that was never sent
)

// Timers of a pool.
const (
	quicConnect = 2 * time.Second        // then TCP is tried
	tcpConnect  = 3 * time.Second        // with TLS
	tcpTerm     = time.Minute            // how long TCP is used before QUIC is tried again
	streamStart = 500 * time.Millisecond // to open a stream on a live connection; longer means its limit is reached
	reapPeriod  = 2 * time.Second
	idleExtra   = 10 * time.Second // a connection beyond the first without requests
	idleLast    = 2 * time.Minute  // the last one: kept warm for the next call
)

// Errors of a pool.
var (
	errPoolClosed     = errors.New("the client is shut down")
	errNoWebTransport = errors.New("the peer is reached over TCP, which carries no WebTransport")
	errStreamStart    = errors.New("the connection takes no more streams")
)

// pool keeps the connections of one trunk, by authority. Connections are
// HTTP/3; where QUIC cannot connect at all, HTTP/2 over TCP takes its place.
type pool struct {
	cfg    poolConfig
	ctx    context.Context // of its goroutines; ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu          sync.Mutex
	authorities map[string]*authority
	closed      bool
}

type poolConfig struct {
	Trunk   string
	TLS     *tls.Config // roots and minimum version; ALPN and server name are set here
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Route says where to send what is meant for an address: tests have no
	// port 443. Nil: there.
	Route func(netip.AddrPort) netip.AddrPort
	Now   func() time.Time
	// Connected hears of every new QUIC connection. Nil: nobody does.
	Connected func(authority string)
}

// authority is one host:port. All fields are guarded by pool.mu.
type authority struct {
	pool    *pool
	addr    string
	conns   []*conn
	dialing int
	waiting int    // requests without a slot
	queued  int    // sessions among them
	failed  uint64 // dials that failed, ever
	inVain  int    // of them, how many in a row, up to now

	connected bool // over QUIC, once

	dialErr error         // of the last one
	changed chan struct{} // closed and replaced when a slot or a connection may be had

	tcp      *http.Transport // not nil: use it
	tcpUntil time.Time       // when QUIC is worth another try
}

func newPool(cfg poolConfig) *pool {
	if cfg.Resolve == nil {
		cfg.Resolve = resolveHost
	}
	if cfg.Route == nil {
		cfg.Route = func(a netip.AddrPort) netip.AddrPort { return a }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Connected == nil {
		cfg.Connected = func(string) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &pool{cfg: cfg, ctx: ctx, cancel: cancel, authorities: map[string]*authority{}}
	p.wg.Go(p.reap)
	p.wg.Go(p.watch)
	return p
}

func resolveHost(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// Close closes every connection and waits for the pool's goroutines.
func (p *pool) Close() {
	p.mu.Lock()
	p.closed = true
	var conns []*conn
	for _, a := range p.authorities {
		conns = append(conns, a.conns...)
		if a.tcp != nil {
			a.tcp.CloseIdleConnections()
		}
		a.wake()
	}
	p.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
	p.cancel()
	p.wg.Wait()
}

// Do sends a request and returns the response when its headers are here. It
// waits for a connection or a free stream no longer than the request's context
// lives, which also bounds both bodies. The caller closes the response's body;
// that ends the request's body too.
func (p *pool) Do(req *http.Request) (*http.Response, error) {
	resp, err := p.do(req)
	if err != nil && req.Body != nil {
		_ = req.Body.Close() // an error leaves the caller nothing to close
	}
	return resp, err
}

func (p *pool) do(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s %s: not an https URL", req.Method, req.URL)
	}
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity") // a compressor in between would hold events back
	}
	a := p.authority(addrOf(req.URL.Host))
	var last error
	for range maxAttempts {
		slot, err := a.acquire(req.Context(), false)
		if err != nil {
			return nil, errors.Join(err, last)
		}
		if slot.tcp != nil {
			return a.doTCP(slot.tcp, req)
		}
		resp, unsent, err := slot.conn.do(req)
		if err == nil || !unsent || req.Context().Err() != nil {
			return resp, err
		}
		last = err
	}
	return nil, last
}

// Session opens a WebTransport session. Its error is or wraps
// errNoWebTransport or *webtransport.RequirementsNotMetError where the peer,
// or a balancer before it, has none.
func (p *pool) Session(ctx context.Context, rawURL, host string, hdr http.Header) (*webtransport.Session, error) {
	a := p.authority(addrOf(host))
	slot, err := a.acquire(ctx, true)
	if err != nil {
		return nil, err
	}
	if slot.tcp != nil {
		return nil, errNoWebTransport
	}
	sess, _, err := slot.conn.session(ctx, rawURL, hdr)
	return sess, err
}

// OwnSession opens a WebTransport session on a connection that is used for
// nothing else and ends with it: its congestion window, and the queues of the
// library, are the session's own.
func (p *pool) OwnSession(ctx context.Context, rawURL, host string, hdr http.Header) (media.OwnSession, error) {
	a := p.authority(addrOf(host))
	p.mu.Lock()
	closed, tcp := p.closed, a.tcp != nil && !p.cfg.Now().After(a.tcpUntil)
	p.mu.Unlock()
	switch {
	case closed:
		return media.OwnSession{}, errPoolClosed
	case tcp:
		return media.OwnSession{}, errNoWebTransport
	}
	// Whether the peer can be reached is found out once for all.
	at, err := a.acquire(ctx, false)
	if err != nil {
		return media.OwnSession{}, err
	}
	if at.tcp != nil {
		return media.OwnSession{}, errNoWebTransport
	}
	at.conn.release(false)
	c, err := a.dialQUIC(ctx, false)
	if err != nil {
		return media.OwnSession{}, fmt.Errorf("%w to %s: %w", errConnect, a.addr, err)
	}
	p.mu.Lock()
	c.streams, c.sessions, c.draining = 1, 1, true
	if closed = p.closed; !closed {
		a.conns = append(a.conns, c)
	}
	p.mu.Unlock()
	if closed {
		c.close()
		return media.OwnSession{}, errPoolClosed
	}
	sess, answer, err := c.session(ctx, rawURL, hdr)
	if err != nil {
		c.close()
		return media.OwnSession{}, err
	}
	context.AfterFunc(sess.Context(), c.close)
	return media.OwnSession{Session: sess, Conn: c.quic, Name: answer.Get(media.SessionHeader)}, nil
}

// Counts is for metrics.
func (p *pool) Counts() (connections, streams int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.authorities {
		connections += len(a.conns)
		for _, c := range a.conns {
			streams += c.streams
		}
		if a.tcp != nil {
			connections++
		}
	}
	return connections, streams
}

// addrOf adds the default port.
func addrOf(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	h := host
	if len(h) > 1 && h[0] == '[' && h[len(h)-1] == ']' {
		h = h[1 : len(h)-1]
	}
	return net.JoinHostPort(h, "443")
}

func (p *pool) authority(addr string) *authority {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.authorities[addr]
	if a == nil {
		a = &authority{pool: p, addr: addr, changed: make(chan struct{})}
		p.authorities[addr] = a
	}
	return a
}

// slot is the right to send one request, on a connection or over TCP.
type slot struct {
	conn *conn
	tcp  *http.Transport
}

// acquire takes a slot, dialling if there is none. It waits for the dial that
// was under way or began with it; if that fails, its error is returned.
func (a *authority) acquire(ctx context.Context, session bool) (slot, error) {
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	failed := a.failed
	for {
		if p.closed {
			return slot{}, errPoolClosed
		}
		if s, ok := a.take(session); ok {
			return s, nil
		}
		if a.failed != failed {
			return slot{}, a.dialErr
		}
		changed := a.changed
		a.waiting++
		if session {
			a.queued++
		}
		a.dialAhead()
		p.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = fmt.Errorf("wait for a connection to %s: %w", a.addr, context.Cause(ctx))
		}
		p.mu.Lock()
		a.waiting--
		if session {
			a.queued--
		}
		if err != nil {
			return slot{}, err
		}
	}
}

// take finds a slot. The fullest connection comes first, so that those no
// longer needed fall idle.
func (a *authority) take(session bool) (slot, bool) {
	if a.tcp != nil {
		if a.pool.cfg.Now().After(a.tcpUntil) && a.dialing == 0 {
			a.startDial() // try QUIC again, on the side
		}
		return slot{tcp: a.tcp}, true
	}
	var best *conn
	for _, c := range a.conns {
		full := c.draining || c.streams >= c.limit || (session && c.sessions >= maxSessions)
		if !full && (best == nil || c.streams > best.streams) {
			best = c
		}
	}
	if best == nil {
		return slot{}, false
	}
	best.streams++
	if session {
		best.sessions++
	}
	a.dialAhead()
	return slot{conn: best}, true
}

// dialAhead starts as many dials as the requests that wait will need, and one
// when free slots, or free places for sessions, run low: a call that has to
// wait for a handshake is one whose media begins late.
func (a *authority) dialAhead() {
	if a.tcp != nil {
		return
	}
	free, places, sessions := 0, 0, 0
	for _, c := range a.conns {
		sessions += c.sessions
		if !c.draining {
			free += max(0, c.limit-c.streams)
			places += max(0, min(maxSessions-c.sessions, c.limit-c.streams))
		}
	}
	want := 0
	if free < headroom+a.waiting {
		want = 1 + a.waiting/maxStreams
	}
	if sessions+a.queued > 0 && places < spare+a.queued {
		want = max(want, 1+a.queued/maxSessions)
	}
	for a.dialing < want && len(a.conns)+a.dialing < maxConns {
		a.startDial()
	}
}

// startDial is called with pool.mu held.
func (a *authority) startDial() {
	if a.pool.closed {
		return
	}
	a.dialing++
	eager := a.inVain == 0 && a.connected && !slices.ContainsFunc(a.conns, func(c *conn) bool { return !c.draining })
	a.pool.wg.Go(func() {
		began := a.pool.cfg.Now()
		c, tcp, err := a.dial(a.pool.ctx, eager)
		for _, d := range a.dialed(c, tcp, err, a.pool.cfg.Now().Sub(began)) {
			d.poke()
		}
	})
}

// dialed enters the outcome of a dial, and returns the connections to poke.
func (a *authority) dialed(c *conn, tcp *http.Transport, err error, took time.Duration) (poke []*conn) {
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	defer a.wake()
	a.dialing--
	switch {
	case p.closed:
		if c != nil {
			c.close()
		}
		if tcp != nil {
			tcp.CloseIdleConnections()
		}
	case c != nil:
		a.inVain, a.connected = 0, true
		poke = a.doubted(took)
		a.conns = append(a.conns, c)
		a.dropTCP()
		p.cfg.Connected(a.addr)
	case tcp != nil:
		if a.tcp == nil {
			a.tcp = tcp
		} else {
			tcp.CloseIdleConnections()
		}
		a.tcpUntil = p.cfg.Now().Add(tcpTerm)
	default:
		a.failed++
		a.inVain++
		a.dialErr = err
		a.dropTCP()
	}
	return poke
}

// dropTCP lets requests under way over TCP finish and sends the next over QUIC.
func (a *authority) dropTCP() {
	if a.tcp != nil {
		a.tcp.CloseIdleConnections()
		a.tcp = nil
	}
}

func (a *authority) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// remove forgets a connection that is gone.
func (a *authority) remove(c *conn) {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	a.conns = slices.DeleteFunc(a.conns, func(x *conn) bool { return x == c })
	a.wake()
}
