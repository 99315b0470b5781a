package rtp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// strayTimeout is how long a source from elsewhere may take for its handshake
	// before others get their turn.
	strayTimeout = 5 * time.Second
	// shunTime is how long a source whose attempt came to nothing has no other.
	shunTime = 10 * time.Second
)

// attempt is one handshake with one source. It is a net.PacketConn of what the
// demultiplexer gives it.
type attempt struct {
	*association
	over chan struct{}
	once sync.Once

	// What follows belongs to the association's mu.
	from  netip.AddrPort // whom it is with; invalid = nobody has spoken yet
	first netip.AddrPort // for whom it was given up
	done  bool
	limit *time.Timer
	until time.Time     // the deadline of reading
	moved chan struct{} // closed and replaced when until changes
}

// begin makes the next attempt, with a source if that is known already.
func (a *association) begin(with netip.AddrPort) *attempt {
	t := &attempt{association: a, over: make(chan struct{}), moved: make(chan struct{}), from: with}
	a.mu.Lock()
	a.now = t
	a.mu.Unlock()
	return t
}

// end is the end of an attempt. first is who is next, if that is known.
func (a *association) end(t *attempt) (first netip.AddrPort) {
	t.giveUp()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = nil
	if t.limit != nil {
		t.limit.Stop()
		a.shunned, a.until = t.from, time.Now().Add(shunTime)
	}
	return t.first
}

// believes judges whose records are read. The address where the peer should be
// comes before any other, which a NAT may have made of it, and among those the
// first. Who begins has written to that address, and to no other.
func (a *association) believes(from netip.AddrPort) bool {
	target := a.target()
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.now
	switch {
	case t == nil:
		return false
	case from == t.from:
		return true
	case t.done:
		return false
	case from == target && t.from.IsValid():
		t.first = from
		t.giveUp()
		return false // it says it again
	case from == target:
		t.from = from
		return true
	case a.active, t.from.IsValid(), from == a.shunned && time.Now().Before(a.until):
		return false
	}
	t.from = from
	t.limit = time.AfterFunc(strayTimeout, t.giveUp)
	return true
}

// succeeded lifts the time limit of an attempt.
func (a *association) succeeded(t *attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.done = true
	if t.limit != nil {
		t.limit.Stop()
	}
}

func (a *association) peer(t *attempt) netip.AddrPort {
	a.mu.Lock()
	defer a.mu.Unlock()
	return t.from
}

// takesPart tells whether a datagram is one of a handshake. An alert that nothing
// protects is not: anybody could have written it (RFC 6347 section 4.1.2.7).
func takesPart(b []byte) bool {
	const (
		header = 13
		alert  = 21
		last   = 26 // content type that there is
	)
	for len(b) > 0 {
		if len(b) < header || b[0] > last || b[1] != 254 {
			return false
		}
		epoch, size := binary.BigEndian.Uint16(b[3:]), int(binary.BigEndian.Uint16(b[11:]))
		if len(b) < header+size || b[0] == alert && epoch == 0 {
			return false
		}
		b = b[header+size:]
	}
	return true
}

// giveUp makes the handshake fail, and keeps it silent.
func (t *attempt) giveUp() { t.once.Do(func() { close(t.over) }) }

// ReadFrom implements net.PacketConn.
func (t *attempt) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		t.mu.Lock()
		until, moved, from := t.until, t.moved, t.from
		t.mu.Unlock()
		var expired <-chan time.Time
		if !until.IsZero() {
			expired = time.After(time.Until(until))
		}
		select {
		case r := <-t.in:
			if r.from == from || r.from == t.peer(t) { // else it is of an attempt before
				return copy(b, r.b), t.RemoteAddr(), nil
			}
		case <-moved:
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-t.over:
			return 0, nil, net.ErrClosed
		case <-t.closed:
			return 0, nil, net.ErrClosed
		}
	}
}

// WriteTo implements net.PacketConn. Before anybody has spoken, records go to
// where the peer should be.
func (t *attempt) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-t.over:
		return 0, net.ErrClosed
	case <-t.closed:
		return 0, net.ErrClosed
	default:
	}
	_ = t.out(b, t.peer(t)) // a flight that could not be sent is repeated
	return len(b), nil
}

// Close implements net.PacketConn.
func (t *attempt) Close() error {
	t.giveUp()
	return nil
}

// LocalAddr implements net.PacketConn. There is one peer, whatever its address.
func (t *attempt) LocalAddr() net.Addr { return &net.UDPAddr{} }

// RemoteAddr is what the library calls the peer.
func (t *attempt) RemoteAddr() net.Addr { return &net.UDPAddr{} }

// SetDeadline implements net.PacketConn.
func (t *attempt) SetDeadline(at time.Time) error { return t.SetReadDeadline(at) }

// SetReadDeadline implements net.PacketConn.
func (t *attempt) SetReadDeadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = at
	close(t.moved)
	t.moved = make(chan struct{})
	return nil
}

// SetWriteDeadline implements net.PacketConn. Writes never wait.
func (t *attempt) SetWriteDeadline(time.Time) error { return nil }
