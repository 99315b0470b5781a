package conform

import (
	"net"
	"sync"
	"time"
)

// outage makes the listener unreachable for a while: what comes is not
// read, and TCP connections are closed. It notes when somebody tried.
type outage struct {
	mu    sync.Mutex
	on    bool
	tries []time.Time
	froms map[string]bool
}

// begin makes everything vanish.
func (o *outage) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on, o.tries, o.froms = true, nil, map[string]bool{}
}

// end lets packets through again, and tells when connections were attempted.
func (o *outage) end() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = false
	return o.tries
}

// tried notes an attempt, and tells whether it must fail.
func (o *outage) tried(from string, initial bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.on && initial && !o.froms[from] {
		o.froms[from] = true
		o.tries = append(o.tries, time.Now())
	}
	return o.on
}

// wrap puts the outage before a UDP socket. What it returns has no more methods
// than a net.PacketConn, so that QUIC reads through it.
func (o *outage) wrap(c *net.UDPConn) net.PacketConn { return &outagePackets{PacketConn: c, o: o} }

type outagePackets struct {
	net.PacketConn
	o *outage
}

// isInitial tells QUIC Initial packets (RFC 9000 section 17.2.2), which begin
// connections.
func isInitial(b []byte) bool { return len(b) > 0 && b[0]&0xf0 == 0xc0 }

// ReadFrom drops what comes during an outage.
func (p *outagePackets) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		if err != nil || !p.o.tried(addrText(from), isInitial(b[:n])) {
			return n, from, err
		}
	}
}

func addrText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}

type outageListener struct {
	net.Listener
	o *outage
}

// Accept closes connections that are made during an outage.
func (l outageListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !l.o.tried("", false) {
			return c, err
		}
		_ = c.Close()
	}
}
