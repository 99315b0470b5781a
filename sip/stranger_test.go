package sip

import (
	"net"
	"net/netip"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// openAgent has a trunk whose users may come from anywhere, and a PBX at an
// address where nobody is.
func openAgent(t *testing.T, acc bridge.Acceptor) *Agent {
	t.Helper()
	tr := Trunk{Name: "phones", Match: []netip.Prefix{}}
	accepts(&tr)
	tr.Accept.Anywhere = true
	return startAgent(t, acc, Trunk{Name: "pbx", Match: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, func(c *Config) { c.Trunks = append(c.Trunks, tr) })
}

// overBoth runs a test over UDP and TCP.
func overBoth(t *testing.T, f func(t *testing.T, connect func(a *Agent) *peer)) {
	t.Run("udp", func(t *testing.T) {
		t.Parallel()
		f(t, func(*Agent) *peer { return newPeer(t) })
	})
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		f(t, func(a *Agent) *peer {
			conn, err := net.Dial("tcp", a.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			return newTCPPeer(t, conn)
		})
	})
}

// TestUsersAnywhere: a user at an address that no trunk knows registers, is
// called, calls, and hangs up.
func TestUsersAnywhere(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, connect func(a *Agent) *peer) {
		acc := newAcceptor()
		a := openAgent(t, acc)
		p := connect(a)
		d := p.caller(a)
		d.uri = "sip:" + a.Addr().String()
		d.local, d.remote = "<sip:alice@riptide.example>;tag=1", "<sip:alice@riptide.example>"
		if res := d.prove("REGISTER", "alice", "secret", "Contact: <sip:alice@10.0.0.1:5999>"); res.StatusCode != 200 {
			t.Fatal(res)
		}
		out := intent
		out.Trunk = "phones"
		l, err := a.Dial(ctx, out)
		if err != nil {
			t.Fatal(err)
		}
		p.respond(p.request("INVITE"), 486, "Busy Here", "b", "")
		event(t, l, bridge.Ended)
		closed(t, l)
		go func() {
			l := acc.next(t)
			_ = l.Answer(ctx, bridge.Answer{Media: pcma})
		}()
		d = p.caller(a)
		res := d.prove("INVITE", "alice", "secret")
		if res.StatusCode != 200 {
			t.Fatal(res)
		}
		d.learn(res)
		d.ack("")
		d.do("BYE", "")
		d.answer(200, "BYE")
	})
}

// TestStrangersHearLittle: on an open trunk, whoever knows no password is asked
// for one at most, and leaves nothing behind.
func TestStrangersHearLittle(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, connect func(a *Agent) *peer) {
		acc := newAcceptor()
		a := openAgent(t, acc)
		p := connect(a)
		for _, method := range []string{"OPTIONS", "SUBSCRIBE", "BYE", "CANCEL", "MESSAGE", "FOO"} {
			d := p.caller(a)
			d.do(method, "")
		}
		inDialog := p.caller(a)
		inDialog.remote += ";tag=guess"
		inDialog.do("OPTIONS", "")
		inDialog.do("INVITE", offerSDP(1, 40000))
		d := p.caller(a)
		d.invite(offerSDP(1, 40000))
		d.answer(401, "INVITE")
		if n := p.count(func(sipgo.Message) bool { return true }); n != 1 {
			t.Errorf("a stranger heard %d answers", n)
		}
		a.mu.Lock()
		boxes := len(a.boxes)
		a.mu.Unlock()
		if c := a.Counts(); boxes != 0 || c.Strangers != 8 {
			t.Errorf("%d mailboxes, %+v", boxes, c)
		}
		if res := p.caller(a).prove("INVITE", "alice", "guess"); res.StatusCode != 403 {
			t.Error(res)
		}
		if n := len(acc.legs); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

// TestStrangersAreAskedSeldom: a forged source is not sent more than a trickle,
// and who guesses has to wait.
func TestStrangersAreAskedSeldom(t *testing.T) {
	t.Parallel()
	now := dayOne
	g := &gate{now: func() time.Time { return now }, buckets: map[bucketKey]bucket{}}
	tr := &trunk{Trunk: Trunk{Accept: &Accept{Users: map[string]Password{"alice": "x"}, Anywhere: true}}}
	source := netip.MustParseAddrPort("203.0.113.9:5060")
	guesses := 0
	for range 1000 {
		if g.pass(tr, source, 1) == 0 {
			guesses++
			g.charge(tr, source, wrongCost)
		}
		now = now.Add(10 * time.Millisecond)
	}
	if guesses > 13 {
		t.Errorf("%d guesses in ten seconds", guesses)
	}
	if g.pass(tr, netip.MustParseAddrPort("203.0.113.10:5060"), 1) > 0 {
		t.Error("its neighbour has to wait, too")
	}
	tr.Rate = 5
	if g.pass(tr, netip.MustParseAddrPort("198.51.100.1:5060"), askedCost*tr.rateFor(source)) > 0 {
		t.Error("a trunk with a low rate asks nobody")
	}
}

// TestChallengeIsForOneAddress: a challenge that was sent to one address cannot
// be answered in the name of another.
func TestChallengeIsForOneAddress(t *testing.T) {
	t.Parallel()
	g := newGuard("r")
	g.uptime = func() time.Duration { return 0 }
	req := answerTo(t, g.challenges([]string{"MD5"}, false, loopback)[0], "alice", "x", 1)
	other := netip.MustParseAddr("203.0.113.9")
	for i, tc := range []struct {
		req         *sipgo.Request
		from        netip.Addr
		after       time.Duration
		tried, back bool
	}{
		{req, loopback, 0, true, true}, {req, netip.MustParseAddr("::ffff:127.0.0.1"), 0, true, true}, {req, other, 0, true, false},
		{req, loopback, nonceLife + time.Second, true, false},
		{sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{}), loopback, 0, false, false},
		{answerTo(t, newGuard("r").challenges([]string{"MD5"}, false, loopback)[0], "alice", "x", 1), loopback, 0, true, false},
	} {
		g.uptime = func() time.Duration { return tc.after }
		if tried, back := g.returned(tc.req, tc.from); tried != tc.tried || back != tc.back {
			t.Errorf("%d: tried %v, back %v", i, tried, back)
		}
	}
}

// TestStrangersTakeNoPlaces: connections of strangers leave room for trunks.
func TestStrangersTakeNoPlaces(t *testing.T) {
	t.Parallel()
	var p places
	addr := netip.MustParseAddr("203.0.113.1")
	for range maxStreams {
		for p.take(addr, true) {
		}
		addr = addr.Next()
	}
	if p.unknown != maxStrangers || p.all != maxStrangers {
		t.Errorf("%d strangers of %d connections", p.unknown, p.all)
	}
	if !p.take(netip.MustParseAddr("192.0.2.1"), false) {
		t.Error("no place for a trunk")
	}
	p.settle()
	if !p.take(addr, true) {
		t.Error("no place though one was settled")
	}
}
