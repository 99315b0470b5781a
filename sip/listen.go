package sip

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// receiveBuffer is SO_RCVBUF: a burst of calls must fit.
const receiveBuffer = 4 << 20

// trunkOf finds the trunk that a source at a socket belongs to. Strangers have
// none, and hear nothing from us: scanners must not learn that somebody is here.
// Where a trunk is open to the world, they are its own until they were screened.
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
	if best == nil {
		best = a.openAt(s)
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
		case a.gate.pass(t, source, 1) > 0:
			a.counts.limited.Add(1)
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
	if *failures++; scarce(err) {
		*failures = 0 // passes when calls end, and until then they go on
	}
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

// scarce tells errors that say of the whole machine, or of the process, that it
// has no more of something.
func scarce(err error) bool {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, short) {
			return true
		}
	}
	return false
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
