package sip

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

var dayOne = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// answerTo is a request that answers a challenge.
func answerTo(t *testing.T, header sipgo.Header, user string, password Password, count uint32, change ...func(string) string) *sipgo.Request {
	t.Helper()
	c, err := parseChallenge(header.Value())
	if err != nil {
		t.Fatal(err)
	}
	req := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Scheme: "sip", User: "+12025550199", Host: "riptide.example"})
	value := c.answer(user, password, "INVITE", "sip:+12025550199@elsewhere;user=phone", "abc", count)
	for _, f := range change {
		value = f(value)
	}
	req.AppendHeader(sipgo.NewHeader("Authorization", value))
	return req
}

func replaced(from, to string) func(string) string {
	return func(s string) string { return strings.Replace(s, from, to, 1) }
}

func TestGuardJudges(t *testing.T) {
	t.Parallel()
	alice := &Accept{Users: map[string]Password{"alice": "secret"}, Algorithms: []string{"SHA-256", "MD5"}}
	g, other := newGuard("riptide.example"), newGuard("riptide.example")
	g.uptime = func() time.Duration { return 0 }
	ask := func(g *guard, name string) sipgo.Header {
		return g.challenges([]string{name}, false, loopback)[0]
	}
	for name, tc := range map[string]struct {
		req  *sipgo.Request
		at   time.Duration
		want verdict
	}{
		"MD5":              {answerTo(t, ask(g, "MD5"), "alice", "secret", 1), 0, proven},
		"SHA-256":          {answerTo(t, ask(g, "SHA-256"), "alice", "secret", 1), 0, proven},
		"session":          {answerTo(t, ask(g, "MD5-sess"), "alice", "secret", 1), 0, proven},
		"a high count":     {answerTo(t, ask(g, "MD5"), "alice", "secret", 900), 0, proven},
		"late":             {answerTo(t, ask(g, "MD5"), "alice", "secret", 1), 4 * time.Minute, proven},
		"too late":         {answerTo(t, ask(g, "MD5"), "alice", "secret", 1), 6 * time.Minute, stale},
		"of another life":  {answerTo(t, ask(other, "MD5"), "alice", "secret", 1), 0, stale},
		"wrong password":   {answerTo(t, ask(g, "MD5"), "alice", "guess", 1), 0, wrong},
		"unknown user":     {answerTo(t, ask(g, "MD5"), "bob", "secret", 1), 0, wrong},
		"no password":      {answerTo(t, ask(g, "MD5"), "alice", "", 1), 0, wrong},
		"other nonce":      {answerTo(t, ask(g, "MD5"), "alice", "secret", 1, replaced(`nonce="`, `nonce="A`)), 0, wrong},
		"other number":     {answerTo(t, ask(g, "MD5"), "alice", "secret", 1, replaced("+12025550199", "+19005550000")), 0, wrong},
		"other realm":      {answerTo(t, ask(g, "MD5"), "alice", "secret", 1, replaced(`realm="riptide`, `realm="r`)), 0, unproven},
		"auth-int":         {answerTo(t, ask(g, "MD5"), "alice", "secret", 1, replaced("qop=auth", "qop=auth-int")), 0, unproven},
		"count of nothing": {answerTo(t, ask(g, "MD5"), "alice", "secret", 0), 0, unproven},
		"nothing":          {sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Scheme: "sip"}), 0, unproven},
	} {
		g.uptime = func() time.Duration { return tc.at }
		if _, got := g.judge(tc.req, alice); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// TestGuardTakesWhatItOffered: a trunk without MD5 does not take MD5, also not by
// its other names.
func TestGuardTakesWhatItOffered(t *testing.T) {
	t.Parallel()
	g := newGuard("r")
	for _, tc := range []struct {
		answered string
		offered  []string
		want     verdict
	}{
		{"MD5", []string{"SHA-256"}, unproven}, {"MD5-sess", []string{"SHA-256", "SHA-512-256"}, unproven}, {"SHA-256", []string{"MD5"}, unproven},
		{"SHA-256-sess", []string{"MD5", "SHA-256"}, proven}, {"md5", []string{"MD5"}, proven}, {"SHA-512-256", []string{"SHA-512-256"}, proven},
	} {
		accept := &Accept{Users: map[string]Password{"alice": "secret"}, Algorithms: tc.offered}
		ask := g.challenges([]string{tc.answered}, false, loopback)[0]
		if _, got := g.judge(answerTo(t, ask, "alice", "secret", 1), accept); got != tc.want {
			t.Errorf("%s where %v is offered: %d, want %d", tc.answered, tc.offered, got, tc.want)
		}
	}
	ask := sipgo.NewHeader("x", strings.Replace(g.challenges([]string{"MD5"}, false, loopback)[0].Value(), ", algorithm=MD5", "", 1))
	accept := &Accept{Users: map[string]Password{"alice": "secret"}, Algorithms: []string{"SHA-256"}}
	if _, got := g.judge(answerTo(t, ask, "alice", "secret", 1), accept); got != unproven {
		t.Errorf("no algorithm, which is MD5, where SHA-256 is offered: %d", got)
	}
}

// TestGuardReplay: a count is good once, whatever the order, and only so far
// behind the highest.
func TestGuardReplay(t *testing.T) {
	t.Parallel()
	g := newGuard("r")
	alice := &Accept{Users: map[string]Password{"alice": "secret"}, Algorithms: []string{"SHA-256", "MD5"}}
	ask := g.challenges([]string{"SHA-256"}, false, loopback)[0]
	for i, tc := range []struct {
		count uint32
		want  verdict
	}{{1, proven}, {1, stale}, {3, proven}, {2, proven}, {2, stale}, {3, stale}, {70, proven}, {6, stale}, {7, proven}, {7, stale}, {4000, proven}, {70, stale}} {
		if _, got := g.judge(answerTo(t, ask, "alice", "secret", tc.count), alice); got != tc.want {
			t.Errorf("%d: count %d: %d, want %d", i, tc.count, got, tc.want)
		}
	}
	old := func(s string) string { // as RFC 2069 has it
		return strings.Replace(s, `, qop="auth"`, "", 1)
	}
	once := sipgo.NewHeader("x", old(g.challenges([]string{"MD5"}, false, loopback)[0].Value()))
	for i, want := range []verdict{proven, stale} {
		if _, got := g.judge(answerTo(t, once, "alice", "secret", 0), alice); got != want {
			t.Errorf("without qop, time %d: %d, want %d", i, got, want)
		}
	}
}

// TestGuardStaysSmall: however many nonces are used, few are remembered, and
// none that was forgotten can be used again.
func TestGuardStaysSmall(t *testing.T) {
	t.Parallel()
	g := newGuard("r")
	alice := &Accept{Users: map[string]Password{"alice": "secret"}, Algorithms: []string{"SHA-256", "MD5"}}
	var now time.Duration
	g.uptime = func() time.Duration { return now }
	var spent []*sipgo.Request
	for i := range 3 * maxNonces {
		now += time.Duration(rand.IntN(20)) * time.Millisecond
		req := answerTo(t, g.challenges([]string{"MD5"}, false, loopback)[0], "alice", "secret", 1)
		if _, v := g.judge(req, alice); v != proven {
			t.Fatalf("nonce %d: %d", i, v)
		}
		if len(g.used) > maxNonces+1 {
			t.Fatalf("%d nonces are remembered", len(g.used))
		}
		if i%97 == 0 {
			spent = append(spent, req)
		}
	}
	for i, req := range spent {
		if _, v := g.judge(req, alice); v != stale {
			t.Fatalf("replay %d: %d", i, v)
		}
	}
}

// TestLoginAfterTheClockIsSetBack: with so many logins that nonces have been
// forgotten, new ones are good all the same, and old ones are not good again.
func TestLoginAfterTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	var back atomic.Int64
	a, p, d := registrar(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
	})
	alice := &Accept{Users: map[string]Password{"alice": "secret"}, Algorithms: []string{"MD5"}}
	var now atomic.Int64
	a.guard.uptime = func() time.Duration { return time.Duration(now.Load()) }
	var old *sipgo.Request
	for range maxNonces + 1 {
		now.Add(int64(20 * time.Millisecond))
		old = answerTo(t, a.guard.challenges(alice.Algorithms, false, loopback)[0], "alice", "secret", 1)
		if _, v := a.guard.judge(old, alice); v != proven {
			t.Fatalf("verdict %d", v)
		}
	}
	back.Store(int64(time.Hour))
	if _, v := a.guard.judge(old, alice); v != stale {
		t.Errorf("a replay: %d", v)
	}
	if res := d.prove("REGISTER", "alice", "secret", "Contact: <sip:alice@"+p.addr().String()+">"); res.StatusCode != 200 {
		t.Errorf("%s", res)
	}
}

func TestCountsTake(t *testing.T) {
	t.Parallel()
	var n counts
	seen := map[uint32]bool{}
	for range 10000 {
		c := uint32(1 + rand.IntN(300))
		got := n.take(c)
		if got && seen[c] {
			t.Fatalf("count %d was taken twice", c)
		}
		seen[c] = seen[c] || got
	}
}
