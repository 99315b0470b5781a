package sip

import (
	"strings"
	"syscall"
)

// signallingClass is CS3, in its place in the traffic class octet: what networks
// give to call signalling (RFC 4594 section 4.2 wanted CS5 for it, which few do).
const signallingClass = 24 << 2

// markSignalling marks the packets of a socket, as its Control function. A kernel
// that refuses takes nothing from the call.
func markSignalling(network, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		if strings.HasSuffix(network, "6") {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, signallingClass)
		}
		// Of a socket for both families this holds for its IPv4.
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS, signallingClass)
	})
}
