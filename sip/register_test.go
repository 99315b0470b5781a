package sip

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

func registers(tr *Trunk) {
	tr.Login = &Login{User: "alice", Password: "secret"}
	tr.Register = &Register{Domain: "carrier.example", Expires: 600 * time.Second}
}

// registering is an agent that registers at a scripted peer.
func registering(t *testing.T, change ...func(*Trunk)) (*Agent, *peer) {
	t.Helper()
	p := newPeer(t)
	tr := Trunk{Peer: p.addr().String()}
	registers(&tr)
	for _, f := range change {
		f(&tr)
	}
	a := startAgent(t, newAcceptor(), tr)
	p.to = a.Addr()
	return a, p
}

// signsOff ends an agent whose peer still has to hear of it.
func signsOff(t *testing.T, a *Agent, p *peer) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- a.Shutdown(ctx) }()
	req := p.request("REGISTER")
	if v := headerValues(req, "Expires"); len(v) != 1 || v[0] != "0" {
		t.Errorf("Expires %v when it goes", v)
	}
	p.respond(req, 200, "OK", "r", "")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("not yet: " + what)
		}
	}
}

// TestRegisters: challenge, too short an interval, and then calls go where the
// registration is, by the route that the peer wants.
func TestRegisters(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "register", "scripted")
	a, p := registering(t)
	if _, err := a.Dial(ctx, intent); err == nil || !strings.Contains(err.Error(), "not registered yet") {
		t.Errorf("dialled before: %v", err)
	}
	req := p.request("REGISTER")
	if req.Recipient.String() != "sip:carrier.example" || req.To().Address.String() != "sip:alice@carrier.example" || req.Contact().Address.User != "alice" ||
		req.Contact().Address.Port != int(a.Addr().Port()) || headerValues(req, "Expires")[0] != "600" {
		t.Errorf("%s", req)
	}
	p.respond(req, 423, "Interval Too Brief", "r", "", "Min-Expires: 900")
	req = p.request("REGISTER")
	if headerValues(req, "Expires")[0] != "900" || req.CSeq().SeqNo != 2 {
		t.Errorf("%s", req)
	}
	p.respond(req, 401, "Unauthorized", "r", "", `WWW-Authenticate: Digest realm="carrier", nonce="n1", qop="auth", algorithm=SHA-256`)
	req = p.request("REGISTER")
	proves(t, req, authorization, "n1", "SHA-256", 1)
	p.respond(req, 200, "OK", "r", "", "Contact: <sip:old@10.1.1.1>;expires=20", "Contact: "+strings.Replace(req.Contact().Value(), ">", ">;expires=900", 1),
		"Service-Route: <sip:edge.carrier.example;lr>, <sip:core.carrier.example;lr>")
	await(t, "registered", func() bool { return a.Trunks()[0].Registered })
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	if routes := strings.Join(headerValues(inv, "Route"), "|"); routes != "<sip:edge.carrier.example;lr>|<sip:core.carrier.example;lr>" {
		t.Errorf("Route: %s", routes)
	}
	proves(t, inv, authorization, "n1", "SHA-256", 2)
	p.respond(inv, 486, "Busy Here", "b", "")
	event(t, l, bridge.Ended)
	closed(t, l)
	signsOff(t, a, p)
}

// TestRegistersRefused: a peer that does not want us is not asked at once
// again, and calls say why they cannot be made.
func TestRegistersRefused(t *testing.T) {
	t.Parallel()
	a, p := registering(t)
	p.respond(p.request("REGISTER"), 403, "Forbidden", "r", "")
	await(t, "refused", func() bool { return strings.Contains(errorText(a.Trunks()[0].Err), "403 Forbidden") })
	_, err := a.Dial(ctx, intent)
	if !errors.Is(err, bridge.CauseUnreachable) || !strings.Contains(err.Error(), "403 Forbidden") {
		t.Errorf("%v", err)
	}
	if n := p.count(func(m sipgo.Message) bool { return isRequest(m, "REGISTER") }); n != 1 {
		t.Errorf("%d REGISTERs", n)
	}
}

// TestRegisteredForNoTime: a peer that answers 200 and keeps us for no time does
// not know us, and one that says nothing which makes sense keeps us for as long
// as was asked for.
func TestRegisteredForNoTime(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		headers []string
		life    time.Duration // 0: not registered
	}{
		"Expires":                 {[]string{"Expires: 0"}, 0},
		"the contact":             {[]string{"Contact: <sip:alice@HERE>;expires=0", "Expires: 600"}, 0},
		"below nothing":           {[]string{"Contact: <sip:alice@HERE>;expires=-1"}, 600 * time.Second},
		"no number":               {[]string{"Expires: soon"}, 600 * time.Second},
		"nothing said":            {nil, 600 * time.Second},
		"beyond all bounds":       {[]string{"Expires: 99999999999999999999"}, 600 * time.Second},
		"long":                    {[]string{"Expires: 4294967295"}, mostExpires},
		"the contact of somebody": {[]string{"Contact: <sip:bob@192.0.2.9>;expires=0", "Expires: 300"}, 300 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, p := registering(t)
			req := p.request("REGISTER")
			for i, h := range tc.headers {
				tc.headers[i] = strings.Replace(h, "HERE", a.Addr().String(), 1)
			}
			p.respond(req, 200, "OK", "r", "", tc.headers...)
			if tc.life == 0 {
				await(t, "not registered", func() bool { return strings.Contains(errorText(a.Trunks()[0].Err), "keeps us for no time") })
				if _, err := a.Dial(ctx, intent); !errors.Is(err, bridge.CauseUnreachable) {
					t.Errorf("dialled: %v", err)
				}
				return
			}
			await(t, "registered", func() bool { return a.Trunks()[0].Registered })
			r := a.byName["pbx"].registrant
			r.mu.Lock()
			left := time.Until(r.until)
			r.mu.Unlock()
			if left > tc.life || left < tc.life-patience {
				t.Errorf("for %v, want %v", left, tc.life)
			}
			signsOff(t, a, p)
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestRegistersNeverLongEnough: a peer that wants a longer interval each time
// is no reason to go on in silence.
func TestRegistersNeverLongEnough(t *testing.T) {
	t.Parallel()
	a, p := registering(t)
	for i := range 3 {
		p.respond(p.request("REGISTER"), 423, "Interval Too Brief", "r", "", fmt.Sprintf("Min-Expires: %d", 900+i))
	}
	await(t, "a complaint", func() bool { return strings.Contains(errorText(a.Trunks()[0].Err), "423") })
}

// TestRegistersAfterReset: when the connection is gone that we registered over,
// that is one reason to register at once, and none to do so again and again
// while the peer refuses.
func TestRegistersAfterReset(t *testing.T) {
	t.Parallel()
	gone := &stream{gone: make(chan struct{})}
	close(gone.gone)
	r := &registrant{agent: &Agent{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}, trunk: &trunk{}, flow: gone}
	if r.lost() == nil {
		t.Error("the loss goes unnoticed")
	}
	r.sorry("connection refused", 0)
	if r.lost() != nil {
		t.Error("the same loss is news twice: the peer would be asked without a pause")
	}
}

// TestRegistersInBulk: RFC 6140.
func TestRegistersInBulk(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "register", "scripted")
	_, p := registering(t, func(tr *Trunk) { tr.Register.Bulk = true })
	req := p.request("REGISTER")
	if c := req.Contact().Value(); !strings.Contains(c, ";bnc>") || strings.Contains(c, "@") ||
		headerValues(req, "Require")[0] != "gin" || headerValues(req, "Proxy-Require")[0] != "gin" || headerValues(req, "Supported")[0] != "path" {
		t.Errorf("%s", req)
	}
	p.respond(req, 403, "Forbidden", "r", "")
}

// TestRegistersAnew: when the connection goes by which calls would come, and
// when the peer begins to see us at another address.
func TestRegistersAnew(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := startAgent(t, newAcceptor(), Trunk{
		Peer: l.Addr().String(), Transport: "tcp", Login: &Login{User: "alice", Password: "x"}, Register: &Register{},
	})
	register := func(p *peer, via string) *sipgo.Request {
		t.Helper()
		req := p.request("REGISTER")
		p.respond(req, 200, "OK", "r", "")
		return req
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := newTCPPeer(t, conn)
	first := register(p, "")
	await(t, "registered", func() bool { return a.Trunks()[0].Registered })
	_ = conn.Close()
	if conn, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	p = newTCPPeer(t, conn)
	second := register(p, "")
	if second.CallID().Value() != first.CallID().Value() || second.CSeq().SeqNo <= first.CSeq().SeqNo {
		t.Errorf("another registration instead of the same:\n%s\n%s", first, second)
	}
	signsOff(t, a, p)
}

func TestRegistersFromElsewhere(t *testing.T) {
	t.Parallel()
	r := &registrant{expires: time.Hour}
	f := &datagrams{agent: &Agent{}, trunk: &trunk{}, socket: &socket{addr: netip.MustParseAddrPort("127.0.0.1:5060")}}
	res := func(received, rport string) *sipgo.Response {
		res := sipgo.NewResponse(200, "OK")
		via := &sipgo.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: "10.0.0.1"}
		via.Params.Add("received", received)
		via.Params.Add("rport", rport)
		res.AppendHeader(via)
		return res
	}
	for i, tc := range []struct {
		received, rport string
		moved           bool
	}{{"192.0.2.1", "1024", false}, {"192.0.2.1", "1024", false}, {"192.0.2.1", "1025", true}, {"192.0.2.1", "1025", false}, {"192.0.2.2", "1025", true}} {
		if r.granted(res(tc.received, tc.rport), f); r.moved != tc.moved {
			t.Errorf("%d: moved %v", i, r.moved)
		}
	}
}

func TestRegisterTimes(t *testing.T) {
	t.Parallel()
	for random := 0.0; random < 1; random += 0.01 {
		if d := refreshAfter(time.Hour, random); d < 30*time.Minute || d > 54*time.Minute {
			t.Errorf("refresh of an hour after %v", d)
		}
		for n := range 40 {
			if d := backOff(n, random); d < time.Second || d > 5*time.Minute || n > 20 && d < 150*time.Second {
				t.Errorf("failure %d: wait %v", n, d)
			}
		}
	}
}

// TestCalledAtOurContact: the number of a call to our contact is beside it.
func TestCalledAtOurContact(t *testing.T) {
	t.Parallel()
	tr := &trunk{Trunk: Trunk{Register: &Register{User: "alice"}}}
	for _, tc := range []struct{ uri, to, party, want string }{
		{"alice", "+12025550101", "", "+12025550101"},
		{"alice", "+12025550101", `"x" <sip:+12025550102@carrier>;y`, "+12025550102"},
		{"+12025550103", "+12025550101", "<sip:+12025550102@carrier>", "+12025550103"},
	} {
		req := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Scheme: "sip", User: tc.uri, Host: "us"})
		req.AppendHeader(&sipgo.ToHeader{Address: sipgo.Uri{Scheme: "sip", User: tc.to, Host: "us"}})
		if tc.party != "" {
			req.AppendHeader(sipgo.NewHeader("P-Called-Party-ID", tc.party))
		}
		if n, err := tr.called(req); err != nil || string(n) != tc.want {
			t.Errorf("%+v: %s, %v", tc, n, err)
		}
	}
}
