package sip

import (
	"context"
	"net/netip"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

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
		to = l.whence(over)
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

// whence is where a peer is whose Contact leads nowhere: at the other end of what
// we have from it. The port of a connection that is gone leads nowhere either;
// then it is where the trunk has it.
func (l *Leg) whence(over transport) netip.AddrPort {
	current, was := l.flow.remote(), l.flow.transport()
	if over == was && l.flow.alive() {
		return current
	}
	for _, to := range l.trunk.known() {
		if to.over == over || !over.secure() && !to.over.webSocket() {
			return to.addr
		}
	}
	if over.secure() != was.secure() {
		return netip.AddrPortFrom(current.Addr(), over.port())
	}
	return current
}

// Of the TCP attempt that a large request makes on a UDP trunk. A firewall that
// swallows it must not delay every call.
const (
	upgradeTimeout = time.Second
	upgradePause   = 10 * time.Minute
)

// roomier finds the way for a request of this size: UDP if it fits into a
// datagram, and else TCP (RFC 3261 section 18.1.1). After an error it goes over
// UDP after all: a peer that takes no TCP only loses what TCP was to mend.
func (a *Agent) roomier(ctx context.Context, direct *datagrams, size int) (flow, error) {
	t, now := direct.trunk, a.cfg.Now()
	if size <= maxDatagramRequest || now.Unix() < t.noTCP.Load() {
		return direct, nil
	}
	short, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	s, err := a.connect(short, t, overTCP, direct.peer)
	if err == nil {
		return s, nil
	}
	if ctx.Err() == nil {
		t.noTCP.Store(now.Add(upgradePause).Unix())
		a.cfg.Logger.Warn("the peer takes no TCP: requests too large for one datagram go over UDP in fragments, which firewalls may drop",
			"trunk", t.Name, "bytes", size, "again", upgradePause, "error", err)
	}
	return nil, err
}

// fitting is the flow itself, or a roomier one for a request that is too large
// for it. It is for requests that have chosen their way already; a CANCEL takes
// that of its INVITE, and is small.
func (a *Agent) fitting(f flow, req *sipgo.Request) flow {
	const viaHeader = 150
	direct, ok := f.(*datagrams)
	if !ok || req.IsCancel() || len(req.Body()) == 0 && len(req.Headers()) < 20 {
		return f // the most are small, and need not be written to know it
	}
	if s, err := a.roomier(a.base, direct, len(encode(req))+viaHeader); err == nil {
		return s
	}
	return f
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
