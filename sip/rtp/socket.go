package rtp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"riptide/bridge"
)

// The DSCPs of voice, EF, and of video telephony, AF41, in their place in the
// traffic class octet (RFC 4594 sections 4.1 and 4.3).
const (
	expedited = 46 << 2
	assured41 = 34 << 2
)

// socket sends without ever waiting: net.UDPConn would wait for room in the
// socket's buffer, with the receiving goroutine of another leg in its hands.
// Not safe for concurrent sends.
type socket struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	v6   bool
	here netip.AddrPort
	tap  *wiretap // nil: nobody's

	// What the write function below works on, kept here so that a packet costs
	// no allocation.
	b     []byte
	to4   syscall.SockaddrInet4
	to6   syscall.SockaddrInet6
	err   error
	write func(fd uintptr) bool
}

func listen(addr netip.AddrPort) (*socket, error) {
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	s := &socket{conn: conn, raw: raw, v6: addr.Addr().Is6()}
	s.here = s.local()
	s.write = s.sendto
	return s, nil
}

// class marks packets as voice or video. A kernel that refuses takes nothing
// from the call.
func (s *socket) class(kind bridge.Kind) {
	class := expedited
	if kind == bridge.Video {
		class = assured41
	}
	_ = s.raw.Control(func(fd uintptr) {
		if s.v6 {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, class)
			return
		}
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS, class)
	})
}

func (s *socket) local() netip.AddrPort {
	return s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

var errFamily = errors.New("address family of the peer is not that of our socket")

// send hands a packet to the kernel or fails at once.
func (s *socket) send(b []byte, to netip.AddrPort) error {
	ip := to.Addr()
	switch {
	case !ip.IsValid():
		return errors.New("no address")
	case s.v6 && ip.Is6():
		s.to6.Port, s.to6.Addr = int(to.Port()), ip.As16()
	case !s.v6 && (ip.Is4() || ip.Is4In6()):
		s.to4.Port, s.to4.Addr = int(to.Port()), ip.As4()
	default:
		return errFamily
	}
	if s.tap != nil {
		s.tap.tap(s.tap.leg, true, s.here, to, b)
	}
	s.b = b
	if err := s.raw.Write(s.write); err != nil {
		return fmt.Errorf("send to %v: %w", to, err)
	}
	return s.err
}

// sendto is called by the poller with the descriptor. It always returns true:
// do not wait until the socket is writable.
func (s *socket) sendto(fd uintptr) bool {
	var to syscall.Sockaddr = &s.to4
	if s.v6 {
		to = &s.to6
	}
	for range 2 { // once more if a signal interrupted
		s.err = syscall.Sendto(int(fd), s.b, syscall.MSG_DONTWAIT, to)
		if s.err != syscall.EINTR {
			break
		}
	}
	return true
}

func (s *socket) close() error { return s.conn.Close() }
