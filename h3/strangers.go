package h3

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"riptide/h3/media"
)

// connIdle is how long a connection may be open without a request. Our own
// client lets go of its last one a minute earlier.
const connIdle = 3 * time.Minute

// strangers are the connections on which nobody has shown a token yet: anybody
// on the network can open them. Past the limit the one that has been here
// longest makes room, so that a flood of connections cannot keep out a peer,
// which shows its token within a round trip or two, nor use up the memory and
// the descriptors that calls need.
type strangers struct {
	limit int
	cut   func() // counts

	mu    sync.Mutex
	order list.List // of *stranger, the first to come first
}

type stranger struct {
	among *strangers
	heard func() uint64 // bytes, so far
	hang  func()        // up on it
	at    *list.Element
}

// What a stranger may send: a handshake, a request for a token and some for
// certificates take a tenth of that. It bounds the streams that are begun and
// never finished, at a few bytes each for the one side and a thousand times
// that for the other.
const (
	maxStrangerBytes = 64 << 10
	strangerPeriod   = 250 * time.Millisecond
)

// watch cuts strangers who say too much, until done is closed.
func (s *strangers) watch(done <-chan struct{}) {
	tick := time.NewTicker(strangerPeriod)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, x := range s.loud() {
				s.cut()
				x.hang()
			}
		case <-done:
			return
		}
	}
}

// loud takes those who have said too much off the list.
func (s *strangers) loud() (out []*stranger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.order.Front(); e != nil; {
		next := e.Next()
		if x := e.Value.(*stranger); x.heard() > maxStrangerBytes {
			s.order.Remove(e)
			x.at = nil
			out = append(out, x)
		}
		e = next
	}
	return out
}

// meet notes a new connection.
func (s *strangers) meet(heard func() uint64, hangUp func()) *stranger {
	x := &stranger{among: s, heard: heard, hang: hangUp}
	s.mu.Lock()
	x.at = s.order.PushBack(x)
	var oldest *stranger
	if s.order.Len() > s.limit {
		oldest = s.order.Remove(s.order.Front()).(*stranger)
		oldest.at = nil
	}
	s.mu.Unlock()
	if oldest != nil {
		s.cut()
		oldest.hang()
	}
	return x
}

// leave says that the connection is one of a client's from now on, or closed.
func (x *stranger) leave() {
	x.among.mu.Lock()
	defer x.among.mu.Unlock()
	if x.at != nil {
		x.among.order.Remove(x.at)
		x.at = nil
	}
}

type strangerKey struct{}

// recognised is called with the context of a request with a valid token.
func recognised(ctx context.Context) {
	if x, ok := ctx.Value(strangerKey{}).(*stranger); ok {
		x.leave()
	}
}

// meetQUIC is the ConnContext of the HTTP/3 server.
func (s *Server) meetQUIC(ctx context.Context, c *quic.Conn) context.Context {
	heard := func() uint64 { return c.ConnectionStats().BytesReceived }
	x := s.strangers.meet(heard, func() { _ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "") })
	context.AfterFunc(c.Context(), x.leave)
	return media.WithConn(context.WithValue(ctx, strangerKey{}, x), c)
}

// guests is a listener whose connections are strangers until they close.
type guests struct {
	net.Listener
	strangers *strangers
}

type guest struct {
	net.Conn
	stranger *stranger
	bytes    atomic.Uint64 // received
}

func (l guests) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	// Closed below TLS, which would say goodbye first, and wait for that.
	g := &guest{Conn: c}
	g.stranger = l.strangers.meet(g.bytes.Load, func() { _ = c.Close() })
	return g, nil
}

func (g *guest) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.bytes.Add(uint64(n)) //nolint:gosec // never negative
	return n, err
}

func (g *guest) Close() error {
	g.stranger.leave()
	return g.Conn.Close()
}

// meetTCP is the ConnContext of the server on TCP.
func meetTCP(ctx context.Context, c net.Conn) context.Context {
	if g, ok := c.(*tls.Conn).NetConn().(*guest); ok {
		return context.WithValue(ctx, strangerKey{}, g.stranger)
	}
	return ctx
}
