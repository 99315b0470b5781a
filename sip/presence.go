package sip

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"riptide/sip/rtp"
)

// Presence is how one trunk is shown us, as far as that is known before a call.
type Presence struct {
	Trunk    string
	From     string   // where it is spoken to: transport, address and port
	Contact  string   // as in a call from "user"
	Via      string   // sent-by, without branch
	Media    string   // the connection address in SDP
	Warnings []string // why that will not do, with what mends it
}

// Present says what the trunks of a configuration will be shown, without opening
// anything. Names are looked up.
func Present(ctx context.Context, cfg Config) ([]Presence, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	a := &Agent{cfg: cfg, resolver: newResolver(cfg.DNS)}
	unresolved := map[string]error{}
	for _, t := range cfg.Trunks {
		tr, err := newTrunk(t)
		if err != nil {
			return nil, err
		}
		if tr.host != "" {
			if _, err := a.locate(ctx, tr); err != nil {
				unresolved[t.Name] = err
			}
		}
		a.trunks = append(a.trunks, tr)
	}
	sockets, err := planSockets(cfg.Listen, a.trunks)
	if err != nil {
		return nil, err
	}
	a.sockets, a.addr = sockets, sockets[0].addr
	if err := a.findHosts(ctx); err != nil {
		return nil, err
	}
	out := a.Presences()
	for i, p := range out {
		if err := unresolved[p.Trunk]; err != nil {
			out[i].Warnings = append(p.Warnings, err.Error())
		}
	}
	return out, nil
}

// Presences says what each trunk is shown.
func (a *Agent) Presences() []Presence {
	var out []Presence
	for _, t := range a.trunks {
		out = append(out, a.presence(t))
	}
	return out
}

func (a *Agent) presence(t *trunk) Presence {
	peers := t.whereabouts()
	first, over := peers[0], t.over
	if known := t.known(); len(known) > 0 {
		over = known[0].over
	}
	s := a.socketFor(t, over, first)
	r := reach{over: over, peers: peers}
	local := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if s != nil {
		local, r.bound = s.addr, s.addr.Addr()
	} else if other := a.socketFor(t, overUDP, first); other != nil {
		local = netip.AddrPortFrom(other.addr.Addr(), 0)
	}
	o := a.originFor(t, s, first, local)
	r.listens, r.host, r.media = s != nil, a.addressesOf(t, o.host), o.media
	f := &stream{over: over, shown: o}
	p := Presence{
		Trunk: t.Name, From: transports[over].key + ":" + sentBy(origin{host: local.Addr().String(), port: local.Port()}), Contact: contact("user", f, false).Value(),
		Via: "SIP/2.0/" + over.String() + " " + sentBy(o), Media: o.media.String(), Warnings: r.warnings(),
	}
	if w := a.certificateWarning(t, s, over, o.host); w != "" {
		p.Warnings = append(p.Warnings, w)
	}
	return p
}

// whereabouts are addresses at which the peer is, one at least: where it is
// called, or else one of each range that it calls from.
func (t *trunk) whereabouts() []netip.Addr {
	var out []netip.Addr
	for _, to := range t.known() {
		out = append(out, to.addr.Addr())
	}
	if len(out) == 0 {
		for _, p := range t.Match {
			addr := p.Addr()
			if p.Bits() == 0 && addr.Is4() {
				addr = somebody // "anywhere" is out there
			}
			out = append(out, addr)
		}
	}
	if len(out) == 0 {
		out = append(out, somebody)
	}
	return out
}

// somebody stands for a peer that may be anywhere in the Internet.
var somebody = netip.AddrFrom4([4]byte{1, 1, 1, 1})

// addressesOf is what a shown host means.
func (a *Agent) addressesOf(t *trunk, host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}
	}
	for _, v := range slices.Concat(t.advertised, a.advertised) {
		if v.host == host {
			return v.addrs
		}
	}
	return nil
}

// certificateWarning compares the certificate of a secure listener with the host
// that peers are told to connect to there (RFC 5922 section 7.4).
func (a *Agent) certificateWarning(t *trunk, s *socket, over transport, host string) string {
	if s == nil || !over.secure() {
		return ""
	}
	c, err := a.certificateFor(t)
	if err != nil || c == nil || c.Leaf == nil || certifies(c.Leaf, host) {
		return ""
	}
	return fmt.Sprintf("the certificate is valid for %s, not for %s, which Contact names: set advertise to a name it has", strings.Join(identities(c.Leaf), ", "), host)
}

// reach is what a peer and we know of each other's addresses.
type reach struct {
	over    transport
	listens bool         // for that transport, in the peer's address family
	bound   netip.Addr   // where
	host    []netip.Addr // what Via and Contact name
	media   netip.Addr   // what SDP names
	peers   []netip.Addr
}

// warnings say what the peer cannot reach from where it is.
func (r reach) warnings() []string {
	var out []string
	add := func(format string, args ...any) {
		if w := fmt.Sprintf(format, args...); !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	for _, peer := range r.peers {
		switch {
		case !r.listens && r.over == overUDP:
			add("no UDP address in sip.listen from which %s can be reached: add an %s one", peer, familyName(peer))
			continue
		case !r.listens && !r.over.webSocket():
			add("we do not listen for %v: the peer's requests only reach us over the connection that we make; add %s: to sip.listen", r.over, transports[r.over].key)
		case r.listens && r.bound.IsLoopback() && !peer.IsLoopback():
			add("%s cannot be reached from %s, where we listen: listen on an address of a network", peer, r.bound)
		}
		if len(r.host) > 0 && !slices.ContainsFunc(r.host, func(a netip.Addr) bool { return unreachable(a, peer) == "" }) {
			add("Contact and Via show %s, which is %s %s: set advertise to an address it can send to", r.host[0], unreachable(r.host[0], peer), peer)
		}
		if why := unreachable(r.media, peer); why != "" {
			add("SDP shows %s, which is %s %s: set advertise-media to an address it can send to", r.media, why, peer)
		}
	}
	return out
}

func familyName(addr netip.Addr) string {
	if addr.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// unreachable says why a peer cannot send to an address; "" if nothing is known
// against it.
func unreachable(shown, peer netip.Addr) string {
	switch {
	case !shown.IsValid(), shown.IsUnspecified():
		return "no address at all for"
	case shown.IsMulticast():
		return "a multicast address, not one of ours, for"
	case shown.Is4() != peer.Is4():
		return "an " + familyName(shown) + " address for the " + familyName(peer) + " peer"
	case shown.IsLoopback() && !peer.IsLoopback():
		return "this machine itself for"
	case shown.IsLinkLocalUnicast() && !peer.IsLinkLocalUnicast():
		return "known on one link only, and not to"
	case private(shown) && !private(peer) && !peer.IsLoopback() && !peer.IsLinkLocalUnicast():
		return "a private address for the public peer"
	}
	return ""
}

// shared is the space of carriers' NATs (RFC 6598), which is no more reachable
// from outside than that of RFC 1918 and RFC 4193.
var shared = netip.MustParsePrefix("100.64.0.0/10")

func private(addr netip.Addr) bool { return addr.IsPrivate() || shared.Contains(addr) }

// announce says at the start what each trunk will be shown: a wrong address is
// the commonest reason for calls without audio.
func (a *Agent) announce() {
	a.warnOfKeys()
	for _, p := range a.Presences() {
		a.cfg.Logger.Info("trunk is shown", "trunk", p.Trunk, "from", p.From, "contact", p.Contact, "via", p.Via, "sdp", p.Media)
		for _, w := range p.Warnings {
			a.cfg.Logger.Warn("the peer may not reach us", "trunk", p.Trunk, "why", w)
		}
	}
}

// poolFor finds the RTP ports for a leg whose signalling is at an address of
// ours: those of the same address, else of the family.
func (a *Agent) poolFor(own netip.Addr) *rtp.Pool {
	best := a.cfg.Media
	for _, p := range append([]*rtp.Pool{a.cfg.Media}, a.cfg.MoreMedia...) {
		switch {
		case p == nil:
		case p.Addr() == own:
			return p
		case best == nil || best.Addr().Is4() != own.Is4() && p.Addr().Is4() == own.Is4():
			best = p
		}
	}
	return best
}

// sentBy is the host and port of a Via. Of a connection that we make, the port
// is not known before.
func sentBy(o origin) string {
	host := o.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if o.port == 0 {
		return host
	}
	return host + ":" + portText(o.port)
}
