package sip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy/stir"
)

// verdicts is a Verifier that says what the header says.
type verdicts struct{}

func (verdicts) VerifyIdentities(_ context.Context, headers []string, c stir.Call, now time.Time) stir.Found {
	found := stir.Found{Verdict: stir.Verdict{Status: stir.Status(headers[0]), Reason: "because"}}
	if c.From != "+12025550100" || c.To != "+12025550199" || now.IsZero() {
		found.Verdict = stir.Verdict{Status: stir.Invalid, Reason: "asked about another call"}
	}
	return found
}

func TestIdentityPolicy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		trunk   Trunk
		headers []string
		want    int // 0: accepted
		verdict stir.Status
	}{
		"valid":                  {Trunk{}, []string{"Identity: valid"}, 0, stir.Valid},
		"compact name":           {Trunk{RequireIdentity: true}, []string{"y: valid"}, 0, stir.Valid},
		"missing":                {Trunk{}, nil, 0, stir.Missing},
		"missing but required":   {Trunk{RequireIdentity: true}, nil, 428, ""},
		"invalid":                {Trunk{}, []string{"Identity: identity-invalid"}, 438, ""},
		"certificate elsewhere":  {Trunk{}, []string{"Identity: identity-info-unavailable"}, 436, ""},
		"unsupported":            {Trunk{}, []string{"Identity: identity-credential-unsupported"}, 437, ""},
		"stale":                  {Trunk{}, []string{"Identity: identity-stale"}, 403, ""},
		"stale but tolerated":    {Trunk{AllowUnverified: true}, []string{"Identity: identity-stale"}, 0, stir.Stale},
		"anonymous":              {Trunk{}, []string{"Privacy: id"}, 433, ""},
		"anonymous is tolerated": {Trunk{AllowAnonymous: true}, []string{"Privacy: id"}, 0, stir.Missing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			a := startAgent(t, acc, tc.trunk, func(c *Config) { c.Verifier = verdicts{} })
			d := newPeer(t).caller(a)
			d.invite(offerSDP(1, 40000), tc.headers...)
			if tc.want == 0 {
				l := acc.next(t)
				if got := l.Info().Identity.Verdict.Status; got != tc.verdict {
					t.Errorf("verdict %q, want %q", got, tc.verdict)
				}
				if err := l.End(ctx, bridge.CauseDeclined); err != nil {
					t.Fatal(err)
				}
				tc.want = 603
			}
			d.ackRefusal(d.status(tc.want, "INVITE"))
		})
	}
}

func TestAdmitHook(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{}, func(c *Config) {
		c.Admit = func(trunk string, source netip.AddrPort) error {
			if trunk != "pbx" || source.Addr() != loopback {
				return errors.New("asked about somebody else")
			}
			return bridge.Cause{Code: "rate-limited"}
		}
	})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	d.ackRefusal(d.status(503, "INVITE"))
}

func TestOfferWithNothingForUs(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	d := newPeer(t).caller(a)
	d.invite(strings.Replace(offerSDP(1, 40000), "8 0 101", "18 4", 1))
	res := d.status(488, "INVITE")
	if v := headerValues(res, "Warning"); len(v) != 1 || !strings.HasPrefix(v[0], "305 127.0.0.1:") {
		t.Errorf("Warning %v", v)
	}
	d.ackRefusal(res)
}

func TestMergedRequest(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	l := acc.next(t)
	first := d.branch
	d.branch = newBranch()
	d.send(d.make("INVITE", d.seq, d.branch, offerSDP(1, 40000))) // the same call over another proxy
	d.ackRefusal(d.status(482, "INVITE"))
	d.branch = first
	if err := l.End(ctx, bridge.CauseBusy); err != nil {
		t.Fatal(err)
	}
	d.ackRefusal(d.status(486, "INVITE"))
}

// A repeated INVITE gets the last answer again, and makes no second call.
func TestRepeatedInvite(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	l := acc.next(t)
	if err := l.Progress(ctx, bridge.Progress{Alerting: true}); err != nil {
		t.Fatal(err)
	}
	d.status(180, "INVITE")
	d.send(d.make("INVITE", d.seq, d.branch, offerSDP(1, 40000)))
	d.status(180, "INVITE")
	if len(acc.legs) != 0 {
		t.Error("two calls of one INVITE")
	}
	if err := l.End(ctx, bridge.CauseBusy); err != nil {
		t.Fatal(err)
	}
	d.ackRefusal(d.status(486, "INVITE"))
}

// A peer without rport is answered at the port its Via names.
// RFC 3261 section 7.5: line ends before the start line are ignored, on UDP too.
func TestLineEndsBeforeMessage(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	p := newPeer(t)
	d := p.caller(a)
	d.seq++
	d.send("\r\n\r\n" + d.make("OPTIONS", d.seq, newBranch(), ""))
	d.status(200, "OPTIONS")
	if n := a.Counts().Malformed; n != 0 {
		t.Errorf("%d malformed", n)
	}
}

func TestAnswerGoesWhereViaSays(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	sender, receiver := newPeer(t), newPeer(t)
	sender.to = a.Addr()
	d := receiver.caller(a)
	sender.send(strings.Replace(d.make("OPTIONS", 1, newBranch(), ""), ";rport", "", 1))
	receiver.status(200, "OPTIONS")
}

// Contacts behind NAT name addresses that lead nowhere.
func TestContactOutsideTheTrunkIsNotFollowed(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	d.learn(d.status(200, "INVITE"))
	d.ack("")
	d.seq++
	d.send(strings.Replace(d.make("UPDATE", d.seq, newBranch(), ""), "Contact: <sip:peer@127.0.0.1", "Contact: <sip:peer@192.0.2.1", 1))
	d.answer(200, "UPDATE")
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	bye := d.request("BYE")
	if bye.Recipient.Host != "192.0.2.1" {
		t.Errorf("the Request-URI is still the peer's Contact, not %s", bye.Recipient.String())
	}
	d.respond(bye, 200, "OK", "", "")
	closed(t, l)
}

// A TCP peer that reconnects gets the answers and requests it is owed.
func TestConnectionLostDuringCall(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	a := startAgent(t, acc, Trunk{Peer: ln.Addr().String()})
	conn, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := newTCPPeer(t, conn).caller(a)
	d.headers = []string{"Record-Route: <sip:" + ln.Addr().String() + ";transport=tcp;lr>"}
	l := establish(t, acc, d)
	d.do("INFO", "")
	d.answer(200, "INFO")
	_ = conn.Close()
	again := make(chan net.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			again <- c
		}
	}()
	time.Sleep(100 * time.Millisecond) // until the loss is noticed; else the BYE goes into the void, as TCP has it
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	p := newTCPPeer(t, <-again)
	bye := p.request("BYE")
	if bye.Via().Transport != "TCP" {
		t.Errorf("%s", bye)
	}
	p.respond(bye, 200, "OK", "", "")
	closed(t, l)
}

// A peer behind NAT whose connection is gone is reached where the trunk has it:
// its Contact leads nowhere, and so does the port that it had.
func TestConnectionLostBehindNAT(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	a := startAgent(t, acc, Trunk{Peer: ln.Addr().String()})
	conn, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d := newTCPPeer(t, conn).caller(a)
	d.headers = []string{"Record-Route: <sip:10.9.9.9;transport=tcp;lr>"}
	l := establish(t, acc, d)
	d.do("INFO", "")
	d.answer(200, "INFO")
	_ = conn.Close()
	again := make(chan net.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			again <- c
		}
	}()
	time.Sleep(100 * time.Millisecond) // until the loss is noticed
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	p := newTCPPeer(t, <-again)
	p.respond(p.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}

// emiago/sipgo#361: a BYE of ours was lost although the peer had come back over
// a new connection.
func TestPeerReconnectsDuringCall(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	connect := func() *peer {
		conn, err := net.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return newTCPPeer(t, conn)
	}
	first := connect()
	d := first.caller(a)
	l := establish(t, acc, d)
	d.do("INFO", "")
	d.answer(200, "INFO")
	_ = first.conn.Close()
	d.peer = connect()
	d.do("INFO", "")
	d.answer(200, "INFO")
	end(t, d.peer, l)
}

func TestShutdownEndsEveryCall(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	p := newPeer(t)
	up := p.caller(a)
	talking := establish(t, acc, up)
	up.do("INFO", "")
	up.answer(200, "INFO")
	ringing := p.caller(a)
	ringing.invite(offerSDP(1, 40000))
	waiting := acc.next(t)
	done := make(chan error, 1)
	go func() {
		limit, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		done <- a.Shutdown(limit)
	}()
	bye := p.request("BYE")
	if v := strings.Join(headerValues(bye, "Reason"), "|"); !strings.Contains(v, "SIP;cause=503") {
		t.Errorf("Reason: %s", v)
	}
	p.respond(bye, 200, "OK", "", "")
	if err := <-done; err != nil {
		t.Error(err)
	}
	// It may have come before the BYE.
	await(t, "a 503 to the call that rang", func() bool {
		return p.count(func(m sipgo.Message) bool { return isStatus(m, 503, "INVITE") }) > 0
	})
	closed(t, talking)
	closed(t, waiting)
	if _, err := a.Dial(ctx, intent); err == nil {
		t.Error("an agent that is down dials")
	}
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Listen[0] = "nonsense" }, "want address:port"},
		{func(c *Config) { c.Listen[0] = "0.0.0.0:0" }, "advertise"},
		{func(c *Config) { c.Listen[0] = "192.0.2.77:5060" }, "not on this machine"},
		{func(c *Config) { c.Trunks = append(c.Trunks, c.Trunks[0]) }, "two SIP trunks"},
		{func(c *Config) { c.Trunks[0].Transport = "sctp" }, "use udp, tcp, tls"},
		{func(c *Config) { c.Trunks[0].Peer = "127.0.0.1:70000" }, "between 1 and 65535"},
		{func(c *Config) { c.Trunks[0].Match, c.Trunks[0].Peer = nil, "" }, "neither peer nor match"},
		{func(c *Config) { c.Trunks[0].Numbers.National = "0" }, "country code"},
	} {
		cfg := Config{Listen: []string{"127.0.0.1:0"}, Trunks: []Trunk{{Name: "pbx", Peer: "127.0.0.1"}}}
		tc.change(&cfg)
		if a, err := New(cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("want %q, got %v", tc.want, err)
			if a != nil {
				_ = a.Shutdown(ctx)
			}
		}
	}
}

func TestMailboxLimit(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	m := a.box("limit")
	block, served := make(chan struct{}), 0
	m.post(func() { <-block })
	for m.waiting() > 0 { // until the worker holds the first task
		runtime.Gosched()
	}
	for i := range maxQueued {
		if err := m.deliver(func() { served++ }, false); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := m.deliver(func() {}, false); !errors.Is(err, errFull) {
		t.Errorf("one past the limit: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- m.deliver(func() { served++ }, true) }()
	select {
	case err := <-waited:
		t.Errorf("a stream does not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(block)
	want := maxQueued
	if err := <-waited; err == nil {
		want++
	} else if !errors.Is(err, errOver) { // it died meanwhile: receive takes a new one
		t.Errorf("a stream waits: %v", err)
	}
	for a.mailboxes() > 0 {
		time.Sleep(time.Millisecond)
	}
	if served != want {
		t.Errorf("%d served, want %d", served, want)
	}
	if err := m.deliver(func() {}, false); !errors.Is(err, errOver) {
		t.Errorf("a mailbox with nothing to do lives: %v", err)
	}
}

func (m *mailbox) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue)
}

func (a *Agent) mailboxes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.boxes)
}
