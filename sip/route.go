package sip

import "net/netip"

// route finds the way for a request in a dialog. A connection that lives is
// used whatever port the Contact names. Contacts outside the trunk (a private
// address behind NAT, a name) are not followed: we go where the peer's messages
// come from, which is also where its answers may come from.
func (l *Leg) route(d *dialog) (flow, error) {
	host, port, param := d.nextHop()
	over, err := way(param, d.sips(), l.flow.transport(), l.trunk.over.secure())
	if err != nil {
		return nil, err
	}
	current := l.flow.remote()
	to, ok := hostPort(host, port, over)
	if ok {
		_, ok = l.trunk.owns(to)
	}
	if !ok {
		to = current
		if over.secure() && !l.flow.transport().secure() {
			to = netip.AddrPortFrom(current.Addr(), over.port())
		}
	}
	if over == overUDP {
		if f, ok := l.flow.(*datagrams); ok {
			return f.to(to), nil
		}
		return l.agent.datagramsTo(l.trunk, to)
	}
	if over == l.flow.transport() && l.flow.alive() && (to.Addr() == current.Addr() || over.webSocket()) {
		return l.flow, nil
	}
	s, err := l.agent.connect(l.agent.base, l.trunk, over, to)
	if err != nil {
		return nil, err
	}
	l.flow = s
	return s, nil
}

// hostPort turns a URI's host and port into an address, if the host is one.
func hostPort(host string, port int, over transport) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(host)
	if err != nil || port < 0 || port > 65535 {
		return netip.AddrPort{}, false
	}
	if port == 0 {
		port = int(over.port())
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), true
}
