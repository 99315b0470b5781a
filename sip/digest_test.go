package sip

import (
	"fmt"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// The examples of RFC 2617 section 3.5 and RFC 7616 section 3.9.
func TestDigestOfTheBooks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		algorithm, user string
		password        Password
		p               proof
		want            string
	}{
		{"MD5", "Mufasa", "Circle Of Life", proof{"testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "GET", "/dir/index.html", "auth", "0a4f113b", 1}, "6629fae49393a05397450978507c4ef1"},
		{"MD5", "Mufasa", "Circle of Life", proof{"http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "GET", "/dir/index.html", "auth", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", 1}, "8ca523f5e9506fed4657c9700eebdbec"},
		{"SHA-256", "Mufasa", "Circle of Life", proof{"http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "GET", "/dir/index.html", "auth", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", 1}, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
	} {
		if got := algorithms[strings.ToLower(tc.algorithm)].response(tc.user, tc.password, tc.p); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.algorithm, got, tc.want)
		}
	}
}

func TestParseChallenge(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`Digest realm="a, b", nonce="n=1", qop="auth,auth-int", algorithm=SHA-256, stale=TRUE, opaque="o"`: "a, b|n=1|SHA-256|true|true|o",
		`digest realm="r",nonce="n"`:                          "r|n||false|false|",
		`Digest realm="say \"hi\"", nonce="n", algorithm=MD5`: `say "hi"|n|MD5|false|false|`,
		`Digest realm="r"`:                                    "error",
		`Digest realm="r", nonce="n", algorithm=SHA-1`:        "error",
		`Digest realm="r", nonce="n", qop="auth-int"`:         "error",
		`Digest realm="r", realm="s", nonce="n"`:              "error",
		`Basic realm="r"`:                                     "error",
		`Digest realm="r", nonce="n", x`:                      "error",
		`Digest ` + strings.Repeat("a", maxDigestField+1):     "error",
		``: "error",
	} {
		c, err := parseChallenge(in)
		got := fmt.Sprintf("%s|%s|%s|%v|%v|%s", c.realm, c.nonce, c.algorithm.name, c.qop, c.stale, c.opaque)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%.60s: %s (%v), want %s", in, got, err, want)
		}
	}
}

func FuzzParseChallenge(f *testing.F) {
	f.Add(`Digest realm="a", nonce="b", qop="auth", algorithm=MD5, stale=false`)
	f.Add(`Digest realm="\"", nonce=b,opaque=`)
	f.Add("Digest nonce=" + strings.Repeat("\x88", 3000)) // grows when it is quoted
	f.Fuzz(func(t *testing.T, in string) {
		c, err := parseChallenge(in)
		if err != nil {
			return
		}
		// What we answer to it is well-formed and says the same.
		got, err := parseCredential(c.answer(`a"b\`, "secret", "INVITE", "sip:x@y", "cnonce", 7))
		if err != nil || got.nonce != clean(c.nonce) || got.realm != clean(c.realm) || got.user != `a"b\` {
			t.Fatalf("%q: %+v, %v", in, got, err)
		}
	})
}

// clean is what quote makes of control characters.
func clean(s string) string { return unquote(quote(s)) }

func FuzzParseCredential(f *testing.F) {
	f.Add(`Digest username="u", realm="r", nonce="n", uri="sip:x", response="00", qop=auth, nc=00000001, cnonce="c"`)
	f.Fuzz(func(_ *testing.T, in string) { _, _ = parseCredential(in) })
}

func login(tr *Trunk) { tr.Login = &Login{User: "alice", Password: "secret"} }

// proves checks the answer in a request to a challenge of a scripted peer.
func proves(t *testing.T, req *sipgo.Request, header, nonce, algorithm string, count uint32) {
	t.Helper()
	for _, v := range headerValues(req, header) {
		c, err := parseCredential(v)
		if err != nil || c.nonce != nonce {
			continue
		}
		want := algorithms[strings.ToLower(algorithm)].response("alice", "secret", proof{c.realm, c.nonce, string(req.Method), c.uri, c.qop, c.cnonce, c.count})
		if c.response != want || c.count != count || c.uri != req.Recipient.String() || c.algorithm.name != algorithm {
			t.Errorf("%s: %s", header, v)
		}
		return
	}
	t.Errorf("%s %d has no answer to %s %q:\n%s", req.Method, req.CSeq().SeqNo, header, nonce, req)
}

// TestLoginAsked: a proxy and the peer behind it both ask, with several
// algorithms; the call, its ACK and its BYE are made with the answers.
func TestLoginAsked(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "digest", "scripted")
	_, p, l, inv := dialled(t, login)
	if len(headerValues(inv, authorization))+len(headerValues(inv, proxyAuthorization)) > 0 {
		t.Errorf("credentials without a challenge:\n%s", inv)
	}
	p.respond(inv, 407, "Proxy Authentication Required", "a", "",
		`Proxy-Authenticate: Digest realm="new", nonce="p0", algorithm=SHA-1`,
		`Proxy-Authenticate: Digest realm="proxy", nonce="p1", qop="auth", algorithm=SHA-256`,
		`Proxy-Authenticate: Digest realm="proxy", nonce="p2", qop="auth", algorithm=MD5`)
	p.request("ACK")
	second := p.request("INVITE")
	if second.CSeq().SeqNo != 2 || second.CallID().Value() != inv.CallID().Value() || second.Via().Value() == inv.Via().Value() ||
		second.From().Value() != inv.From().Value() || len(second.GetHeaders("Via")) != 1 || string(second.Body()) != string(inv.Body()) {
		t.Errorf("second INVITE:\n%s", second)
	}
	proves(t, second, proxyAuthorization, "p1", "SHA-256", 1)
	p.respond(second, 401, "Unauthorized", "b", "", `WWW-Authenticate: Digest realm="peer", nonce="w1"`)
	p.request("ACK")
	third := p.request("INVITE")
	proves(t, third, proxyAuthorization, "p1", "SHA-256", 2)
	proves(t, third, authorization, "w1", "", 0)
	p.respond(third, 200, "OK", "c", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	if ack := p.request("ACK"); ack.CSeq().SeqNo != 3 || len(headerValues(ack, authorization)) != 1 || headerValues(ack, authorization)[0] != headerValues(third, authorization)[0] {
		t.Errorf("ACK without the credentials of its INVITE:\n%s", ack)
	}
	go func() { _ = l.End(ctx, bridge.CauseNormal) }()
	bye := p.request("BYE")
	proves(t, bye, proxyAuthorization, "p1", "SHA-256", 3)
	p.respond(bye, 407, "Proxy Authentication Required", "c", "", `Proxy-Authenticate: Digest realm="proxy", nonce="p9", qop="auth", stale=true`)
	bye = p.request("BYE")
	if bye.CSeq().SeqNo != 5 {
		t.Errorf("BYE %d, want 5", bye.CSeq().SeqNo)
	}
	proves(t, bye, proxyAuthorization, "p9", "", 1)
	p.respond(bye, 200, "OK", "c", "")
	closed(t, l)
}

// TestLoginRefused: a wrong password is tried once, a stale nonce again, and
// nothing goes round for ever.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t, login)
	demand := `Proxy-Authenticate: Digest realm="r", nonce="n%d", qop="auth", stale=%v`
	p.respond(inv, 407, "Proxy Authentication Required", "a", "", fmt.Sprintf(demand, 1, false))
	for i := 2; i <= 4; i++ {
		inv = p.request("INVITE")
		p.respond(inv, 407, "Proxy Authentication Required", "a", "", fmt.Sprintf(demand, i, i < 4))
	}
	ev := event(t, l, bridge.Ended)
	if ev.Cause.Code != "auth-required" || !strings.Contains(ev.Cause.Text, `"alice"`) || !strings.Contains(ev.Cause.Text, "trunks.pbx.sip.login") || strings.Contains(ev.Cause.Text, "secret") {
		t.Errorf("%v", ev.Cause)
	}
	closed(t, l)
	if n := p.count(func(m sipgo.Message) bool { return isRequest(m, "INVITE") }); n != 4 {
		t.Errorf("%d INVITEs, want 4", n)
	}
}

// TestLoginWithoutPassword: nothing is told to a peer for which there is no
// login, nor to a realm that is not ours.
func TestLoginWithoutPassword(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Trunk){
		"none":        func(*Trunk) {},
		"other realm": func(tr *Trunk) { tr.Login = &Login{User: "alice", Password: "secret", Realm: "mine"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, p, l, inv := dialled(t, change)
			p.respond(inv, 401, "Unauthorized", "a", "", `WWW-Authenticate: Digest realm="r", nonce="n"`)
			if ev := event(t, l, bridge.Ended); ev.Cause.Code != "auth-required" {
				t.Errorf("%v", ev.Cause)
			}
			closed(t, l)
		})
	}
}

func TestPasswordDoesNotShow(t *testing.T) {
	t.Parallel()
	l := Login{User: "alice", Password: "hunter2"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if s := fmt.Sprintf(format, l); strings.Contains(s, "hunter2") || strings.Contains(s, "68756e74657232") {
			t.Errorf("%s: %s", format, s)
		}
	}
}
