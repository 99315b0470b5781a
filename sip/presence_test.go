package sip

import (
	"net/netip"
	"strings"
	"testing"

	"riptide/sip/rtp"
)

// TestReach: what a peer is shown of us against where it is.
func TestReach(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name               string
		bound, host, media string
		peer               string
		want               string // part of the one warning; "" = none
	}{
		{"the same machine", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", ""},
		{"the same network", "192.168.1.2", "192.168.1.2", "192.168.1.2", "192.168.1.9", ""},
		{"another private network", "10.0.0.2", "10.0.0.2", "10.0.0.2", "192.168.1.9", ""},
		{"public to public", "203.0.113.5", "203.0.113.5", "203.0.113.5", "8.8.8.8", ""},
		{"public to private", "203.0.113.5", "203.0.113.5", "203.0.113.5", "10.0.0.9", ""},
		{"behind NAT, and said so", "10.0.0.2", "203.0.113.5", "203.0.113.5", "8.8.8.8", ""},
		{"private Contact", "10.0.0.2", "10.0.0.2", "203.0.113.5", "8.8.8.8", "Contact and Via show 10.0.0.2, which is a private address for the public peer 8.8.8.8: set advertise"},
		{"private SDP", "10.0.0.2", "203.0.113.5", "10.0.0.2", "8.8.8.8", "SDP shows 10.0.0.2, which is a private address for the public peer 8.8.8.8: set advertise-media"},
		{"behind a carrier's NAT", "100.64.0.2", "203.0.113.5", "100.64.0.2", "8.8.8.8", "SDP shows 100.64.0.2"},
		{"loopback in SDP", "192.168.1.2", "192.168.1.2", "127.0.0.1", "192.168.1.9", "this machine itself for 192.168.1.9"},
		{"bound to loopback", "127.0.0.1", "203.0.113.5", "203.0.113.5", "8.8.8.8", "8.8.8.8 cannot be reached from 127.0.0.1"},
		{"other family", "192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::9", "an IPv4 address for the IPv6 peer 2001:db8::9"},
		{"other family in SDP", "2001:db8::1", "2001:db8::1", "192.0.2.1", "2001:db8::9", "SDP shows 192.0.2.1, which is an IPv4 address"},
		{"unique local", "fd00::1", "fd00::1", "2001:db8::1", "2001:db8::9", "a private address"},
		{"link local", "fe80::1", "2001:db8::1", "fe80::1", "2001:db8::9", "known on one link only"},
		{"wildcard", "0.0.0.0", "192.0.2.1", "0.0.0.0", "192.0.2.9", "no address at all for"},
		{"multicast", "192.0.2.1", "192.0.2.1", "239.0.0.1", "192.0.2.9", "a multicast address"},
	} {
		r := reach{
			over: overUDP, listens: true, bound: netip.MustParseAddr(tc.bound), host: []netip.Addr{netip.MustParseAddr(tc.host)},
			media: netip.MustParseAddr(tc.media), peers: []netip.Addr{netip.MustParseAddr(tc.peer)},
		}
		got := r.warnings()
		switch {
		case tc.want == "" && len(got) > 0:
			t.Errorf("%s: %q", tc.name, got)
		case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
			t.Errorf("%s: %q, want one with %q", tc.name, got, tc.want)
		}
	}
	for over, want := range map[transport]string{overUDP: "no UDP address", overTLS: "only reach us over the connection", overWS: ""} {
		got := strings.Join(reach{over: over, peers: []netip.Addr{loopback}, host: []netip.Addr{loopback}, media: loopback}.warnings(), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("no listener for %v: %q, want %q", over, got, want)
		}
	}
}

// TestPresent: what `riptide check` says is what the agent then does.
func TestPresent(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	media := func(addr string) *rtp.Pool {
		p, err := rtp.NewPool(netip.MustParseAddr(addr), 20000, 20099)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	got, err := Present(ctx, Config{
		Listen: []string{"127.0.0.1:5060", "10.0.0.1:5060", "[2001:db8::1]:5060", "tls:10.0.0.1:5061"},
		Media:  media("127.0.0.1"), MoreMedia: []*rtp.Pool{media("10.0.0.1"), media("2001:db8::1")},
		Certificate: shows(ca.issue(nil, "sip.example.net")),
		Trunks: []Trunk{
			{Name: "pbx", Peer: "127.0.0.1:5080"},
			{Name: "lan", Peer: "10.0.0.9"},
			{Name: "six", Peer: "[2001:db8::9]:5060"},
			{Name: "carrier", Peer: "203.0.113.9", Transport: "tls", Advertise: "203.0.113.5"},
			{Name: "phones", Match: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
			{Name: "own", Peer: "10.0.0.9", Listen: "10.0.0.1:5070", AdvertiseMedia: netip.MustParseAddr("10.0.0.3")},
			{Name: "web", Peer: "10.0.0.10", Transport: "ws"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"pbx: udp:127.0.0.1:5060 <sip:user@127.0.0.1:5060> SIP/2.0/UDP 127.0.0.1:5060 127.0.0.1 0",
		"lan: udp:10.0.0.1:5060 <sip:user@10.0.0.1:5060> SIP/2.0/UDP 10.0.0.1:5060 10.0.0.1 0",
		"six: udp:[2001:db8::1]:5060 <sip:user@[2001:db8::1]:5060> SIP/2.0/UDP [2001:db8::1]:5060 2001:db8::1 0",
		"carrier: tls:10.0.0.1:5061 <sip:user@203.0.113.5:5061;transport=tls> SIP/2.0/TLS 203.0.113.5:5061 203.0.113.5 1",
		"phones: udp:10.0.0.1:5060 <sip:user@10.0.0.1:5060> SIP/2.0/UDP 10.0.0.1:5060 10.0.0.1 2",
		"own: udp:10.0.0.1:5070 <sip:user@10.0.0.1:5070> SIP/2.0/UDP 10.0.0.1:5070 10.0.0.3 0",
		"web: ws:10.0.0.1 <sip:user@10.0.0.1;transport=ws> SIP/2.0/WS 10.0.0.1 10.0.0.1 0",
	}
	for i, p := range got {
		line := strings.Join([]string{p.Trunk + ":", p.From, p.Contact, p.Via, p.Media, portText(uint16(len(p.Warnings)))}, " ")
		if i >= len(want) || line != want[i] {
			t.Errorf("%s\nwarnings %q", line, p.Warnings)
		}
	}
	if w := got[3].Warnings; len(w) != 1 || !strings.Contains(w[0], "valid for sip.example.net, not for 203.0.113.5") {
		t.Errorf("of the certificate: %q", w)
	}
}
