package sip

import (
	"net"
	"syscall"
	"testing"
)

func TestSignallingIsMarked(t *testing.T) {
	t.Parallel()
	lc := net.ListenConfig{Control: markSignalling}
	for network, at := range map[string]struct {
		addr          string
		level, option int
	}{
		"udp4": {"127.0.0.1:0", syscall.IPPROTO_IP, syscall.IP_TOS},
		"udp6": {"[::1]:0", syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS},
	} {
		c, err := lc.ListenPacket(ctx, network, at.addr)
		if err != nil {
			t.Logf("%s: %v", network, err) // a host without IPv6
			continue
		}
		raw, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) {
			if got, err := syscall.GetsockoptInt(int(fd), at.level, at.option); err != nil || got != signallingClass {
				t.Errorf("%s: class %d (%v), want %d", network, got, err, signallingClass)
			}
		}); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	// And the agent's own sockets are.
	a := startAgent(t, newAcceptor(), Trunk{})
	raw, err := a.sockets[0].packets.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if got, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS); err != nil || got != signallingClass {
			t.Errorf("agent: class %d (%v)", got, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
