package sip

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// webSocketPeer connects a scripted peer over WebSocket.
func webSocketPeer(t *testing.T, url string, protocols ...string) (net.Conn, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, Subprotocols: protocols})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return websocket.NetConn(ctx, ws, websocket.MessageText), nil
}

// RFC 7118: a call over WebSocket, in clear and on TLS, hung up by us over the
// connection that the peer has made, though its Contact leads nowhere.
func TestCallOverWebSocket(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "websocket", "scripted")
	ca := newAuthority(t)
	for scheme, over := range map[string]transport{"ws": overWS, "wss": overWSS} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			a, _ := tlsAgent(t, ca, acc, Trunk{Transport: scheme})
			conn, err := webSocketPeer(t, scheme+"://"+a.at(over).String()+"/", "sip")
			if err != nil {
				t.Fatal(err)
			}
			p := newTCPPeer(t, conn)
			d := p.caller(a)
			d.headers = []string{"Contact: <sip:peer@df7jal23ls0d.invalid;transport=ws>"}
			d.invite(offerSDP(1, 40000))
			l := acc.next(t)
			if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
				t.Fatal(err)
			}
			ok := d.status(200, "INVITE")
			if c := ok.Contact().Address; c.UriParams.GetOr("transport", "") != "ws" || c.Port != int(a.at(over).Port()) {
				t.Errorf("Contact %s", ok.Contact().Value())
			}
			d.learn(ok)
			d.ack("")
			confirmedNow(t, l)
			if !l.(bridge.Yielder).Stays() {
				t.Error("it would be given to a node that cannot reach the peer")
			}
			end(t, p, l)
			if v := p.all[len(p.all)-1].Via(); v.Transport != over.String() {
				t.Errorf("Via %s", v.Value())
			}
		})
	}
}

// A call that we place over WebSocket, to a server that is a scripted peer.
func TestDialOverWebSocket(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "websocket", "scripted")
	ca := newAuthority(t)
	accepted := make(chan net.Conn, 1)
	stop := make(chan struct{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"sip"}})
		if err != nil || r.URL.Path != "/ws" {
			t.Errorf("%s: %v", r.URL, err)
			return
		}
		accepted <- websocket.NetConn(ctx, ws, websocket.MessageText)
		<-stop
		_ = ws.CloseNow()
	})}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*ca.issue(nil, "127.0.0.1")}}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.ServeTLS(ln, "", "") }()
	defer func() { close(stop); _ = server.Close(); <-served }()
	a, _ := tlsAgent(t, ca, newAcceptor(), Trunk{Peer: ln.Addr().String(), Transport: "wss", TLS: &TrunkTLS{Roots: ca.pool}})
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	p := newTCPPeer(t, <-accepted)
	invite := p.request("INVITE")
	if v := invite.Via(); v.Transport != "WSS" || v.Port != int(a.at(overWSS).Port()) {
		t.Errorf("Via %s", v.Value())
	}
	p.respond(invite, 486, "Busy", "x", "")
	event(t, l, bridge.Ended)
	closed(t, l)
}

// What is no WebSocket of SIP is answered and closed, and too large a request
// is cut off.
func TestWebSocketStrangers(t *testing.T) {
	t.Parallel()
	a, _ := tlsAgent(t, newAuthority(t), newAcceptor(), Trunk{})
	at := a.at(overWS).String()
	if _, err := webSocketPeer(t, "ws://"+at+"/", "chat"); err == nil {
		conn, _ := webSocketPeer(t, "ws://"+at+"/")
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a WebSocket without the subprotocol is taken")
		}
	}
	for name, text := range map[string]string{
		"a page":      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"nonsense":    "\x16\x03\x01\x02\x00\r\n\r\n",
		"without end": "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 2*maxUpgrade),
		"SIP":         "OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = conn.Write([]byte(text))
		if _, err := io.ReadAll(conn); isTimeout(err) {
			t.Errorf("%s: the connection stays open", name)
		}
		_ = conn.Close()
	}
	await(t, "each is counted", func() bool { return a.Counts().Handshakes >= 5 })
}

// Keep-alives of line ends (RFC 5626 section 4.4.1, RFC 7118 section 6).
func TestKeepAliveOnWebSocket(t *testing.T) {
	t.Parallel()
	a, _ := tlsAgent(t, newAuthority(t), newAcceptor(), Trunk{})
	conn, err := webSocketPeer(t, "ws://"+a.at(overWS).String()+"/", "sip")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "\r\n" {
		t.Errorf("%q %v", b, err)
	}
}

// A page that is open in a browser at the trunk's address is not the trunk: it
// has to know a password.
func TestWebSocketPages(t *testing.T) {
	t.Parallel()
	users := Trunk{Name: "users"}
	accepts(&users)
	for _, tr := range []Trunk{{Name: "pbx"}, users} {
		a, _ := tlsAgent(t, newAuthority(t), newAcceptor(), tr)
		for _, origin := range []string{"https://evil.example", "http://" + a.at(overWS).String(), ""} {
			header := http.Header{}
			if origin != "" {
				header.Set("Origin", origin)
			}
			ws, _, err := websocket.Dial(ctx, "ws://"+a.at(overWS).String()+"/", &websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{"sip"}}) //nolint:bodyclose // the library's
			if taken, want := err == nil, origin == "" || tr.Accept != nil; taken != want {
				t.Errorf("trunk %s, origin %q: taken %v", tr.Name, origin, taken)
			}
			if ws != nil {
				_ = ws.CloseNow()
			}
		}
	}
}

// Keep-alives count like messages, whatever they look like: who sends more than
// a trunk may is not read any faster.
func TestKeepAlivesAreCounted(t *testing.T) {
	t.Parallel()
	ping := []byte{0x89, 0x80, 1, 2, 3, 4} // of a client, masked, and empty (RFC 6455 section 5.5.2)
	for name, tc := range map[string]struct {
		over  transport
		open  string
		alive []byte
	}{
		"line ends over TCP": {overTCP, "", []byte("\r\n\r\n")},
		"WebSocket pings": {overWS, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n", ping},
		"WebSocket pongs": {overWS, "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n", append([]byte{0x8a}, ping[1:]...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := tlsAgent(t, newAuthority(t), newAcceptor(), Trunk{Rate: 20})
			conn, err := net.Dial("tcp", a.at(tc.over).String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := conn.Write([]byte(tc.open)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(bytes.Repeat(tc.alive, 200)); err != nil { // 40 may come at once
				t.Fatal(err)
			}
			for pong := make([]byte, 2); tc.over == overTCP && a.Counts().Limited == 0; {
				if _, err := conn.Write(tc.alive); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, pong); err != nil { // so each is read by itself
					t.Fatal(err)
				}
			}
			await(t, "the sender is held up", func() bool { return a.Counts().Limited > 0 })
		})
	}
}
