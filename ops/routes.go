package ops

import (
	"net"
	"net/netip"
	"sync"
)

// maxRoutes bounds what is remembered of the ways to peers.
const maxRoutes = 1000

// routes finds the address that packets to a peer leave from, where a socket is
// bound to all of them.
type routes struct {
	mu    sync.Mutex
	known map[netip.Addr]netip.Addr
}

// local is the address of ours that a peer sees, as far as the box itself knows.
func (r *routes) local(own, peer netip.AddrPort) netip.AddrPort {
	if !own.Addr().IsUnspecified() && own.Addr().Is4() == peer.Addr().Is4() {
		return own
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	addr, ok := r.known[peer.Addr()]
	if !ok {
		addr = route(peer)
		if len(r.known) >= maxRoutes || r.known == nil {
			r.known = map[netip.Addr]netip.Addr{}
		}
		r.known[peer.Addr()] = addr
	}
	return netip.AddrPortFrom(addr, own.Port())
}

// route asks the kernel; nothing is sent for it.
func route(peer netip.AddrPort) netip.Addr {
	none := netip.IPv4Unspecified()
	if peer.Addr().Is6() {
		none = netip.IPv6Unspecified()
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(peer))
	if err != nil {
		return none
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}
