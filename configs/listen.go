package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Listen is where SIP is listened for: an address and port for UDP and TCP, or
// for one transport only.
type Listen struct {
	Transport string // "udp", "tcp", "tls", "ws" or "wss"; "" = UDP and TCP
	Addr      netip.AddrPort
}

// sipTransports are those that we have.
var sipTransports = []string{"udp", "tcp", "tls", "ws", "wss"}

func (l Listen) String() string {
	if !l.Addr.IsValid() {
		return ""
	}
	if l.Transport == "" {
		return l.Addr.String()
	}
	return l.Transport + ":" + l.Addr.String()
}

// MarshalText is String.
func (l Listen) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads "192.0.2.10:5060" and "tls:192.0.2.10:5061".
func (l *Listen) UnmarshalText(b []byte) error {
	word, rest, _ := strings.Cut(string(b), ":")
	var found Listen
	if contains(sipTransports, word) {
		found.Transport = word
	} else {
		rest = string(b)
	}
	addr, err := netip.ParseAddrPort(rest)
	if err != nil {
		return mistake("not an IP address and port", "write both, as in 127.0.0.1:5060 or [::1]:5060, and before them the transport if it is not UDP and TCP, as in tls:0.0.0.0:5061; 0.0.0.0 stands for every address")
	}
	found.Addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	*l = found
	return nil
}

// Host is the name or address of a host.
type Host string

// MarshalText is the name.
func (h Host) MarshalText() ([]byte, error) { return []byte(h), nil }

// UnmarshalText reads a DNS name or an IP address.
func (h *Host) UnmarshalText(b []byte) error {
	s := string(b)
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil && !isHost(s):
		return mistake("neither an IP address nor a host name", "write it as 203.0.113.5 or sip.example.net, without a port")
	case addr.IsUnspecified() || addr.IsMulticast():
		return mistake("no address that a peer can send to", "write the one at which the peer reaches this box")
	}
	*h = Host(strings.ToLower(s))
	return nil
}

// fill gives keys that were not written the defaults that follow from others.
func (s *SIP) fill(trunks []Trunk) {
	if len(s.Listen) == 0 {
		s.Listen = []Listen{{Addr: netip.MustParseAddrPort("127.0.0.1:5060")}}
	}
	if len(s.Media.Address) > 0 {
		return
	}
	add := func(addr netip.Addr) {
		if !slices.Contains(s.Media.Address, addr) {
			s.Media.Address = append(s.Media.Address, addr)
		}
	}
	places := slices.Clone(s.Listen)
	for _, t := range trunks {
		if t.SIP != nil {
			places = append(places, t.SIP.Listen)
		}
	}
	for _, l := range places {
		if l.Addr.IsValid() {
			add(l.Addr.Addr())
		}
	}
	for _, l := range places {
		if l.Addr.Addr() == netip.IPv6Unspecified() {
			add(netip.IPv4Unspecified()) // [::] takes both
		}
	}
}

func (d *decoder) checkSIP(s *SIP) {
	if len(s.Advertise) == 0 {
		for i, l := range s.Listen {
			if l.Addr.IsValid() && l.Addr.Addr().IsUnspecified() {
				d.problem(fmt.Sprintf("sip.listen[%d]", i), "listens on every address, but peers must be told one", "add sip.advertise: the address at which peers reach this box")
				break
			}
		}
	}
	for i, addr := range s.Advertise {
		if addr.IsUnspecified() || addr.IsMulticast() {
			d.problem(fmt.Sprintf("sip.advertise[%d]", i), addr.String()+" is no address a peer can send to", "write the address at which peers reach this box")
		}
	}
	for i, addr := range s.Media.Address {
		if addr.IsMulticast() {
			d.problem(fmt.Sprintf("sip.media.address[%d]", i), "a multicast address", "write one of this box's own addresses")
		}
	}
	d.oneOfEach("sip.advertise", s.Advertise)
}

// oneOfEach finds a second address of the same family.
func (d *decoder) oneOfEach(key string, addrs []netip.Addr) {
	for i, addr := range addrs {
		for _, before := range addrs[:i] {
			if addr.IsValid() && before.IsValid() && addr.Is4() == before.Is4() {
				d.problem(fmt.Sprintf("%s[%d]", key, i), "a second address of the same family", "keep one IPv4 and one IPv6 address at most; a trunk that needs another has its own key advertise")
				return
			}
		}
	}
}

// Say is the address and what is spoken there.
func (l Listen) Say() string {
	if l.Transport == "" {
		return l.Addr.String() + " (UDP and TCP)"
	}
	return l.Addr.String() + " (" + strings.ToUpper(l.Transport) + ")"
}
