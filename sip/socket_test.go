package sip

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"riptide/bridge"
	"riptide/sip/rtp"
	"riptide/sip/siptest"
)

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"127.0.0.1:5060":         "UDP TCP 127.0.0.1:5060",
		"[::1]:5060":             "UDP TCP [::1]:5060",
		"tls:0.0.0.0:5061":       "TLS 0.0.0.0:5061",
		"ws:[::]:80":             "WS [::]:80",
		"udp:[::ffff:1.2.3.4]:5": "UDP 1.2.3.4:5",
		"sctp:1.2.3.4:5060":      "",
		"1.2.3.4":                "",
		"host:5060":              "",
		"tls:":                   "",
		"":                       "",
	} {
		p, err := parsePlace(text)
		got := ""
		if err == nil {
			var words []string
			for _, over := range p.over {
				words = append(words, over.String())
			}
			got = strings.Join(append(words, p.addr.String()), " ")
		}
		if got != want {
			t.Errorf("%q: %q (%v), want %q", text, got, err, want)
		}
	}
}

// RFC 5630: whatever a peer writes into its Contact, sips stays off the clear
// wire, and so does a trunk that is secure.
func TestWay(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		param   string
		sips    bool
		current transport
		secure  bool
		want    transport // 0: refused
	}{
		{"", false, overUDP, false, overUDP},
		{"", false, overTCP, false, overTCP},
		{"udp", false, overTCP, false, overUDP},
		{"TCP", false, overUDP, false, overTCP},
		{"tls", false, overUDP, false, overTLS},
		{"sctp", false, overUDP, false, 0},
		{"", true, overUDP, false, overTLS},
		{"", true, overTCP, false, overTLS},
		{"tcp", true, overUDP, false, overTLS},
		{"ws", true, overUDP, false, overWSS},
		{"", true, overWSS, false, overWSS},
		{"udp", true, overUDP, false, 0},
		{"udp", true, overTLS, false, overTLS},
		{"", false, overTLS, true, overTLS},
		{"udp", false, overTLS, true, overTLS},
		{"tcp", false, overTLS, true, overTLS},
		{"ws", false, overWSS, true, overWSS},
		{"ws", false, overWS, false, overWS},
		{"udp", false, overWSS, true, overWSS},
	} {
		got, err := way(tc.param, tc.sips, tc.current, tc.secure)
		if got != tc.want || (err != nil) != (tc.want == 0) {
			t.Errorf("%+v: %v, %v", tc, got, err)
		}
	}
}

// pools are RTP ports on both loopbacks.
func pools(t *testing.T, c *Config) {
	t.Helper()
	six, err := rtp.NewPool(netip.IPv6Loopback(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.MoreMedia = []*rtp.Pool{six}
	c.Listen = []string{"127.0.0.1:0", "[::1]:0"}
}

// TestBothFamilies is a call over IPv6 to an agent that listens on IPv4 too: its
// Contact, Via and SDP name the address of the family that the peer speaks.
func TestBothFamilies(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "ipv6", "scripted")
	acc := newAcceptor()
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		siptest.Missing(t, "IPv6 on this machine (sysctl net.ipv6.conf.lo.disable_ipv6=0): %v", err)
	}
	_ = c.Close()
	a := startAgent(t, acc, Trunk{Match: append(loopbacks, netip.MustParsePrefix("::1/128"))}, func(c *Config) { pools(t, c) })
	for _, tc := range []struct {
		own  netip.Addr
		line string
	}{{loopback, "c=IN IP4 127.0.0.1"}, {netip.IPv6Loopback(), "c=IN IP6 ::1"}} {
		p := newPeerAt(t, tc.own)
		d := p.caller(a)
		d.to = a.socketFor(a.trunks[0], overUDP, tc.own).addr
		d.invite(strings.ReplaceAll(offerSDP(1, 40000), "IP4 127.0.0.1", tc.line[5:]))
		l := acc.next(t)
		if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
			t.Fatal(err)
		}
		ok := d.status(200, "INVITE")
		if !strings.Contains(string(ok.Body()), tc.line) {
			t.Errorf("SDP without %q:\n%s", tc.line, ok.Body())
		}
		if got := strings.Trim(ok.Contact().Address.Host, "[]"); got != tc.own.String() {
			t.Errorf("Contact host %s, want %s", got, tc.own)
		}
		d.learn(ok)
		d.ack("")
		end(t, p, l)
		if via := p.all[len(p.all)-1]; via.Via() == nil || via.Via().Host != tc.own.String() {
			t.Errorf("Via %v", via.Via())
		}
	}
}

// TestTrunkAtItsOwnAddress: two trunks with the same peers are told apart by
// where they are spoken to, and what a trunk is sent leaves from there.
func TestTrunkAtItsOwnAddress(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	p := newPeer(t)
	a := startAgent(t, acc, Trunk{Name: "first", Peer: p.addr().String()}, func(c *Config) {
		c.Trunks = append(c.Trunks, Trunk{Name: "second", Peer: p.addr().String(), Match: loopbacks, Listen: "127.0.0.2:0", Advertise: "127.0.0.3"})
	})
	own := a.byName["second"].sockets[0].addr
	if own.Addr() != netip.MustParseAddr("127.0.0.2") {
		t.Fatalf("listens on %s", own)
	}
	for _, tc := range []struct {
		trunk, shown string
		at           netip.AddrPort
	}{{"first", "127.0.0.1", a.Addr()}, {"second", "127.0.0.3", own}} {
		d := p.caller(a)
		d.to = tc.at
		d.invite(offerSDP(1, 40000))
		l := acc.next(t)
		if l.Info().Trunk != tc.trunk {
			t.Errorf("a call to %s is of trunk %s", tc.at, l.Info().Trunk)
		}
		if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
			t.Fatal(err)
		}
		ok := d.status(200, "INVITE")
		if c := ok.Contact().Address; c.Host != tc.shown || c.Port != int(tc.at.Port()) {
			t.Errorf("%s: Contact %s", tc.trunk, ok.Contact().Value())
		}
		if !strings.Contains(string(ok.Body()), "c=IN IP4 "+tc.shown) {
			t.Errorf("%s: SDP\n%s", tc.trunk, ok.Body())
		}
		d.learn(ok)
		d.ack("")
		end(t, p, l)

		out := intent
		out.Trunk = tc.trunk
		if l, err := a.Dial(ctx, out); err != nil {
			t.Fatal(err)
		} else {
			invite := p.request("INVITE")
			if v := invite.Via(); v.Host != tc.shown || v.Port != int(tc.at.Port()) {
				t.Errorf("%s: Via %s", tc.trunk, v.Value())
			}
			if got := p.lastSource(); got != tc.at {
				t.Errorf("%s: sent from %s, want %s", tc.trunk, got, tc.at)
			}
			p.to = tc.at
			p.respond(invite, 486, "Busy", "x", "")
			event(t, l, bridge.Ended)
			closed(t, l)
		}
	}
}
