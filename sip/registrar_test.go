package sip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/sip/siptest"
)

// accepts makes a trunk a registrar for alice.
func accepts(tr *Trunk) {
	tr.Accept = &Accept{Users: map[string]Password{"alice": "secret", "+12025550199": "other"}, Register: true}
}

// registrar is an agent that PBXs register at, and a scripted one.
func registrar(t *testing.T, change ...func(*Config)) (*Agent, *peer, *dlg) {
	t.Helper()
	p := newPeer(t)
	tr := Trunk{}
	accepts(&tr)
	a := startAgent(t, newAcceptor(), tr, change...)
	d := p.caller(a)
	d.uri = "sip:" + a.Addr().String()
	d.local, d.remote = "<sip:alice@riptide.example>;tag=1", "<sip:alice@riptide.example>"
	return a, p, d
}

// prove sends a request until it is answered otherwise than by a challenge.
func (d *dlg) prove(method, user string, password Password, headers ...string) *sipgo.Response {
	d.t.Helper()
	var answer []string
	for range 3 {
		d.seq++
		d.branch = newBranch()
		body := ""
		if method == "INVITE" {
			body = offerSDP(1, 41000)
		}
		text := d.make(method, d.seq, d.branch, body, append(answer, headers...)...)
		if len(headers) > 0 && strings.HasPrefix(headers[0], "Contact:") {
			text = strings.Replace(text, "Contact: <sip:peer@", "X-Not: <sip:peer@", 1)
		}
		d.send(text)
		res := d.await("an answer to "+method, func(m sipgo.Message) bool {
			r, ok := m.(*sipgo.Response)
			return ok && r.StatusCode >= 200 && int(r.CSeq().SeqNo) == d.seq
		}).(*sipgo.Response)
		if res.StatusCode >= 300 && method == "INVITE" {
			d.ackRefusal(res)
		}
		if res.StatusCode != 401 || user == "" {
			return res
		}
		c, err := parseChallenge(headerValues(res, "WWW-Authenticate")[0])
		if err != nil {
			d.t.Fatal(err)
		}
		answer = []string{"Authorization: " + c.answer(user, password, method, d.uri, "xyz", 1)}
	}
	d.t.Fatal("challenged again and again")
	return nil
}

func TestRegistrar(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "registrar", "scripted")
	_, p, d := registrar(t)
	here := p.addr().String()
	for i, tc := range []struct {
		user     string
		password Password
		headers  []string
		status   int
		contacts int
	}{
		{"alice", "wrong", []string{"Contact: <sip:alice@" + here + ">"}, 403, 0},
		{"bob", "secret", []string{"Contact: <sip:alice@" + here + ">"}, 403, 0},
		{"+12025550199", "other", []string{"Contact: <sip:alice@" + here + ">"}, 403, 0}, // not her address
		{"alice", "secret", []string{"Contact: <sip:alice@" + here + ">", "Expires: 300"}, 200, 1},
		{"alice", "secret", []string{"Contact: <sip:alice@" + here + ">;expires=20"}, 423, 0},
		{"alice", "secret", []string{"Contact: <sip:alice@" + here + ">;expires=abc"}, 200, 1},
		{"alice", "secret", []string{"Contact: <sip:alice@10.0.0.9:5070>;q=0.5, <sip:a2@" + here + ">;expires=100"}, 200, 3},
		{"alice", "secret", []string{"Contact: <sip:alice@10.0.0.9:5070>;q=2"}, 400, 0},
		{"alice", "secret", []string{"Contact: <mailto:alice@example.com>"}, 400, 0},
		{"alice", "secret", []string{"Contact: *", "Expires: 10"}, 400, 0},
		{"alice", "secret", []string{"Contact: <sip:a2@" + here + ">;expires=0"}, 200, 2},
		{"alice", "secret", []string{"Contact: <sip:b@" + here + ">", "Expires: x"}, 400, 0},
		{"alice", "secret", []string{"Contact: <sip:b@" + here + ">", "Require: outbound"}, 420, 0},
		{"alice", "secret", []string{"Contact: *", "Expires: 0"}, 200, 0},
		{"alice", "secret", []string{"Contact: <sip:" + here + ";bnc>", "Require: gin", "Path: <sip:10.1.1.1;lr>"}, 200, 1},
		{"alice", "secret", []string{"Contact: *", "Expires: 0"}, 200, 0},
	} {
		res := d.prove("REGISTER", tc.user, tc.password, tc.headers...)
		if res.StatusCode != tc.status || len(res.GetHeaders("Contact")) != tc.contacts {
			t.Errorf("%d: %v: %s", i, tc.headers, res)
		}
		if tc.status == 423 && len(headerValues(res, "Min-Expires")) != 1 {
			t.Errorf("423 without Min-Expires: %s", res)
		}
	}
	// A query changes nothing.
	d.prove("REGISTER", "alice", "secret", "Contact: <sip:alice@"+here+">")
	if res := d.prove("REGISTER", "alice", "secret", "Contact-Not: x"); res.StatusCode != 200 {
		t.Errorf("%s", res)
	}
}

// TestRegistrarTooMany: bindings are bounded.
func TestRegistrarTooMany(t *testing.T) {
	t.Parallel()
	_, _, d := registrar(t)
	last := 0
	for i := range maxBindings + 1 {
		last = d.prove("REGISTER", "alice", "secret", fmt.Sprintf("Contact: <sip:alice@10.0.0.1:%d>", 5000+i)).StatusCode
	}
	if last != 403 {
		t.Errorf("binding number %d: %d", maxBindings+1, last)
	}
}

// TestRegisteredIsCalled: calls to the trunk go where its PBX registered, also
// after a restart, and nowhere once it is gone.
func TestRegisteredIsCalled(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "registrar", "scripted")
	memory := store.NewMemory()
	keep := func(c *Config) { c.Store = memory }
	a, p, d := registrar(t, keep)
	if _, err := a.Dial(ctx, intent); err == nil || !strings.Contains(err.Error(), "nobody of it is registered") {
		t.Errorf("dialled into the void: %v", err)
	}
	// Behind a NAT: the contact is an address that only the PBX knows.
	if res := d.prove("REGISTER", "alice", "secret", "Contact: <sip:pbx@10.0.0.1:5999;x=1>", "Expires: 300"); res.StatusCode != 200 {
		t.Fatal(res)
	}
	again, _, _ := registrar(t, keep)
	for _, a := range []*Agent{a, again} {
		p.to = a.Addr()
		l, err := a.Dial(ctx, intent)
		if err != nil {
			t.Fatal(err)
		}
		inv := p.request("INVITE")
		if got := inv.Recipient.String(); got != "sip:+12025550199@10.0.0.1:5999;x=1" {
			t.Errorf("Request-URI %s", got)
		}
		p.respond(inv, 486, "Busy Here", "b", "")
		event(t, l, bridge.Ended)
		closed(t, l)
	}
	p.to = a.Addr()
	d.prove("REGISTER", "alice", "secret", "Contact: *", "Expires: 0")
	if _, err := a.Dial(ctx, intent); err == nil {
		t.Error("dialled a PBX that is gone")
	}
}

// TestRegisteredAndRemoved: who was taken from the users, or came by a transport
// that the trunk has given up, is not called after the restart.
func TestRegisteredAndRemoved(t *testing.T) {
	t.Parallel()
	memory := store.NewMemory()
	keep := func(c *Config) { c.Store = memory }
	_, p, d := registrar(t, keep)
	if res := d.prove("REGISTER", "alice", "secret", "Contact: <sip:pbx@"+p.addr().String()+">", "Expires: 300"); res.StatusCode != 200 {
		t.Fatal(res)
	}
	for name, change := range map[string]func(*Trunk){
		"another user": func(tr *Trunk) { tr.Accept.Users = map[string]Password{"bob": "secret"} },
		"TLS only":     func(tr *Trunk) { tr.Transport = "tls" },
	} {
		tr := Trunk{}
		accepts(&tr)
		change(&tr)
		a := startAgent(t, newAcceptor(), tr, keep)
		if n := a.Trunks()[0].Users; n != 0 {
			t.Errorf("%s: %d contacts are called on", name, n)
		}
	}
}

// TestRegistrationsOfOthersAreKept: what one user sends cannot keep the others
// from being on record.
func TestRegistrationsOfOthersAreKept(t *testing.T) {
	t.Parallel()
	memory := store.NewMemory()
	keep := func(c *Config) { c.Store = memory }
	_, p, d := registrar(t, keep)
	contacts := make([]string, maxBindings)
	for i := range contacts {
		contacts[i] = fmt.Sprintf("<sip:a%d@%s>", i, p.addr())
	}
	long := "Path: <sip:" + strings.Repeat("x", 40000) + ".example;lr>"
	if res := d.prove("REGISTER", "alice", "secret", "Contact: "+strings.Join(contacts, ", "), long); res.StatusCode != 400 {
		t.Error(res.StatusCode)
	}
	d.local, d.remote = "<sip:+12025550199@riptide.example>;tag=2", "<sip:+12025550199@riptide.example>"
	d.callID += "2"
	if res := d.prove("REGISTER", "+12025550199", "other", "Contact: <sip:phone@"+p.addr().String()+">"); res.StatusCode != 200 {
		t.Fatal(res)
	}
	again, _, _ := registrar(t, keep)
	if n := again.Trunks()[0].Users; n != 1 {
		t.Errorf("%d contacts after a restart", n)
	}
}

// TestRegisteredNumber: a user whose name is the number is called alone, at
// its contact as it is.
func TestRegisteredNumber(t *testing.T) {
	t.Parallel()
	a, p, d := registrar(t)
	d.prove("REGISTER", "alice", "secret", "Contact: <sip:pbx@10.0.0.1:5999>")
	d.local, d.remote = "<sip:+12025550199@riptide.example>;tag=2", "<sip:+12025550199@riptide.example>"
	d.callID += "2"
	if res := d.prove("REGISTER", "+12025550199", "other", "Contact: <sip:phone@"+p.addr().String()+">"); res.StatusCode != 200 {
		t.Fatal(res)
	}
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	if inv := p.request("INVITE"); inv.Recipient.User != "phone" {
		t.Errorf("Request-URI %s", inv.Recipient.String())
	} else {
		p.respond(inv, 486, "Busy Here", "b", "")
	}
	event(t, l, bridge.Ended)
	closed(t, l)
}

// TestCallsAskedWho: calls of a trunk with users are taken from those users.
func TestCallsAskedWho(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	tr := Trunk{}
	accepts(&tr)
	tr.Accept.Register = false
	a := startAgent(t, acc, tr)
	p := newPeer(t)
	d := p.caller(a)
	if res := d.prove("INVITE", "", ""); res.StatusCode != 401 || len(headerValues(res, "WWW-Authenticate")) != 2 {
		t.Errorf("%s", res)
	}
	if res := d.prove("INVITE", "alice", "guess"); res.StatusCode != 403 {
		t.Errorf("%s", res)
	}
	if n := len(acc.legs); n != 0 {
		t.Fatalf("%d calls of strangers", n)
	}
	d.callID += "x"
	go func() {
		l := acc.next(t)
		_ = l.Answer(ctx, bridge.Answer{Media: pcma})
	}()
	res := d.prove("INVITE", "alice", "secret")
	if res.StatusCode != 200 {
		t.Fatal(res)
	}
	d.learn(res)
	d.ack("")
	d.do("BYE", "") // within the call nobody is asked again
	d.answer(200, "BYE")
	if c := a.Counts(); c.Unproven != 1 {
		t.Errorf("%+v", c)
	}
	if res := p.caller(a).prove("REGISTER", "alice", "secret", "Contact: <sip:a@"+p.addr().String()+">"); res.StatusCode != 405 {
		t.Errorf("%s", res)
	}
}

func TestReadRegistrationClamps(t *testing.T) {
	t.Parallel()
	limits := &Accept{}
	limits.fill()
	for expires, want := range map[string]time.Duration{"100": 100 * time.Second, "999999": time.Hour, "": time.Hour, "99999999999999": 0} {
		req := sipgo.NewRequest(sipgo.REGISTER, sipgo.Uri{Scheme: "sip", Host: "r"})
		id := sipgo.CallIDHeader("1")
		req.AppendHeader(&id)
		req.AppendHeader(&sipgo.CSeqHeader{SeqNo: 1, MethodName: sipgo.REGISTER})
		if expires != "" {
			req.AppendHeader(sipgo.NewHeader("Expires", expires))
		}
		req.AppendHeader(&sipgo.ContactHeader{Address: sipgo.Uri{Scheme: "sip", User: "a", Host: "b"}})
		r, refused := readRegistration(req, "a", netip.AddrPort{}, "udp", limits, dayOne)
		switch {
		case want == 0:
			if refused == nil {
				t.Errorf("Expires %s was taken", expires)
			}
		case refused != nil || !r.contacts[0].Until.Equal(dayOne.Add(want)):
			t.Errorf("Expires %q: %+v, %v", expires, r, refused)
		}
	}
}
