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
	maxStreams     = 512              // TCP connections at once
	receiveBuffer  = 4 << 20          // SO_RCVBUF: a burst of calls must fit
	dialTimeout    = 4 * time.Second  // of a TCP connection
	messageTimeout = 30 * time.Second // from the first byte of a message to its last
)

// listen opens UDP and TCP on the same port.
func listen(ctx context.Context, addr string) (*net.UDPConn, *net.TCPListener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for SIP on %q: %w (want host:port)", addr, err)
	}
	var last error
	for range 20 { // with port 0, TCP may find UDP's choice taken
		udp, tcp, err := listenBoth(ctx, addr)
		if err == nil {
			_ = udp.SetReadBuffer(receiveBuffer) // the system may allow less
			return udp, tcp, nil
		}
		if last = err; port != "0" {
			break
		}
	}
	return nil, nil, fmt.Errorf("listen for SIP on %s: %w (another program has the port, or the address is not on this machine: host %q)", addr, last, host)
}

func listenBoth(ctx context.Context, addr string) (*net.UDPConn, *net.TCPListener, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, nil, err
	}
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		_ = pc.Close()
		return nil, nil, err
	}
	return pc.(*net.UDPConn), l.(*net.TCPListener), nil
}

// trunkOf finds the trunk a source belongs to. Strangers have none, and hear
// nothing from us: scanners must not learn that somebody is here.
func (a *Agent) trunkOf(source netip.AddrPort) *trunk {
	var best *trunk
	closest := -1
	for _, t := range a.trunks {
		if c, ok := t.owns(source); ok && c > closest {
			best, closest = t, c
		}
	}
	return best
}

// readDatagrams is the reader of the UDP socket. One goroutine reads it, so
// that messages of one peer stay in order.
func (a *Agent) readDatagrams() error {
	buf := make([]byte, 64<<10)
	failures := 0
	for {
		n, source, err := a.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if !a.endure(&failures, err) {
				return a.lastWords("read SIP datagrams", err)
			}
			continue
		}
		failures = 0
		source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
		t := a.trunkOf(source)
		switch b := buf[:n]; {
		case t == nil:
			a.counts.strangers.Add(1)
		case len(bytes.Trim(b, "\r\n\x00")) == 0: // keep-alive
		case n > maxMessage || !plausible(bytes.TrimLeft(b, "\r\n")):
			a.counts.malformed.Add(1)
		default:
			b = bytes.TrimLeft(b, "\r\n") // may precede a message (RFC 3261 section 7.5)
			a.receive(b, &datagrams{socket: a.udp, peer: source}, t)
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

func (a *Agent) lastWords(doing string, err error) error {
	if errors.Is(err, net.ErrClosed) || a.base.Err() != nil {
		return nil
	}
	return fmt.Errorf("%s on %s: %w", doing, a.addr, err)
}

// acceptStreams takes TCP connections from trunks.
func (a *Agent) acceptStreams() error {
	failures := 0
	for {
		conn, err := a.tcp.AcceptTCP()
		if err != nil {
			if !a.endure(&failures, err) {
				return a.lastWords("accept SIP connections", err)
			}
			continue
		}
		failures = 0
		peer := addrPortOf(conn.RemoteAddr())
		t := a.trunkOf(peer)
		if t == nil {
			a.counts.strangers.Add(1)
			_ = conn.Close()
			continue
		}
		if a.adopt(conn, peer, t) == nil {
			a.counts.refused.Add(1)
		}
	}
}

// adopt makes a connection known and reads it. It returns nil if there are too
// many, or the agent is going down.
func (a *Agent) adopt(conn net.Conn, peer netip.AddrPort, t *trunk) *stream {
	s := newStream(conn, peer)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(a.streams) >= maxStreams {
		s.shut()
		return nil
	}
	a.streams[peer] = s
	a.work.Go(func() {
		a.readStream(s, t)
		s.shut()
		a.mu.Lock()
		if a.streams[peer] == s {
			delete(a.streams, peer)
		}
		a.mu.Unlock()
	})
	return s
}

// connect finds or makes the TCP connection to a peer.
func (a *Agent) connect(ctx context.Context, t *trunk, peer netip.AddrPort) (*stream, error) {
	a.mu.Lock()
	s := a.streams[peer]
	a.mu.Unlock()
	if s != nil && s.alive() {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	local := addrPortOf(a.tcp.Addr()).Addr()
	d := net.Dialer{}
	if !local.IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", peer.String())
	if err != nil {
		return nil, fmt.Errorf("connect to trunk %q at %s over TCP: %w", t.Name, peer, err)
	}
	if s = a.adopt(conn, peer, t); s == nil {
		return nil, fmt.Errorf("connect to trunk %q at %s: %d connections are open, the limit", t.Name, peer, maxStreams)
	}
	return s, nil
}

// readStream reads the messages of one TCP connection until it ends. A message
// that is bad, but ends where it says, is refused and does not hurt those that
// follow it on the same connection.
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
