package sip

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	sipgo "github.com/emiago/sipgo/sip"
)

// Limits of connections.
const (
	messageTimeout = 30 * time.Second // from the first byte of a message to its last
	writeTimeout   = 5 * time.Second  // how long a peer that does not read can hold us up
)

// stream is a connection. All calls with its peer share it.
type stream struct {
	unowned
	conn   net.Conn
	ws     *websocket.Conn // on top of conn; nil = SIP is written right there
	over   transport
	peer   netip.AddrPort
	trunk  *trunk
	shown  origin
	alias  netip.AddrPort // where requests of ours would go, which this connection saves; guarded by the agent's lock
	proven bool           // the peer has shown the certificate that the trunk wants
	lent   bool           // we have made it and shown a certificate: the peer may use it for its requests (RFC 5923)
	known  atomic.Bool    // somebody has proved by a password who is there
	tap    *Tap           // nil: nobody's
	leave  func()         // gives up the place of a stranger
	once   sync.Once
	gone   chan struct{}

	mu sync.Mutex // one message at a time
}

func newStream(conn net.Conn, over transport, t *trunk, shown origin) *stream {
	return &stream{conn: conn, over: over, peer: addrPortOf(conn.RemoteAddr()), trunk: t, shown: shown, gone: make(chan struct{})}
}

func (s *stream) transport() transport   { return s.over }
func (s *stream) remote() netip.AddrPort { return s.peer }
func (s *stream) self() origin           { return s.shown }
func (s *stream) LocalAddr() net.Addr    { return s.conn.LocalAddr() }

func (s *stream) alive() bool {
	select {
	case <-s.gone:
		return false
	default:
		return true
	}
}

func (s *stream) WriteMsg(msg sipgo.Message) error {
	b := encode(msg)
	if s.tap != nil {
		s.tap.message(s.trunk.Name, s.over, true, s.here(), s.peer, b)
	}
	return s.write(b)
}

func (s *stream) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.alive() {
		return fmt.Errorf("send to %s: %w", s.peer, net.ErrClosed)
	}
	if err := s.put(b); err != nil {
		s.shut() // half a message may be out: nothing can follow it
		return fmt.Errorf("send to %s: %w", s.peer, err)
	}
	return nil
}

func (s *stream) put(b []byte) error {
	if s.ws != nil {
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		defer cancel()
		return s.ws.Write(ctx, frameType(b), b)
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// shut closes the connection; its reader ends with it.
func (s *stream) shut() {
	s.once.Do(func() {
		close(s.gone)
		_ = s.conn.Close() // nobody to tell: the peer sees it
	})
}

// read reads the messages of a connection until it ends, one after the other,
// in the order in which they came.
func (a *Agent) read(s *stream) {
	if s.ws != nil {
		a.readFrames(s)
		return
	}
	a.readBytes(s)
}

// readBytes reads a connection without frames. A message that is bad, but ends
// where it says, is refused and does not hurt those that follow it on the same
// connection.
func (a *Agent) readBytes(s *stream) {
	var buf []byte
	chunk := make([]byte, 16<<10)
	var deadline time.Time // of the message that has begun, however slowly it goes on
	for {
		if s.conn.SetReadDeadline(deadline) != nil {
			return
		}
		n, err := s.conn.Read(chunk)
		if err != nil {
			return // the peer closed, or we did; calls live on without it
		}
		if len(buf) == 0 {
			deadline = time.Now().Add(messageTimeout)
		}
		buf = append(buf, chunk[:n]...)
		for len(buf) > 0 {
			skip, size, err := frame(buf)
			if err != nil {
				a.counts.malformed.Add(1)
				a.refuseFrame(buf[skip:], s, err)
				return
			}
			if skip >= 4 && (!a.hold(s) || s.write([]byte("\r\n")) != nil) { // RFC 5626 section 4.4.1: ping, pong
				return
			}
			if size > 0 {
				if !a.hold(s) {
					return
				}
				a.receive(buf[skip:skip+size], s, s.trunk)
			}
			buf = buf[skip+size:]
			if size == 0 {
				break
			}
			deadline = time.Now().Add(messageTimeout)
		}
		if len(buf) == 0 {
			buf, deadline = nil, time.Time{}
		}
	}
}

// readFrames reads a WebSocket: each of its messages is one of SIP (RFC 7118
// section 5.1), or a keep-alive of line ends.
func (a *Agent) readFrames(s *stream) {
	for {
		b, err := s.readFrame(a.base)
		if err != nil {
			return
		}
		if !a.hold(s) {
			return
		}
		switch msg := bytes.TrimLeft(b, "\r\n"); {
		case len(msg) == 0:
			if len(b) >= 4 && s.write([]byte("\r\n")) != nil {
				return
			}
		case !plausible(msg):
			a.counts.malformed.Add(1)
		default:
			a.receive(msg, s, s.trunk)
		}
	}
}

// readFrame waits for a message, and no longer than messageTimeout for the rest
// of one that has begun.
func (s *stream) readFrame(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, r, err := s.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	limit := time.AfterFunc(messageTimeout, cancel)
	defer limit.Stop()
	return io.ReadAll(r) // bounded by the read limit
}
