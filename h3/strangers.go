package h3

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
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
	hang  func() // up on it
	at    *list.Element
}

// meet notes a new connection.
func (s *strangers) meet(hangUp func()) *stranger {
	x := &stranger{among: s, hang: hangUp}
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

func (s *strangers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Len()
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
	x := s.strangers.meet(func() { _ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad), "") })
	context.AfterFunc(c.Context(), x.leave)
	return context.WithValue(ctx, strangerKey{}, x)
}

// guests is a listener whose connections are strangers until they close.
type guests struct {
	net.Listener
	strangers *strangers
}

type guest struct {
	net.Conn
	stranger *stranger
}

func (l guests) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	// Closed below TLS, which would say goodbye first, and wait for that.
	return &guest{c, l.strangers.meet(func() { _ = c.Close() })}, nil
}

func (g *guest) Close() error {
	g.stranger.leave()
	return g.Conn.Close()
}

// meetTCP is the ConnContext of the HTTP/2 server.
func meetTCP(ctx context.Context, c net.Conn) context.Context {
	if g, ok := c.(*tls.Conn).NetConn().(*guest); ok {
		return context.WithValue(ctx, strangerKey{}, g.stranger)
	}
	return ctx
}
