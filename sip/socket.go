package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// socket is one address at which the agent listens for one transport. What a
// trunk is sent over UDP leaves from it too: peers know us by address and port.
type socket struct {
	over    transport
	addr    netip.AddrPort // where it is bound
	both    bool           // [::] that takes IPv4 as well
	family  string         // "4" or "6" where it takes only that, as net has it
	twins   *[]*socket     // those of the same place, itself included
	private bool           // only trunks that name it are spoken to here

	packets *net.UDPConn     // of UDP
	accepts *net.TCPListener // of everything else
}

// place is where to listen, as configured.
type place struct {
	over []transport
	addr netip.AddrPort
}

// parsePlace reads "192.0.2.10:5060", which is UDP and TCP, or
// "tls:192.0.2.10:5061" and the like, which is that transport.
func parsePlace(s string) (place, error) {
	p := place{over: []transport{overUDP, overTCP}}
	text := s
	if word, rest, ok := strings.Cut(s, ":"); ok {
		if t, err := parseTransport(word); err == nil {
			p.over, text = []transport{t}, rest
		}
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return place{}, fmt.Errorf("listen for SIP on %q: want address:port, or transport:address:port as in tls:0.0.0.0:5061", s)
	}
	p.addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	return p, nil
}

// planSockets makes what the configuration names, and opens nothing yet. Those
// that only trunks name are for them alone; each trunk learns its own.
func planSockets(shared []string, trunks []*trunk) ([]*socket, error) {
	var all []place
	var sockets []*socket
	planned := map[string][]*socket{}
	texts := slices.Clone(shared)
	for _, t := range trunks {
		if t.Listen != "" {
			texts = append(texts, t.Listen)
		}
	}
	for _, text := range texts {
		p, err := parsePlace(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, errors.New("listen for SIP: nowhere (set sip.listen)")
	}
	for i, p := range all {
		if planned[texts[i]] != nil {
			continue
		}
		family := p.family(all)
		var found []*socket
		for _, over := range p.over {
			found = append(found, &socket{
				over: over, addr: p.addr, family: family, private: i >= len(shared), twins: &found,
				both: family == "" && p.addr.Addr().IsUnspecified(),
			})
		}
		planned[texts[i]] = found
		sockets = append(sockets, found...)
	}
	for _, t := range trunks {
		t.sockets = planned[t.Listen]
	}
	return sockets, nil
}

// SocketOpener opens listeners; a *net.ListenConfig is one.
type SocketOpener interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// openSockets opens all of them, or none.
func openSockets(ctx context.Context, by SocketOpener, sockets []*socket) (err error) {
	defer func() {
		if err != nil {
			closeSockets(sockets)
		}
	}()
	for len(sockets) > 0 {
		place := *sockets[0].twins
		if err := openPlace(ctx, by, place); err != nil {
			return err
		}
		sockets = sockets[len(place):]
	}
	return nil
}

func closeSockets(sockets []*socket) {
	for _, s := range sockets {
		s.close()
	}
}

func (s *socket) close() {
	if s.packets != nil {
		_ = s.packets.Close()
	}
	if s.accepts != nil {
		_ = s.accepts.Close()
	}
}

// openPlace opens the sockets of one place, on the same port.
func openPlace(ctx context.Context, by SocketOpener, place []*socket) error {
	addr := place[0].addr
	var last error
	for range 20 { // with port 0, TCP may find UDP's choice taken
		if last = tryPlace(ctx, by, place, addr); last == nil {
			return nil
		}
		closeSockets(place)
		if addr.Port() != 0 {
			break
		}
	}
	return fmt.Errorf("listen for SIP on %s: %w (another program has the port, or the address is not on this machine: host %q)", addr, last, addr.Addr())
}

func tryPlace(ctx context.Context, by SocketOpener, place []*socket, addr netip.AddrPort) error {
	for _, s := range place {
		if s.over == overUDP {
			c, err := by.ListenPacket(ctx, "udp"+s.family, addr.String())
			if err != nil {
				return err
			}
			s.packets = c.(*net.UDPConn)
			_ = s.packets.SetReadBuffer(receiveBuffer) // the system may allow less
			s.addr = addrPortOf(c.LocalAddr())
		} else {
			l, err := by.Listen(ctx, "tcp"+s.family, addr.String())
			if err != nil {
				return err
			}
			s.accepts = l.(*net.TCPListener)
			s.addr = addrPortOf(l.Addr())
		}
		addr = netip.AddrPortFrom(addr.Addr(), s.addr.Port())
	}
	return nil
}

// family narrows the network to one address family, "" for what the address
// itself says. [::] takes IPv4 too, unless another place has that.
func (p place) family(all []place) string {
	switch ip := p.addr.Addr(); {
	case ip.Is4():
		return "4"
	case !ip.IsUnspecified():
		return "6"
	}
	for _, other := range all {
		if ip := other.addr.Addr(); ip.Is4() && ip.IsUnspecified() && other.addr.Port() == p.addr.Port() {
			return "6"
		}
	}
	return ""
}

// serves tells whether a trunk is spoken to at this socket. One that names its
// own address is spoken to there only, and one that is secure never in clear.
func (s *socket) serves(t *trunk) bool {
	if t.over.secure() && !s.over.secure() {
		return false
	}
	if t.Listen != "" {
		return slices.Contains(t.sockets, s)
	}
	return !s.private
}

// fit says how well an address can be reached from here: 0 not at all.
func (s *socket) fit(peer netip.Addr) int {
	own := s.addr.Addr()
	switch {
	case !s.both && own.Is4() != peer.Is4():
		return 0
	case own.IsLoopback() && !peer.IsLoopback():
		return 1
	case own.IsLoopback():
		return 3
	}
	return 2
}

// socketFor finds where messages to a peer of a trunk leave from, or, of
// transports with connections, where the peer can connect to. It returns nil
// if the agent does not listen for that transport and address family.
func (a *Agent) socketFor(t *trunk, over transport, peer netip.Addr) *socket {
	var best *socket
	top := 0
	for _, s := range a.sockets {
		if s.over != over || !s.serves(t) {
			continue
		}
		if fit := s.fit(peer); fit > top {
			best, top = s, fit
		}
	}
	return best
}

// datagramsTo is the UDP flow to a peer of a trunk.
func (a *Agent) datagramsTo(t *trunk, peer netip.AddrPort) (*datagrams, error) {
	s := a.socketFor(t, overUDP, peer.Addr())
	if s == nil {
		return nil, fmt.Errorf("send to trunk %q at %s: we listen on no UDP address from which it can be reached (add one to sip.listen)", t.Name, peer)
	}
	return &datagrams{agent: a, trunk: t, socket: s, peer: peer}, nil
}

// lastWords tells the end of a listener that was closed from one that failed.
func (a *Agent) lastWords(s *socket, err error) error {
	if errors.Is(err, net.ErrClosed) || a.base.Err() != nil {
		return nil
	}
	return fmt.Errorf("listen for SIP over %v on %s: %w", s.over, s.addr, err)
}
