package sip

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// subprotocol is the one of RFC 7118 section 4.
const subprotocol = "sip"

// wsPath is what we ask a WebSocket server for. RFC 7118 leaves the path open:
// most servers take any, Asterisk takes this one.
const wsPath = "/ws"

// maxUpgrade bounds the HTTP request that opens a WebSocket.
const maxUpgrade = 8 << 10

// acceptWebSocket reads the HTTP request of an accepted connection and turns it
// into a WebSocket. There is no HTTP server behind it, and nothing to be had but
// SIP: other requests are answered with a status and the end. Web pages, which
// browsers tell from programs by an Origin, are taken where a password is asked
// for: an address says nothing of what is open in the browsers there (RFC 6455
// section 10.2).
//
// pinged is asked before each ping is answered, and false ends that.
func acceptWebSocket(conn net.Conn, pages bool, pinged func() bool) (*websocket.Conn, error) {
	limited := &io.LimitedReader{R: conn, N: maxUpgrade}
	in := bufio.NewReader(limited)
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil, fmt.Errorf("read the request for a WebSocket: %w", err)
	}
	limited.N = 1 << 62 // what follows is bounded message by message
	w := &upgrade{conn: conn, in: in, header: http.Header{}}
	if origin := req.Header.Get("Origin"); origin != "" && !pages {
		w.WriteHeader(http.StatusForbidden)
		return nil, fmt.Errorf("a web page (%s) connects, and pages are taken only where users have passwords (sip.accept.users of the trunk)", clip(origin, 64))
	}
	ws, err := websocket.Accept(w, req, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol},
		// Whose page it is matters no more: it knows a password or gets nothing.
		InsecureSkipVerify: true,
		OnPingReceived:     func(context.Context, []byte) bool { return pinged() },
		OnPongReceived:     func(context.Context, []byte) { pinged() },
	})
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != subprotocol {
		_ = ws.Close(websocket.StatusProtocolError, "the subprotocol is sip")
		return nil, errors.New("the peer does not ask for the WebSocket subprotocol sip")
	}
	ws.SetReadLimit(maxMessage)
	return ws, nil
}

// dialWebSocket turns a connection that we made into a WebSocket.
func dialWebSocket(ctx context.Context, conn net.Conn, host string, port uint16, pinged func() bool) (*websocket.Conn, error) {
	used := false
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		if used {
			return nil, errors.New("the server sends us elsewhere")
		}
		used = true
		return conn, nil
	}}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	// Plain from here on: conn has TLS already where it is wanted.
	ws, _, err := websocket.Dial(ctx, "ws://"+net.JoinHostPort(host, portText(port))+wsPath, //nolint:bodyclose // the library's
		&websocket.DialOptions{
			HTTPClient: client, Subprotocols: []string{subprotocol},
			OnPingReceived: func(context.Context, []byte) bool { return pinged() },
			OnPongReceived: func(context.Context, []byte) { pinged() },
		})
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != subprotocol {
		_ = ws.CloseNow()
		return nil, errors.New("the server does not speak the WebSocket subprotocol sip")
	}
	ws.SetReadLimit(maxMessage)
	return ws, nil
}

// frameType is text wherever it may be (RFC 7118 section 5.1): not every body is
// UTF-8, and text must be.
func frameType(b []byte) websocket.MessageType {
	if utf8.Valid(b) {
		return websocket.MessageText
	}
	return websocket.MessageBinary
}

// upgrade is an http.ResponseWriter on a bare connection, for one answer.
type upgrade struct {
	conn   net.Conn
	in     *bufio.Reader
	header http.Header
	wrote  bool
}

func (u *upgrade) Header() http.Header { return u.header }

func (u *upgrade) WriteHeader(status int) {
	if u.wrote {
		return
	}
	u.wrote = true
	if status != http.StatusSwitchingProtocols {
		u.header.Set("Connection", "close")
	}
	out := bufio.NewWriter(u.conn)
	fmt.Fprintf(out, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	_ = u.header.Write(out)
	_, _ = out.WriteString("\r\n")
	_ = out.Flush() // a peer that is gone is noticed when it is read from
}

func (u *upgrade) Write(b []byte) (int, error) {
	u.WriteHeader(http.StatusOK)
	return u.conn.Write(b)
}

// Hijack implements http.Hijacker.
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return u.conn, bufio.NewReadWriter(u.in, bufio.NewWriter(u.conn)), nil
}

// hostOf is what a WebSocket server is called by a trunk: by its name where it
// has one.
func hostOf(t *trunk, peer netip.AddrPort) string {
	if t.host != "" {
		return t.host
	}
	return peer.Addr().String()
}
