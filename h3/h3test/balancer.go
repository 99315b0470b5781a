package h3test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Manners are what HTTP balancers were seen to do, each of which hurts somebody
// who did not expect it. The zero value is the kindest of them: bodies pass as
// they come, in both directions, and 100 requests run on a connection.
type Manners struct {
	// BufferRequests hands a request on when its body has ended (nginx's
	// proxy_request_buffering, Caddy before 2.11 over HTTP/3). A body that never
	// ends never arrives.
	BufferRequests bool
	// BufferResponses hands a response on when its body has ended (nginx's
	// proxy_buffering, as far as its buffers reach).
	BufferResponses bool
	// Streams is how many requests a client may have on one connection; the next
	// one waits for ever, without an error. 0 is 100, as of Caddy and Traefik.
	Streams int
	// CleanEnds ends a response in order whose server died in its middle
	// (Traefik). Others reset the stream.
	CleanEnds bool
	// SilentBody ends a request whose body says nothing for so long, with 504
	// (Caddy's read_body_idle, 60 s). 0 is never.
	SilentBody time.Duration
}

// stickyCookie names the node that has taken the client's requests so far.
const stickyCookie = "node"

const (
	maxBuffered   = 1 << 20
	defaultStream = 100
)

// Balancer is an HTTP/3 balancer before servers that it reaches by HTTP/3. A
// client that shows its cookie stays at a node. It passes no datagrams and no
// WebTransport, as no balancer for HTTP does. It ends with its test.
type Balancer struct {
	manners Manners
	nodes   []*balancedNode
	server  *http3.Server
	socket  *net.UDPConn
	served  sync.WaitGroup
	next    atomic.Uint64
}

type balancedNode struct {
	addr      string
	transport *http3.Transport
	lost      atomic.Bool
	taken     atomic.Uint64
}

// NewBalancer starts a balancer with a certificate for its authority, before
// servers with certificates below roots.
func NewBalancer(t testing.TB, m Manners, cert tls.Certificate, roots *x509.CertPool, servers ...string) *Balancer {
	t.Helper()
	socket, err := listen()
	if err != nil {
		t.Fatalf("balancer: %v", err)
	}
	if m.Streams == 0 {
		m.Streams = defaultStream
	}
	b := &Balancer{manners: m, socket: socket}
	for _, addr := range servers {
		b.nodes = append(b.nodes, &balancedNode{addr: addr, transport: &http3.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
			QUICConfig:      &quic.Config{KeepAlivePeriod: 3 * time.Second, MaxIdleTimeout: 10 * time.Second},
			Logger:          slog.New(slog.DiscardHandler),
		}})
	}
	b.server = &http3.Server{
		Handler:    http.HandlerFunc(b.serve),
		TLSConfig:  http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}),
		QUICConfig: &quic.Config{MaxIncomingStreams: int64(m.Streams), KeepAlivePeriod: 3 * time.Second, MaxIdleTimeout: 10 * time.Second},
		Logger:     slog.New(slog.DiscardHandler),
	}
	b.served.Go(func() { _ = b.server.Serve(socket) }) // ends with close
	t.Cleanup(b.close)
	return b
}

func (b *Balancer) close() {
	for i := range b.nodes {
		b.Lose(i)
	}
	_ = b.server.Close()
	_ = b.socket.Close()
	b.served.Wait()
}

// Addr is where clients connect to.
func (b *Balancer) Addr() netip.AddrPort { return b.socket.LocalAddr().(*net.UDPAddr).AddrPort() }

// Taken is how many requests each node was given.
func (b *Balancer) Taken() []uint64 {
	var out []uint64
	for _, n := range b.nodes {
		out = append(out, n.taken.Load())
	}
	return out
}

// Lose makes a node one that has died: what is under way there ends, and it gets
// nothing any more.
func (b *Balancer) Lose(i int) {
	b.nodes[i].lost.Store(true)
	_ = b.nodes[i].transport.Close()
}

// choose finds the node of a request, and whether the client has to be told.
func (b *Balancer) choose(r *http.Request) (n *balancedNode, name string, fresh bool) {
	if c, err := r.Cookie(stickyCookie); err == nil {
		if i, err := strconv.Atoi(c.Value); err == nil && i >= 0 && i < len(b.nodes) && !b.nodes[i].lost.Load() {
			return b.nodes[i], c.Value, false
		}
	}
	for range b.nodes {
		i := int(b.next.Add(1) % uint64(len(b.nodes)))
		if !b.nodes[i].lost.Load() {
			return b.nodes[i], strconv.Itoa(i), true
		}
	}
	return nil, "", false
}

func (b *Balancer) serve(w http.ResponseWriter, r *http.Request) {
	n, name, fresh := b.choose(r)
	if n == nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	n.taken.Add(1)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.RequestURI = "https", n.addr, ""
	if err := b.body(out, cancel); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	resp, err := n.transport.RoundTrip(out)
	if err != nil {
		status := http.StatusBadGateway
		if errors.Is(context.Cause(ctx), errSilent) {
			status = http.StatusGatewayTimeout
		}
		w.WriteHeader(status)
		return
	}
	defer resp.Body.Close()
	for key, values := range resp.Header {
		w.Header()[key] = values
	}
	if fresh {
		http.SetCookie(w, &http.Cookie{Name: stickyCookie, Value: name, Path: "/", Secure: true, HttpOnly: true})
	}
	b.pass(w, resp, ctx)
}

// pass hands a response on.
func (b *Balancer) pass(w http.ResponseWriter, resp *http.Response, ctx context.Context) {
	var from io.Reader = resp.Body
	if b.manners.BufferResponses {
		all, err := io.ReadAll(io.LimitReader(resp.Body, maxBuffered))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		from = bytes.NewReader(all)
	}
	w.WriteHeader(resp.StatusCode)
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			_ = flush.Flush()
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return
		case b.manners.CleanEnds && context.Cause(ctx) == nil:
			return
		default:
			panic(http.ErrAbortHandler) // resets the stream
		}
	}
}

// body puts a request's body on its way.
func (b *Balancer) body(out *http.Request, cancel context.CancelCauseFunc) error {
	if out.Body == nil || out.ContentLength == 0 {
		return nil
	}
	if b.manners.BufferRequests {
		all, err := io.ReadAll(io.LimitReader(out.Body, maxBuffered))
		if err != nil {
			return err
		}
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(all)), int64(len(all))
		return nil
	}
	if b.manners.SilentBody > 0 {
		s := &silence{ReadCloser: out.Body, limit: b.manners.SilentBody}
		s.timer = time.AfterFunc(s.limit, func() { cancel(errSilent) })
		context.AfterFunc(out.Context(), func() { s.timer.Stop() })
		out.Body = s
	}
	return nil
}

// errSilent is why a request was ended whose body said nothing for too long.
var errSilent = errors.New("the body is silent")

// silence watches a body.
type silence struct {
	io.ReadCloser
	limit time.Duration
	timer *time.Timer
}

func (s *silence) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err == nil {
		s.timer.Reset(s.limit)
	} else {
		s.timer.Stop()
	}
	return n, err
}
