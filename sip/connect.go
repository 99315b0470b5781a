package sip

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	dialTimeout      = 4 * time.Second  // of a connection, with all that opens it
	handshakeTimeout = 10 * time.Second // the same of one that a peer makes
	strangerTime     = 32 * time.Second // from there until it knows a password
)

// streamKey tells connections apart. Two trunks at one address do not share
// one: each has shown its own certificate on it.
type streamKey struct {
	over  transport
	peer  netip.AddrPort
	trunk *trunk
}

// acceptStreams takes connections from trunks. A stranger is closed before a
// handshake tells it anything, unless it may be one that a certificate speaks
// for.
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
		candidates := a.candidates(s, peer)
		switch {
		case len(candidates) == 0:
			a.counts.strangers.Add(1)
			_ = conn.Close()
		case a.gate.pass(candidates[0], peer, connection) > 0:
			a.counts.limited.Add(1)
			_ = conn.Close()
		default:
			_, known := candidates[0].owns(peer)
			if !a.places.take(peer.Addr(), !known) {
				a.counts.refused.Add(1)
				_ = conn.Close()
				continue
			}
			a.work.Go(func() {
				defer a.places.leave(peer.Addr())
				a.welcome(conn, s, candidates, !known)
			})
		}
	}
}

// candidates are the trunks that a connection may be of, closest first.
func (a *Agent) candidates(s *socket, source netip.AddrPort) []*trunk {
	type match struct {
		trunk     *trunk
		closeness int
	}
	var found []match
	for _, t := range a.trunks {
		if !s.serves(t) {
			continue
		}
		if c, ok := t.owns(source); ok {
			found = append(found, match{t, c})
		} else if t.requires() && len(t.Match) == 0 {
			found = append(found, match{t, -1})
		}
	}
	slices.SortStableFunc(found, func(x, y match) int { return cmp.Compare(y.closeness, x.closeness) })
	out := make([]*trunk, len(found))
	for i, m := range found {
		out[i] = m.trunk
	}
	if open := a.openAt(s); open != nil && !slices.ContainsFunc(found, func(m match) bool { return m.closeness >= 0 }) {
		out = append(out, open)
	}
	return out
}

// welcome opens what is on top of an accepted connection, and reads it until it
// ends. Strangers have little room and little time to prove who they are.
func (a *Agent) welcome(tcp net.Conn, at *socket, candidates []*trunk, stranger bool) {
	defer func() { _ = tcp.Close() }()
	settle := func() {}
	if stranger {
		settle = sync.OnceFunc(a.places.settle)
		defer settle()
	}
	ctx, cancel := context.WithTimeout(a.base, handshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	conn, t := tcp, candidates[0]
	if at.over.secure() {
		cfg := a.serverTLS(candidates, func(found *trunk) { t = found })
		if at.over == overWSS {
			cfg.NextProtos = []string{"http/1.1"}
		}
		secured := tls.Server(tcp, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			a.unwelcome(at, tcp, err)
			return
		}
		conn = secured
	}
	s := newStream(conn, at.over, t, a.originFor(t, at, addrPortOf(tcp.RemoteAddr()).Addr(), addrPortOf(tcp.LocalAddr())))
	s.proven, s.leave, s.tap = t.requires(), settle, &a.cfg.Tap
	if at.over.webSocket() {
		var err error
		if s.ws, err = acceptWebSocket(conn, t.asks(), func() bool { return a.hold(s) }); err != nil {
			a.unwelcome(at, tcp, err)
			return
		}
	}
	if !stop() || !a.enlist(s) { // too late, or we are going down
		return
	}
	switch {
	case s.proven:
		s.settle()
	case stranger:
		limit := time.AfterFunc(strangerTime, func() {
			if !s.known.Load() {
				s.shut()
			}
		})
		defer limit.Stop()
	}
	a.attend(s)
}

// unwelcome notes a handshake that came to nothing. Operators who set up TLS
// need to know why, but scanners must not fill the log.
func (a *Agent) unwelcome(at *socket, conn net.Conn, err error) {
	a.counts.handshakes.Add(1)
	if !a.complaints.Allow() {
		return
	}
	a.cfg.Logger.Info("connection refused", "transport", at.over.String(), "source", conn.RemoteAddr(), "why", err)
}

// enlist makes a connection known, unless the agent is going down.
func (a *Agent) enlist(s *stream) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		s.shut()
		return false
	}
	a.streams[streamKey{s.over, s.peer, s.trunk}] = s
	a.opened[s] = struct{}{}
	return true
}

// attend reads a connection until it ends.
func (a *Agent) attend(s *stream) {
	a.read(s)
	s.shut()
	if s.ws != nil {
		_ = s.ws.CloseNow() // conn is closed; this waits for what it had running
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.opened, s)
	for _, key := range []streamKey{{s.over, s.peer, s.trunk}, {s.over, s.alias, s.trunk}} {
		if a.streams[key] == s {
			delete(a.streams, key)
		}
	}
}

// reuse notes that the peer takes requests on a connection that it has made, as
// if we had made it (RFC 5923 section 5). Only a certificate shows that it is
// who would be reached otherwise.
func (a *Agent) reuse(s *stream, port uint16) {
	alias := netip.AddrPortFrom(s.peer.Addr(), port)
	if !s.proven {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if alias == s.alias {
		return
	}
	key := streamKey{s.over, alias, s.trunk}
	if old := a.streams[key]; old == nil || !old.alive() {
		if last := (streamKey{s.over, s.alias, s.trunk}); a.streams[last] == s && s.alias != s.peer {
			delete(a.streams, last)
		}
		a.streams[key] = s
		s.alias = alias
	}
}

// connect finds or makes the connection to a peer of a trunk. Whoever needs one
// that is being made waits for it: a burst of calls to a peer opens one.
func (a *Agent) connect(ctx context.Context, t *trunk, over transport, peer netip.AddrPort) (*stream, error) {
	key := streamKey{over, peer, t}
	a.mu.Lock()
	if s := a.streams[key]; s != nil && s.alive() {
		a.mu.Unlock()
		return s, nil
	}
	d := a.dialling[key]
	if d == nil {
		d = &dialling{done: make(chan struct{})}
		if !a.work.Go(func() { a.dial(d, key) }) {
			a.mu.Unlock()
			return nil, fmt.Errorf("connect to trunk %q at %s: %w", t.Name, peer, net.ErrClosed)
		}
		a.dialling[key] = d
	}
	a.mu.Unlock()
	select {
	case <-d.done:
		return d.stream, d.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to trunk %q at %s over %v: %w", t.Name, peer, over, context.Cause(ctx))
	}
}

// dialling is a connection that is being made.
type dialling struct {
	done   chan struct{}
	stream *stream // valid, as err, once done is closed
	err    error
}

// dial makes a connection for whoever waits for it, and reads it until it ends.
func (a *Agent) dial(d *dialling, key streamKey) {
	d.stream, d.err = a.dialOne(key)
	a.mu.Lock()
	delete(a.dialling, key)
	a.mu.Unlock()
	close(d.done)
	if d.err == nil {
		defer a.places.leaveOurs()
		a.attend(d.stream)
	}
}

func (a *Agent) dialOne(key streamKey) (*stream, error) {
	if !a.places.takeOurs() {
		return nil, fmt.Errorf("connect to trunk %q at %s: %d connections are open, the limit", key.trunk.Name, key.peer, maxStreams)
	}
	s, err := a.open(a.base, key.trunk, key.over, key.peer)
	if err != nil {
		a.places.leaveOurs()
		return nil, fmt.Errorf("connect to trunk %q at %s over %v: %w", key.trunk.Name, key.peer, key.over, err)
	}
	return s, nil
}

// open makes a connection and all that is on top of it.
func (a *Agent) open(ctx context.Context, t *trunk, over transport, peer netip.AddrPort) (*stream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	at := a.socketFor(t, over, peer.Addr())
	d := net.Dialer{Control: markSignalling}
	if at != nil && !at.addr.Addr().IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(at.addr.Addr(), 0))
	}
	tcp, err := d.DialContext(ctx, "tcp", peer.String())
	if err != nil {
		return nil, err
	}
	conn := tcp
	if over.secure() {
		secured := tls.Client(tcp, a.clientTLS(t))
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = tcp.Close()
			return nil, err
		}
		conn = secured
	}
	s := newStream(conn, over, t, a.originFor(t, at, peer.Addr(), addrPortOf(tcp.LocalAddr())))
	s.proven, s.tap = over.secure(), &a.cfg.Tap
	if own, err := a.certificateFor(t); over == overTLS && own != nil && err == nil {
		s.lent = true
	}
	if over.webSocket() {
		if s.ws, err = dialWebSocket(ctx, conn, hostOf(t, peer), peer.Port(), func() bool { return a.hold(s) }); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	if !a.enlist(s) {
		return nil, net.ErrClosed
	}
	return s, nil
}
