package h3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

// pair is our client against our server.
type pair struct {
	*rig
	client *Client
	at     netip.AddrPort // of what stands before the server; the zero value: nothing
	before func(*Client)  // what is done before a client runs; nil: nothing
}

func newPair(t *testing.T, media string, changes ...func(*ServerConfig)) *pair {
	t.Helper()
	p := &pair{rig: newRig(t, changes...)}
	p.client = p.connect(media)
	return p
}

// connect runs a client of the rig's server.
func (p *pair) connect(carrier string, changes ...func(*TrunkConfig)) *Client {
	r, t := p.rig, p.t
	t.Helper()
	key, err := NewClientKey(r.key, keyID(r.key))
	must(t, err)
	trunk := TrunkConfig{
		Name: "telco", Connect: testAuthority, ClientID: testClient, Key: key, Roots: r.roots,
		Numbers: []policy.Pattern{"+1202555010x"}, Media: carrier, TG: "office",
	}
	for _, change := range changes {
		change(&trunk)
	}
	c, err := NewClient(ClientConfig{
		Store: store.NewMemory(), Logger: slog.New(slog.DiscardHandler), HandlerID: "node-1",
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
		Trunks: []TrunkConfig{trunk},
	})
	must(t, err)
	to := p.at // another client may have another way
	if !to.IsValid() {
		to = netip.MustParseAddrPort(r.server.Addr().String())
	}
	c.trunks["telco"].pool.cfg.Route = func(netip.AddrPort) netip.AddrPort { return to }
	if p.before != nil {
		p.before(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	awaitReady(t, c)
	return c
}

// intent is a call with a fresh PASSporT.
func (p *pair) intent() bridge.Intent {
	p.t.Helper()
	passport, err := p.client.Sign(p.t.Context(), "telco", testFrom, testTo, "A")
	must(p.t, err)
	in := testIntent()
	in.From, in.To, in.Passport, in.Trace = testFrom, testTo, passport, bridge.NewTrace()
	return in
}

func (p *pair) incoming() bridge.Leg {
	p.t.Helper()
	select {
	case leg := <-p.acceptor.legs:
		return leg
	case <-time.After(20 * time.Second):
		p.t.Fatal("the call does not arrive")
	}
	return nil
}

// dial places a call and returns both ends.
func (p *pair) dial() (out, in bridge.Leg) {
	p.t.Helper()
	out = mustDial(p.t, p.client, p.intent())
	return out, p.incoming()
}

var testPlan = bridge.MediaPlan{Speech: bridge.PCMA, Digits: true, ComfortNoise: true, Ptime: bridge.DefaultPtime}

// awaitKind reads on to an event of this kind.
func awaitKind(t testing.TB, leg bridge.Leg, kind bridge.EventKind) bridge.Event {
	t.Helper()
	for {
		if ev := nextEvent(t, leg); ev.Kind == kind {
			return ev
		} else if ev.Kind == bridge.Ended {
			t.Fatalf("the leg ended: %v", ev.Cause)
		}
	}
}

// TestClientAgainstServer: a whole call on each carrier, identity verified,
// heard in both directions, ended by either side.
func TestClientAgainstServer(t *testing.T) {
	t.Parallel()
	for carrier, name := range map[string]string{
		"auto": "trunk-session", "trunk": "trunk-session", "webtransport": "webtransport", "striped": "striped", "put-get": "put/get",
	} {
		t.Run(carrier, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, carrier)
			for _, weEnd := range []bool{true, false} {
				out, in := p.dial()
				info := in.Info()
				if info.From != testFrom || info.To != testTo || info.Identity.Verdict.Status != stir.Valid || info.Hops != 9 {
					t.Errorf("at the server: %+v", info)
				}
				must(t, in.Progress(t.Context(), bridge.Progress{Alerting: true, Early: &testPlan}))
				if ev := awaitKind(t, out, bridge.Alerting); ev.Plan == nil || ev.Plan.Speech != bridge.PCMA {
					t.Errorf("early media has plan %v", ev.Plan)
				}
				p.heard(out, in)
				must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
				if ev := awaitKind(t, out, bridge.Answered); ev.Plan == nil || !ev.Plan.Equal(testPlan) {
					t.Errorf("answered with plan %v", ev.Plan)
				}
				p.heard(out, in)
				p.carriedBy(out, name)
				ending, other := in, out
				if weEnd {
					ending, other = out, in
				}
				must(t, ending.End(t.Context(), bridge.CauseNormal))
				if ev := nextEvent(t, other); ev.Kind != bridge.Ended || ev.Cause.Code != "normal" {
					t.Errorf("the other side heard %v, %v", ev.Kind, ev.Cause)
				}
			}
		})
	}
}

// heard makes both ends hear each other.
func (p *pair) heard(a, b bridge.Leg) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	var atA, atB countingSink
	a.Media().Join(&atA)
	b.Media().Join(&atB)
	done := make(chan bool, 1)
	go func() { done <- speak(ctx, a.Media(), &atB, 3) }()
	if !speak(ctx, b.Media(), &atA, 3) || !<-done {
		p.t.Errorf("not heard: %+v and %+v", a.Media().Stats(), b.Media().Stats())
	}
}

// carriedBy waits until a leg's media is on the carrier.
func (p *pair) carriedBy(leg bridge.Leg, want string) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); leg.Media().Stats().Carrier != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("media is on %q, want %q", leg.Media().Stats().Carrier, want)
		}
	}
}

// TestServerRefuses: what the callee's side says arrives as it was said.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	for _, want := range []bridge.Cause{bridge.CauseBusy, bridge.CauseDeclined, bridge.CauseNoAnswer, bridge.CauseNotFound, bridge.CauseUnreachable} {
		out, in := p.dial()
		must(t, in.End(t.Context(), want.EndedBy(bridge.ByCallee)))
		for {
			ev := nextEvent(t, out)
			if ev.Kind != bridge.Ended {
				continue
			}
			wantSIP, _ := want.SIPStatus()
			if gotSIP, _ := ev.Cause.SIPStatus(); ev.Cause.Code != want.Code || gotSIP != wantSIP {
				t.Errorf("cause %v with SIP %d, want %s with %d", ev.Cause, gotSIP, want.Code, wantSIP)
			}
			break
		}
	}
	in := p.intent()
	in.To = "+13035550100"
	if _, err := p.client.Dial(t.Context(), in); !errors.Is(err, bridge.CauseDestination) {
		t.Errorf("outside the destinations: %v", err)
	}
	in = p.intent()
	in.Passport += "A"
	if _, err := p.client.Dial(t.Context(), in); !errors.Is(err, bridge.Cause{Code: "identity-invalid"}) {
		t.Errorf("a forged PASSporT: %v", err)
	}
}

// TestServerCancel: giving up before the answer reaches the callee.
func TestServerCancel(t *testing.T) {
	t.Parallel()
	p := newPair(t, "auto")
	out, in := p.dial()
	must(t, in.Progress(t.Context(), bridge.Progress{Alerting: true}))
	awaitKind(t, out, bridge.Alerting)
	must(t, out.End(t.Context(), bridge.Cause{Code: "cancelled"}.EndedBy(bridge.ByCaller)))
	if ev := nextEvent(t, in); ev.Kind != bridge.Ended || ev.Cause.Code != "cancelled" {
		t.Errorf("the callee's side heard %v, %v", ev.Kind, ev.Cause)
	}
}

// TestServerConnectionLost: a call outlives its connections, media included.
func TestServerConnectionLost(t *testing.T) {
	t.Parallel()
	p := newPair(t, "auto")
	out, in := p.dial()
	must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
	awaitKind(t, out, bridge.Answered)
	for range 2 {
		p.heard(out, in)
		pool := p.client.trunks["telco"].pool
		pool.mu.Lock()
		var conns []*conn
		for _, a := range pool.authorities {
			conns = append(conns, slices.Clone(a.conns)...)
		}
		pool.mu.Unlock()
		for _, c := range conns {
			c.close()
		}
	}
	p.heard(out, in)
	must(t, in.End(t.Context(), bridge.CauseNormal))
	if c := awaitEnded(t, out); c.Code != "normal" {
		t.Errorf("cause %v, want normal", c)
	}
}

func awaitEnded(t testing.TB, leg bridge.Leg) bridge.Cause {
	t.Helper()
	for {
		if ev := nextEvent(t, leg); ev.Kind == bridge.Ended {
			return ev.Cause
		}
	}
}

// TestOverTCP: the whole client where QUIC is blocked.
func TestOverTCP(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	roots, cert := testCA(t)
	ln, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p.tree()}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	p.Addr, p.Roots = ln.Addr().String(), roots // nothing answers UDP there
	c := p.client(t)
	leg := mustDial(t, c, testIntent())
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Await(t, eventPing)
	call.Say(Event{Type: eventAnswered})
	expect(t, leg, bridge.Answered, true)
	var up, down countingSink
	call.port.Join(&up)
	leg.Media().Join(&down)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if !speak(ctx, leg.Media(), &up, 3) || !speak(ctx, call.port, &down, 3) {
		t.Errorf("not heard: %+v", leg.Media().Stats())
	}
	if err := leg.End(ctx, bridge.CauseNormal); err != nil {
		t.Error(err)
	}
	call.Await(t, eventEnd)
}

// TestX5UOfServer: others can fetch what our PASSporTs point to.
func TestX5UOfServer(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	passport, err := stir.ParsePassport(p.intent().Passport)
	must(t, err)
	pem, err := fetchOver(p.client, passport.Header.X5U)
	must(t, err)
	chain, err := stir.ParseChain(pem)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(p.cfg.CA.Certificate())
	if _, err := (stir.Trust{Roots: roots}).Validate(chain, time.Now()); err != nil {
		t.Error(err)
	}
}
