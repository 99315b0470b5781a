package sip

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// zone is a DNS server on loopback that knows a few records.
type zone struct {
	addr string

	mu      sync.Mutex
	records map[string][]dns.RR // "name TYPE"
	asked   map[string]int
	dead    bool
}

func newZone(t *testing.T, records ...string) *zone {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{addr: pc.LocalAddr().String(), asked: map[string]int{}}
	z.set(t, records...)
	started := make(chan struct{})
	server := &dns.Server{PacketConn: pc, Handler: z, NotifyStartedFunc: func() { close(started) }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.ActivateAndServe(); err != nil {
			t.Errorf("DNS server: %v", err)
		}
	}()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return z
}

func (z *zone) set(t *testing.T, records ...string) {
	t.Helper()
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records = map[string][]dns.RR{}
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		key := rr.Header().Name + " " + dns.TypeToString[rr.Header().Rrtype]
		z.records[key] = append(z.records[key], rr)
	}
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	key := strings.ToLower(q.Question[0].Name) + " " + dns.TypeToString[q.Question[0].Qtype]
	z.asked[key]++
	res := new(dns.Msg)
	res.SetReply(q)
	if z.dead {
		res.Rcode = dns.RcodeServerFailure
	}
	res.Answer = z.records[key]
	_ = w.WriteMsg(res)
}

func TestLocate(t *testing.T) {
	t.Parallel()
	z := newZone(t,
		`carrier.example. 60 IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.carrier.example.`,
		`carrier.example. 60 IN NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.east.example.`,
		`carrier.example. 60 IN NAPTR 5 10 "u" "E2U+sip" "!^.*$!sip:x@y!" .`,
		`_sip._udp.carrier.example. 60 IN SRV 1 0 5080 one.carrier.example.`,
		`_sip._tcp.east.example. 30 IN SRV 2 0 5090 two.carrier.example.`,
		`_sip._tcp.east.example. 30 IN SRV 1 0 5091 one.carrier.example.`,
		`one.carrier.example. 60 IN A 192.0.2.1`,
		`two.carrier.example. 60 IN AAAA 2001:db8::2`,
		`two.carrier.example. 60 IN A 192.0.2.2`,
		`srv.example. 60 IN A 192.0.2.9`,
		`_sip._udp.srv.example. 600 IN SRV 1 0 5070 one.carrier.example.`,
		`none.example. 60 IN A 192.0.2.9`,
		`_sip._udp.none.example. 600 IN SRV 0 0 0 .`,
		`plain.example. 120 IN A 192.0.2.9`,
		`plain.example. 100 IN A 192.0.2.10`,
	)
	r := newResolver(z.addr)
	for _, tc := range []struct {
		host string
		port uint16
		over transport
		want string
		ttl  time.Duration
	}{
		{"192.0.2.7", 0, 0, "udp:192.0.2.7:5060", mostTTL},
		{"192.0.2.7", 0, overTLS, "tls:192.0.2.7:5061", mostTTL},
		{"2001:db8::7", 5070, overTCP, "tcp:[2001:db8::7]:5070", mostTTL},
		{"carrier.example", 0, 0, "tcp:192.0.2.1:5091 tcp:192.0.2.2:5090 tcp:[2001:db8::2]:5090 udp:192.0.2.1:5080", 30 * time.Second},
		{"carrier.example", 0, overUDP, "udp:192.0.2.1:5080", time.Minute},
		{"srv.example", 0, 0, "udp:192.0.2.1:5070", time.Minute},
		{"srv.example", 0, overTCP, "tcp:192.0.2.9:5060", time.Minute},
		{"srv.example", 5099, 0, "udp:192.0.2.9:5099", time.Minute},
		{"none.example", 0, overUDP, "udp:192.0.2.9:5060", time.Minute},
		{"plain.example", 0, 0, "udp:192.0.2.9:5060 udp:192.0.2.10:5060", 100 * time.Second},
		{"missing.example", 0, 0, "error", 0},
	} {
		l, err := r.locate(t.Context(), tc.host, tc.port, tc.over)
		if err != nil {
			if tc.want != "error" {
				t.Errorf("%s: %v", tc.host, err)
			}
			continue
		}
		var got []string
		for _, to := range l.targets(func(int) int { return 0 }) {
			got = append(got, to.String())
		}
		if strings.Join(got, " ") != tc.want || l.ttl != tc.ttl || len(l.all) != len(got) {
			t.Errorf("%s:%d over %d: %v for %v, want %s for %v", tc.host, tc.port, tc.over, got, l.ttl, tc.want, tc.ttl)
		}
	}
}

// TestDrawnByWeight: of servers with the same priority, those with more weight
// come first more often, and each comes once.
func TestDrawnByWeight(t *testing.T) {
	t.Parallel()
	l := &location{}
	for i, w := range []uint16{60, 30, 10, 0} {
		l.services = append(l.services, service{priority: 1, weight: w, over: overUDP, addrs: []netip.AddrPort{netip.AddrPortFrom(loopback, uint16(i+1))}})
	}
	l.services = append(l.services, service{priority: 2, weight: 100, over: overUDP, addrs: []netip.AddrPort{netip.AddrPortFrom(loopback, 5)}})
	l.settle()
	firsts := map[uint16]int{}
	pick := 0
	for range 10004 {
		targets := l.targets(func(n int) int { pick++; return pick * 7919 % n })
		seen := map[uint16]bool{}
		for _, to := range targets {
			seen[to.addr.Port()] = true
		}
		if len(targets) != 5 || len(seen) != 5 || targets[4].addr.Port() != 5 {
			t.Fatalf("%v", targets)
		}
		firsts[targets[0].addr.Port()]++
	}
	if firsts[1] < 5000 || firsts[1] > 7000 || firsts[2] < 2300 || firsts[3] < 500 || firsts[3] > firsts[2] || firsts[4] > 200 {
		t.Errorf("drawn first: %v", firsts)
	}
}

// named is an agent whose trunk is a name with several servers, in the order
// of their priorities.
func named(t *testing.T, addrs ...string) (*Agent, *zone) {
	t.Helper()
	var records []string
	for i, addr := range addrs {
		ap := netip.MustParseAddrPort(addr)
		records = append(records,
			fmt.Sprintf("_sip._udp.pbx.example. 60 IN SRV %d 0 %d h%d.pbx.example.", i, ap.Port(), i),
			fmt.Sprintf("h%d.pbx.example. 60 IN A %s", i, ap.Addr()))
	}
	z := newZone(t, records...)
	a := startAgent(t, newAcceptor(), Trunk{Peer: "pbx.example", Transport: "auto"}, func(c *Config) { c.DNS = z.addr })
	return a, z
}

// TestNextServer: a call goes on to the next server of a trunk when one does
// not take it: by 503, by an error of the network, by saying nothing. The one
// that failed comes last from then on.
func TestNextServer(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "failover", "scripted")
	for name, fail := range map[string]func(t *testing.T, p *peer){
		"503": func(t *testing.T, p *peer) { p.respond(p.request("INVITE"), 503, "Service Unavailable", "a", "") },
		"503 after trying": func(t *testing.T, p *peer) {
			inv := p.request("INVITE")
			p.respond(inv, 100, "Trying", "", "")
			p.respond(inv, 503, "Service Unavailable", "a", "")
		},
		"silence": func(t *testing.T, p *peer) { p.request("INVITE") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := newPeer(t), newPeer(t)
			a, _ := named(t, first.addr().String(), second.addr().String())
			first.to, second.to = a.Addr(), a.Addr()
			l, err := a.Dial(ctx, intent)
			if err != nil {
				t.Fatal(err)
			}
			fail(t, first)
			inv := second.request("INVITE")
			second.respond(inv, 200, "OK", "b", offerSDP(1, 41000))
			event(t, l, bridge.Answered)
			if ack := second.request("ACK"); ack.CSeq().SeqNo != inv.CSeq().SeqNo {
				t.Errorf("%s", ack)
			}
			first.mu.Lock()
			before := first.all[0].(*sipgo.Request)
			first.mu.Unlock()
			if inv.CallID().Value() != before.CallID().Value() || inv.From().Value() != before.From().Value() ||
				inv.CSeq().SeqNo != before.CSeq().SeqNo || inv.Via().Value() == before.Via().Value() {
				t.Errorf("not the same request over another branch (RFC 3263 section 4.3):\n%s\n%s", before, inv)
			}
			go func() { _ = l.End(ctx, bridge.CauseNormal) }()
			second.respond(second.request("BYE"), 200, "OK", "b", "")
			closed(t, l)
			// The next call knows.
			l, err = a.Dial(ctx, intent)
			if err != nil {
				t.Fatal(err)
			}
			second.respond(second.request("INVITE"), 486, "Busy Here", "b", "")
			event(t, l, bridge.Ended)
			closed(t, l)
		})
	}
}

// TestLateServer: a server that was given up and rings or answers after all is
// told that nobody is there.
func TestLateServer(t *testing.T) {
	t.Parallel()
	first, second := newPeer(t), newPeer(t)
	a, _ := named(t, first.addr().String(), second.addr().String())
	first.to, second.to = a.Addr(), a.Addr()
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	late := first.request("INVITE")
	inv := second.request("INVITE")
	first.respond(late, 180, "Ringing", "z", "")
	first.request("CANCEL")
	first.respond(late, 200, "OK", "z", offerSDP(1, 42000)) // it crossed
	first.request("ACK")
	first.respond(first.request("BYE"), 200, "OK", "z", "")
	second.respond(inv, 200, "OK", "b", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	go func() { _ = l.End(ctx, bridge.CauseNormal) }()
	second.respond(second.request("BYE"), 200, "OK", "b", "")
	closed(t, l)
}

// TestNoServerAfterRinging: a telephone that rings is not left for another.
func TestNoServerAfterRinging(t *testing.T) {
	t.Parallel()
	first, second := newPeer(t), newPeer(t)
	a, _ := named(t, first.addr().String(), second.addr().String())
	first.to = a.Addr()
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	inv := first.request("INVITE")
	first.respond(inv, 180, "Ringing", "a", "")
	event(t, l, bridge.Alerting)
	first.respond(inv, 503, "Service Unavailable", "a", "")
	if ev := event(t, l, bridge.Ended); ev.Cause.SIP != 503 {
		t.Errorf("%+v", ev.Cause)
	}
	closed(t, l)
	if n := second.count(func(sipgo.Message) bool { return true }); n != 0 {
		t.Errorf("the second server got %d messages", n)
	}
}

// TestFollowsDNS: a peer that moves is found again, and one whose DNS is out is
// called where it was.
func TestFollowsDNS(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "failover", "scripted")
	z := newZone(t, "pbx.example. 1 IN A 192.0.2.1")
	tr, err := newTrunk(Trunk{Name: "pbx", Peer: "pbx.example", Transport: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{resolver: newResolver(z.addr)}
	where := func() string {
		var all []string
		for _, to := range tr.targets() {
			all = append(all, to.String())
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	if ttl, err := a.locate(t.Context(), tr); err != nil || ttl != leastTTL || where() != "udp:192.0.2.1:5060" {
		t.Errorf("%v, %v: %s", ttl, err, where())
	}
	tr.failed(target{addr: netip.MustParseAddrPort("192.0.2.1:5060"), over: overUDP}, failure{why: "x"})
	z.set(t, "pbx.example. 1 IN A 192.0.2.2")
	if _, err := a.locate(t.Context(), tr); err != nil || where() != "udp:192.0.2.2:5060" || len(tr.standing.targets) != 0 {
		t.Errorf("%v: %s, %v", err, where(), maps.Keys(tr.standing.targets))
	}
	z.mu.Lock()
	z.dead = true
	z.mu.Unlock()
	if wait, err := a.locate(t.Context(), tr); err == nil || wait != retryTTL || where() != "udp:192.0.2.2:5060" {
		t.Errorf("%v, %v: %s", wait, err, where())
	}
}

// TestPeerWithoutName: an agent starts, and says why it cannot call, when a
// name does not resolve.
func TestPeerWithoutName(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	a := startAgent(t, newAcceptor(), Trunk{Peer: "gone.example"}, func(c *Config) { c.DNS = z.addr })
	if _, err := a.Dial(context.Background(), intent); err == nil || !strings.Contains(err.Error(), "gone.example") {
		t.Errorf("%v", err)
	}
}

func TestStanding(t *testing.T) {
	t.Parallel()
	one, two := target{addr: netip.MustParseAddrPort("192.0.2.1:5060"), over: overUDP}, target{addr: netip.MustParseAddrPort("192.0.2.2:5060"), over: overUDP}
	both := []target{one, two}
	order := func(s *standing, at time.Duration) string {
		got, err := s.order(both, dayOne.Add(at))
		if err != nil {
			return bridge.CauseOf(err).Text
		}
		return fmt.Sprint(got)
	}
	fail := func(s *standing, to target, at time.Duration, f failure) { s.fail(to, dayOne.Add(at), f) }
	s := &standing{}
	fail(s, one, 0, failure{why: "503", alive: true})
	if got := order(s, 0); got != "[udp:192.0.2.2:5060 udp:192.0.2.1:5060]" {
		t.Errorf("after a failure: %s", got)
	}
	if got := order(s, penaltyFirst); got != "[udp:192.0.2.1:5060 udp:192.0.2.2:5060]" {
		t.Errorf("after the penalty: %s", got)
	}
	for range 20 {
		fail(s, one, 0, failure{why: "503", alive: true})
	}
	if err := s.state(both, dayOne); err != nil {
		t.Errorf("a trunk that answers 503 is at rest: %v", err)
	}
	s = &standing{}
	for i := range breakerAfter {
		fail(s, both[i%2], 0, failure{why: "silence"})
	}
	if got := order(s, time.Second); !strings.Contains(got, "taken out of service for 9s after 5 failures in a row") || !strings.Contains(got, "silence") {
		t.Errorf("at rest: %s", got)
	}
	if got := order(s, breakerFirst); !strings.HasPrefix(got, "[") {
		t.Errorf("one call to see: %s", got)
	}
	if got := order(s, breakerFirst+time.Second); !strings.Contains(got, "one call is out") {
		t.Errorf("only one: %s", got)
	}
	fail(s, one, breakerFirst+time.Second, failure{why: "silence"})
	if err := s.state(both, dayOne.Add(2*breakerFirst+5*time.Second)); err == nil {
		t.Error("the second rest is no longer than the first")
	}
	if s.succeed(one); s.state(both, dayOne.Add(breakerFirst+2*time.Second)) != nil {
		t.Error("at rest after a success")
	}
}
