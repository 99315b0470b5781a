package sip

import (
	"fmt"
	"net"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/sip/siptest"
)

// badRequests are requests that no RFC's collection has, each made from a good
// one by what its name says, with the right answer. 0 means that nothing is to
// be said.
var badRequests = []struct {
	name   string
	method string
	change []string // pairs: what, by what
	want   int
	header string // in the answer
}{
	{"folded lines", "OPTIONS", []string{"Subject: x", "Subject: x\r\n  y\r\n\tz"}, 200, ""},
	{"missing From", "INVITE", []string{"From: <sip:+12025550100@peer.example>;tag=1\r\n", ""}, 400, ""},
	{"missing Call-ID", "INVITE", []string{"Call-ID: torture\r\n", ""}, 400, ""},
	{"missing CSeq", "INVITE", []string{"CSeq: 1 INVITE\r\n", ""}, 400, ""},
	{"missing Via", "INVITE", []string{"Via: ", "X-Via: "}, 0, ""},
	{"unknown schemes in headers", "OPTIONS", []string{"To: <sip:+12025550199@riptide.example>", "To: isbn:2983792873"}, 200, ""},
	{"unknown Content-Encoding", "INVITE", []string{"Subject: x", "Content-Encoding: gzip"}, 415, "Accept-Encoding"},
	{"header fields that must be single come twice", "OPTIONS", []string{"Subject: x", "From: <sip:other@peer.example>;tag=2"}, 400, ""},
	{"in compact form", "OPTIONS", []string{"Subject: x", "i: another"}, 400, ""},
	{"body that is no SDP", "INVITE", nil, 400, "Warning"},
	{"no user in Request-URI", "INVITE", []string{"sip:+12025550199@riptide.example SIP", "sip:riptide.example SIP", "abc", offerSDP(1, 40000), "Content-Length: 3", fmt.Sprintf("Content-Length: %d", len(offerSDP(1, 40000)))}, 484, "Reason"},
	{"requests of dialogs that are not there", "BYE", []string{"riptide.example>\r\n", "riptide.example>;tag=none\r\n"}, 481, ""},
	{"no dialog at all", "INFO", nil, 481, ""},
	{"SUBSCRIBE", "SUBSCRIBE", nil, 489, ""},
	{"MESSAGE", "MESSAGE", nil, 405, "Allow"},
	{"REGISTER", "REGISTER", nil, 405, "Allow"},
	{"REFER", "REFER", nil, 603, ""},
	{"session interval too small", "INVITE", []string{"Subject: x", "Session-Expires: 89"}, 422, "Min-SE"},
	{"ACK is never answered", "ACK", nil, 0, ""},
	{"a response nobody asked for", "OPTIONS", []string{"OPTIONS sip:+12025550199@riptide.example SIP/2.0", "SIP/2.0 200 OK"}, 0, ""},
	{"no SIP", "OPTIONS", []string{"SIP/2.0\r\n", "HTTP/1.1\r\n"}, 0, ""},
	{"lines that end in LF only", "OPTIONS", []string{"\r\n", "\n"}, 0, ""},
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "bad-input", "scripted")
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	for i, tc := range badRequests {
		t.Run(tc.name, func(t *testing.T) {
			p := newPeer(t)
			p.to = a.Addr()
			msg := strings.Join([]string{
				tc.method + " sip:+12025550199@riptide.example SIP/2.0",
				"Via: SIP/2.0/UDP " + p.addr().String() + fmt.Sprintf(";branch=z9hG4bKtorture%d;rport", i),
				"Max-Forwards: 70", "From: <sip:+12025550100@peer.example>;tag=1", "To: <sip:+12025550199@riptide.example>",
				"Call-ID: torture", "CSeq: 1 " + tc.method, "Subject: x", "Content-Type: application/sdp", "Content-Length: 3", "", "abc",
			}, "\r\n")
			for j := 0; j < len(tc.change); j += 2 {
				if !strings.Contains(msg, tc.change[j]) {
					t.Fatalf("the message has no %q", tc.change[j])
				}
				msg = strings.ReplaceAll(msg, tc.change[j], tc.change[j+1])
			}
			msg = strings.Replace(msg, "Call-ID: torture", fmt.Sprintf("Call-ID: torture%d", i), 1)
			p.send(msg)
			// A good request behind it, in another dialog: whatever came
			// before, this one is served.
			d := p.caller(a)
			d.seq = 1
			d.send(d.make("OPTIONS", 1, newBranch(), ""))
			var got *sipgo.Response
			d.await("200 to the OPTIONS behind", func(m sipgo.Message) bool {
				res := m.(*sipgo.Response)
				if res.CallID() != nil && res.CallID().Value() == d.callID {
					return true
				}
				got = res
				return false
			})
			switch {
			case got == nil && tc.want != 0:
				got, _ = d.await("an answer", func(m sipgo.Message) bool { return true }).(*sipgo.Response)
			case got != nil && tc.want == 0:
				t.Fatalf("answered %s", got.StartLine())
			}
			if tc.want == 0 {
				return
			}
			if got.StatusCode != tc.want || got.SipVersion != "SIP/2.0" {
				t.Errorf("answered %s, want %d", got.StartLine(), tc.want)
			}
			if tc.header != "" && len(got.GetHeaders(tc.header)) == 0 {
				t.Errorf("no %s in %s", tc.header, got)
			}
		})
	}
	if len(acc.legs) != 0 {
		t.Errorf("%d of them became calls", len(acc.legs))
	}
}

// A bad message on a TCP connection hurts only itself.
func TestBadMessageOnSharedConnection(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	conn, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := newTCPPeer(t, conn)
	d := p.caller(a)
	l := establish(t, acc, d)
	bad := p.caller(a)
	bad.headers = []string{"From: <sip:twice@peer.example>;tag=2"}
	bad.send(bad.make("OPTIONS", 1, newBranch(), ""))
	bad.status(400, "OPTIONS")
	p.send("NONSENSE\r\nContent-Length: 5\r\n\r\nabcde")
	p.send("\r\n\r\n") // ping
	d.do("INFO", "")
	d.status(200, "INFO")
	end(t, p, l)
	if a.Counts().Malformed != 1 {
		t.Errorf("%+v", a.Counts())
	}
}

// Two Content-Lengths are how one peer hides a message from another.
func TestStreamThatCannotBeFollowed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		headers string
		want    int
	}{
		"two lengths": {"Content-Length: 5\r\nl: 0\r\n", 400},
		"no length":   {"", 400},
		"bad length":  {"Content-Length: 0x5\r\n", 400},
		"too large":   {"Content-Length: 70000\r\n", 513},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startAgent(t, newAcceptor(), Trunk{})
			conn, err := net.Dial("tcp", a.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			p := newTCPPeer(t, conn)
			d := p.caller(a)
			text := d.make("OPTIONS", 1, newBranch(), "")
			p.send(strings.Replace(text, "Content-Length: 0\r\n", tc.headers, 1))
			d.status(tc.want, "OPTIONS")
			if _, open := <-p.inbox; open {
				t.Error("the connection goes on")
			}
		})
	}
}

func TestStrangersHearNothing(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "flood", "scripted")
	a := startAgent(t, newAcceptor(), Trunk{Peer: "127.0.0.2:5060", Match: prefixes("127.0.0.3/32")})
	p := newPeer(t) // on 127.0.0.1
	d := p.caller(a)
	d.send(d.make("OPTIONS", 1, newBranch(), ""))
	conn, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a stranger's connection is open")
	}
	friend, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)}, net.UDPAddrFromAddrPort(a.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = friend.Close() }()
	if _, err := friend.Write([]byte(d.make("OPTIONS", 1, newBranch(), ""))); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	if n, err := friend.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "SIP/2.0 200") {
		t.Errorf("the trunk hears %q (%v)", buf[:n], err)
	}
	if n := p.count(func(sipgo.Message) bool { return true }); n != 0 {
		t.Errorf("a stranger got %d answers", n)
	}
	if c := a.Counts(); c.Strangers != 2 {
		t.Errorf("%+v", c)
	}
}
