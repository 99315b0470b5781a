package h3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"riptide/h3/media"
)

// conn is one QUIC connection with its own UDP socket: a balancer that spreads
// flows by address and port then spreads our connections too. The counters are
// guarded by pool.mu.
type conn struct {
	a    *authority
	quic *quic.Conn
	rt   *webtransport.ClientConn

	limit     int // of streams; falls when the peer turns out to allow fewer
	streams   int
	sessions  int
	draining  bool // takes no new requests
	idleSince time.Time

	born        time.Time
	pulse       pulse
	wasDraining bool // before it fell silent
}

// dial connects over QUIC, or over TCP where QUIC does not answer. A peer whose
// certificate is not trusted is not asked a second time. eager is for a peer that
// may be back any moment.
func (a *authority) dial(ctx context.Context, eager bool) (*conn, *http.Transport, error) {
	c, quicErr := a.dialQUIC(ctx, eager)
	if quicErr == nil {
		return c, nil, nil
	}
	if ctx.Err() != nil || untrusted(quicErr) {
		return nil, nil, fmt.Errorf("%w to %s: %w", errConnect, a.addr, quicErr)
	}
	tcp, tcpErr := a.dialTCP(ctx)
	if tcpErr != nil {
		return nil, nil, fmt.Errorf("%w to %s: over QUIC: %w; over TCP: %w", errConnect, a.addr, quicErr, tcpErr)
	}
	return nil, tcp, nil
}

func (a *authority) dialQUIC(ctx context.Context, eager bool) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, quicConnect)
	defer cancel()
	addrs, err := a.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if eager {
		return a.dialAny(ctx, addrs)
	}
	return a.dialEach(ctx, addrs)
}

// dialEach tries one address after the other.
func (a *authority) dialEach(ctx context.Context, addrs []netip.AddrPort) (*conn, error) {
	var errs []error
	for _, addr := range addrs {
		c, err := a.dialAddr(ctx, addr)
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		if ctx.Err() != nil || untrusted(err) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// maxAddrs bounds how many addresses of a name are tried.
const maxAddrs = 4

func (a *authority) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(a.addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", portText, err)
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = a.pool.cfg.Resolve(ctx, host); err != nil {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	var out []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxAddrs)] {
		out = append(out, a.pool.cfg.Route(netip.AddrPortFrom(ip.Unmap(), uint16(port))))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("look up %s: no address", host)
	}
	return out, nil
}

func (a *authority) dialAddr(ctx context.Context, addr netip.AddrPort) (*conn, error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	socket, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: socket}
	closeAll := func() {
		_ = tr.Close()
		_ = socket.Close()
	}
	qc, err := tr.Dial(ctx, net.UDPAddrFromAddrPort(addr), a.tlsConfig(http3.NextProtoH3), media.QUICConfig(quic.Config{
		HandshakeIdleTimeout: quicConnect,
		MaxIdleTimeout:       10 * time.Second,
		KeepAlivePeriod:      3 * time.Second,
	}))
	if err != nil {
		closeAll()
		return nil, err
	}
	wt := media.NewWebTransportClient()
	rt, err := wt.NewClientConn(qc)
	if err != nil {
		_ = qc.CloseWithError(0, "")
		closeAll()
		return nil, fmt.Errorf("set up HTTP/3: %w", err)
	}
	c := &conn{a: a, quic: qc, rt: rt, limit: maxStreams, idleSince: a.pool.cfg.Now(), born: a.pool.cfg.Now()}
	a.pool.wg.Go(func() {
		<-qc.Context().Done()
		a.remove(c)
		a.lost(c, context.Cause(qc.Context()))
		_ = wt.Close()
		closeAll()
	})
	return c, nil
}

func (a *authority) tlsConfig(alpn ...string) *tls.Config {
	cfg := a.pool.cfg.TLS.Clone()
	host, _, _ := net.SplitHostPort(a.addr)
	cfg.ServerName = host
	cfg.NextProtos = alpn
	return cfg
}

// dialTCP proves that the peer can be reached over TCP, and returns a transport
// that reaches it.
func (a *authority) dialTCP(ctx context.Context) (*http.Transport, error) {
	ctx, cancel := context.WithTimeout(ctx, tcpConnect)
	defer cancel()
	first, err := a.dialTLS(ctx)
	if err != nil {
		return nil, err
	}
	// The connection just made is the transport's first.
	spare := make(chan net.Conn, 1)
	spare <- first
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case c := <-spare:
				return c, nil
			default:
			}
			ctx, cancel := context.WithTimeout(ctx, tcpConnect)
			defer cancel()
			return a.dialTLS(ctx)
		},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		IdleConnTimeout:        idleLast,
		MaxIdleConnsPerHost:    maxStreams, // over HTTP/1.1 each request has one
		MaxResponseHeaderBytes: maxBody,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 3 * time.Second, PingTimeout: 7 * time.Second},
	}, nil
}

func (a *authority) dialTLS(ctx context.Context) (net.Conn, error) {
	addrs, err := a.resolve(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, addr := range addrs {
		d := tls.Dialer{Config: a.tlsConfig("h2", "http/1.1")}
		c, err := d.DialContext(ctx, "tcp", addr.String())
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || untrusted(err) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// doTCP sends a request over HTTP/2 or 1.1. Where the peer no longer takes TCP
// connections either, QUIC is first again.
func (a *authority) doTCP(tr *http.Transport, req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		// Over HTTP/1.1 net/http does not give up before the body has: it may be
		// waiting for something to send.
		stop := context.AfterFunc(req.Context(), func() { _ = req.Body.Close() })
		defer stop()
	}
	resp, err := tr.RoundTrip(req)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		a.pool.mu.Lock()
		if a.tcp == tr {
			a.dropTCP()
		}
		a.pool.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	resp.Body = &responseBody{ReadCloser: resp.Body, request: req.Body}
	return resp, nil
}

// do sends a request on a slot that was taken. unsent means that the peer
// cannot have seen the request: it may be sent again on another connection.
func (c *conn) do(req *http.Request) (resp *http.Response, unsent bool, err error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	// A peer that allows fewer streams than we think leaves the request waiting
	// for one, with no error, for ever.
	watch := time.AfterFunc(streamStart, func() {
		if !sent.Load() {
			cancel(errStreamStart)
		}
	})
	resp, err = c.rt.RoundTrip(req.WithContext(ctx))
	watch.Stop()
	if err != nil {
		if errors.Is(context.Cause(ctx), errStreamStart) {
			err = errStreamStart
		}
		cancel(nil)
		c.failed(err, sent.Load())
		return nil, !sent.Load(), err
	}
	resp.Body = &responseBody{ReadCloser: resp.Body, request: req.Body, done: func() {
		cancel(nil)
		c.release(false)
	}}
	return resp, false, nil
}

// failed gives the slot back and takes a connection out of use that does not
// accept requests any more (GOAWAY), or is dying.
func (c *conn) failed(err error, sent bool) {
	p := c.a.pool
	p.mu.Lock()
	switch {
	case errors.Is(err, errStreamStart):
		c.limit = max(1, c.streams-1)
	case !sent && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded), c.quic.Context().Err() != nil:
		c.draining = true
	}
	p.mu.Unlock()
	c.release(false)
}

func (c *conn) release(session bool) {
	p := c.a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	c.streams--
	if session {
		c.sessions--
	}
	if c.streams == 0 {
		c.idleSince = p.cfg.Now()
	}
	if c.a.waiting > 0 {
		c.a.wake()
	}
}

func (c *conn) close() {
	_ = c.quic.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

func (c *conn) session(ctx context.Context, rawURL string, hdr http.Header) (*webtransport.Session, http.Header, error) {
	resp, sess, err := c.rt.Dial(ctx, rawURL, hdr) //nolint:bodyclose // of a session it is the session
	if err != nil {
		c.release(true)
		if resp != nil {
			if resp.Body != nil {
				_ = resp.Body.Close()
			}
			return nil, nil, fmt.Errorf("WebTransport CONNECT %s: %s: %w", rawURL, resp.Status, err)
		}
		return nil, nil, fmt.Errorf("WebTransport CONNECT %s: %w", rawURL, err)
	}
	context.AfterFunc(sess.Context(), func() { c.release(true) })
	return sess, resp.Header, nil
}

// responseBody ends the whole exchange when it is closed.
type responseBody struct {
	io.ReadCloser
	request io.Closer
	done    func()
	once    sync.Once
}

func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() {
		if b.request != nil {
			_ = b.request.Close()
		}
		if b.done != nil {
			b.done()
		}
	})
	return err
}
