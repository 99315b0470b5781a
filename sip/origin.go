package sip

import (
	"context"
	"fmt"
	"net/netip"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/sip/rtp"
)

// origin is how a peer is shown us: what it must send to.
type origin struct {
	host  string // name or address, in Via, Contact and our URIs
	port  uint16
	media netip.Addr // in SDP
	pool  *rtp.Pool
}

// advertised is an address that peers are told instead of the one we have.
type advertised struct {
	host  string
	addrs []netip.Addr // what it means; one family or both
}

// advertise finds out what hosts to be shown mean.
func advertise(ctx context.Context, hosts ...string) ([]advertised, error) {
	var out []advertised
	for _, host := range hosts {
		addrs, err := resolve(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("advertise %q for SIP: %w", host, err)
		}
		out = append(out, advertised{host, addrs})
	}
	return out, nil
}

// of finds the address of a family.
func (v advertised) of(family netip.Addr) (netip.Addr, bool) {
	for _, addr := range v.addrs {
		if addr.Is4() == family.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// originFor is how a peer of a trunk is shown us when it is spoken to at s,
// which is nil where we do not listen for that transport: then the peer can
// only use the connection that we made, from local.
func (a *Agent) originFor(t *trunk, s *socket, peer netip.Addr, local netip.AddrPort) origin {
	own := local
	if s != nil {
		own = s.addr
	}
	if own.Addr().IsUnspecified() {
		own = netip.AddrPortFrom(local.Addr(), own.Port()) // of a connection, what the kernel chose
	}
	if s != nil && s.both && own.Addr().IsUnspecified() && peer.Is4() {
		own = netip.AddrPortFrom(netip.IPv4Unspecified(), own.Port())
	}
	o := origin{port: own.Port(), pool: a.poolFor(own.Addr())}
	shown := a.advertised
	if len(t.advertised) > 0 {
		shown = t.advertised
	}
	for _, v := range shown {
		if addr, ok := v.of(peer); ok {
			o.host, o.media = v.host, addr
			break
		}
	}
	switch {
	case o.host != "":
	case len(t.advertised) == 0 && !own.Addr().IsUnspecified():
		o.host, o.media = own.Addr().String(), own.Addr()
		if o.pool != nil && !o.pool.Addr().IsUnspecified() {
			o.media = o.pool.Addr()
		}
	case len(shown) > 0: // of the wrong family, which the check warns of
		o.host, o.media = shown[0].host, shown[0].addrs[0]
	}
	if t.AdvertiseMedia.IsValid() {
		o.media = t.AdvertiseMedia
	}
	return o
}

// originOf is how a trunk is shown us before there is a flow to it.
func (a *Agent) originOf(t *trunk) origin {
	peer := a.addr.Addr()
	if known := t.known(); len(known) > 0 {
		peer = known[0].addr.Addr()
	}
	s := a.socketFor(t, t.over, peer)
	if s == nil {
		s = a.sockets[0]
	}
	return a.originFor(t, s, peer, s.addr)
}

// via is the top Via of a request of ours. rport asks for the answer to come
// back the way the request went (RFC 3581).
func via(f flow, branch string) *sipgo.ViaHeader {
	o := f.self()
	v := &sipgo.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: f.transport().String(),
		Host: o.host, Port: int(o.port),
	}
	v.Params.Add("branch", branch)
	v.Params.Add("rport", "")
	if s, ok := f.(*stream); ok && s.lent {
		v.Params.Add("alias", "") // RFC 5923 section 5
	}
	return v
}

// contact is where in-dialog requests of the peer shall go. In a call that was
// set up with sips it is a sips URI (RFC 3261 section 12.1.1), whose transport
// needs no word where it is TLS (RFC 5630 section 3.1.4).
func contact(user string, f flow, sips bool) *sipgo.ContactHeader {
	o, over := f.self(), f.transport()
	u := sipgo.Uri{Scheme: "sip", User: user, Host: o.host, Port: int(o.port)}
	if sips && over.secure() {
		u.Scheme = "sips"
	}
	if over != overUDP && (u.Scheme == "sip" || over != overTLS) {
		u.UriParams.Add("transport", transports[over].param)
	}
	return &sipgo.ContactHeader{Address: u}
}
