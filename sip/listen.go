package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Limits of the listeners.
const (
	maxStreams     = 512              // connections at once
	receiveBuffer  = 4 << 20          // SO_RCVBUF: a burst of calls must fit
	dialTimeout    = 4 * time.Second  // of a connection
	messageTimeout = 30 * time.Second // from the first byte of a message to its last
)

// trunkOf finds the trunk that a source at a socket belongs to. Strangers have
// none, and hear nothing from us: scanners must not learn that somebody is here.
func (a *Agent) trunkOf(s *socket, source netip.AddrPort) *trunk {
	var best *trunk
	closest := -1
	for _, t := range a.trunks {
		if !s.serves(t) {
			continue
		}
		if c, ok := t.owns(source); ok && c > closest {
			best, closest = t, c
		}
	}
	return best
}

// serve reads a socket until it is closed.
func (a *Agent) serve(s *socket) error {
	if s.over == overUDP {
		return a.readDatagrams(s)
	}
	return a.acceptStreams(s)
}

// readDatagrams is the reader of a UDP socket. One goroutine reads it, so that
// messages of one peer stay in order.
func (a *Agent) readDatagrams(s *socket) error {
	buf := make([]byte, 64<<10)
	failures := 0
	for {
		n, source, err := s.packets.ReadFromUDPAddrPort(buf)
		if err != nil {
			if !a.endure(&failures, err) {
				return a.lastWords(s, err)
			}
			continue
		}
		failures = 0
		source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
		t := a.trunkOf(s, source)
		switch b := buf[:n]; {
		case t == nil:
			a.counts.strangers.Add(1)
		case len(bytes.Trim(b, "\r\n\x00")) == 0: // keep-alive
		case n > maxMessage || !plausible(bytes.TrimLeft(b, "\r\n")):
			a.counts.malformed.Add(1)
		default:
			b = bytes.TrimLeft(b, "\r\n") // may precede a message (RFC 3261 section 7.5)
			a.receive(b, &datagrams{agent: a, trunk: t, socket: s, peer: source}, t)
		}
	}
}

// maxFailures is how many times in a row a listener may fail before we give up.
const maxFailures = 100

// endure waits a moment after an error of a listener, such as too many open
// files: an agent must not go down with all its calls because of one more.
func (a *Agent) endure(failures *int, err error) bool {
	*failures++
	if errors.Is(err, net.ErrClosed) || *failures > maxFailures {
		return false
	}
	select {
	case <-time.After(100 * time.Millisecond):
		return true
	case <-a.base.Done():
		return false
	}
}

// acceptStreams takes connections from trunks.
func (a *Agent) acceptStreams(s *socket) error {
	failures := 0
	for {
		conn, err := s.accepts.AcceptTCP()
		if err != nil {
			if !a.endure(&failures, err) {
				return a.lastWords(s, err)
			}
			continue
		}
		failures = 0
		peer := addrPortOf(conn.RemoteAddr())
		t := a.trunkOf(s, peer)
		if t == nil {
			a.counts.strangers.Add(1)
			_ = conn.Close()
			continue
		}
		if a.adopt(conn, s.over, peer, t, a.originFor(t, s, peer.Addr(), addrPortOf(conn.LocalAddr()))) == nil {
			a.counts.refused.Add(1)
		}
	}
}

// streamKey tells connections apart. Two trunks at one address do not share
// one: each has shown its own certificate on it.
type streamKey struct {
	over  transport
	peer  netip.AddrPort
	trunk *trunk
}

// adopt makes a connection known and reads it. It returns nil if there are too
// many, or the agent is going down.
func (a *Agent) adopt(conn net.Conn, over transport, peer netip.AddrPort, t *trunk, shown origin) *stream {
	s := newStream(conn, over, peer, shown)
	key := streamKey{over, peer, t}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(a.streams) >= maxStreams {
		s.shut()
		return nil
	}
	a.streams[key] = s
	a.work.Go(func() {
		a.readStream(s, t)
		s.shut()
		a.mu.Lock()
		if a.streams[key] == s {
			delete(a.streams, key)
		}
		a.mu.Unlock()
	})
	return s
}

// connect finds or makes the connection to a peer of a trunk.
func (a *Agent) connect(ctx context.Context, t *trunk, over transport, peer netip.AddrPort) (*stream, error) {
	a.mu.Lock()
	s := a.streams[streamKey{over, peer, t}]
	a.mu.Unlock()
	if s != nil && s.alive() {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	at := a.socketFor(t, over, peer.Addr())
	d := net.Dialer{}
	if at != nil && !at.addr.Addr().IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(at.addr.Addr(), 0))
	}
	conn, err := d.DialContext(ctx, "tcp", peer.String())
	if err != nil {
		return nil, fmt.Errorf("connect to trunk %q at %s over %v: %w", t.Name, peer, over, err)
	}
	if s = a.adopt(conn, over, peer, t, a.originFor(t, at, peer.Addr(), addrPortOf(conn.LocalAddr()))); s == nil {
		return nil, fmt.Errorf("connect to trunk %q at %s: %d connections are open, the limit", t.Name, peer, maxStreams)
	}
	return s, nil
}

// readStream reads the messages of one connection until it ends. A message that
// is bad, but ends where it says, is refused and does not hurt those that follow
// it on the same connection.
func (a *Agent) readStream(s *stream, t *trunk) {
	var buf []byte
	chunk := make([]byte, 16<<10)
	for {
		deadline := time.Time{}
		if len(buf) > 0 {
			deadline = time.Now().Add(messageTimeout)
		}
		if s.conn.SetReadDeadline(deadline) != nil {
			return
		}
		n, err := s.conn.Read(chunk)
		if err != nil {
			return // the peer closed, or we did; calls live on without it
		}
		buf = append(buf, chunk[:n]...)
		for len(buf) > 0 {
			skip, size, err := frame(buf)
			if err != nil {
				a.counts.malformed.Add(1)
				a.refuseFrame(buf[skip:], s, err)
				return
			}
			if skip >= 4 && s.write([]byte("\r\n")) != nil { // RFC 5626 section 4.4.1: ping, pong
				return
			}
			if size > 0 {
				a.receive(buf[skip:skip+size], s, t)
			}
			buf = buf[skip+size:]
			if size == 0 {
				break
			}
		}
		if len(buf) == 0 {
			buf = nil
		}
	}
}

func addrPortOf(addr net.Addr) netip.AddrPort {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		ap := addr.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	case *net.UDPAddr:
		ap := addr.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
