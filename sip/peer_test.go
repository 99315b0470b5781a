package sip

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// peer is a scripted SIP peer on a socket of its own: it does nothing that the
// test does not say.
type peer struct {
	t     *testing.T
	conn  net.Conn // TCP
	udp   *net.UDPConn
	to    netip.AddrPort
	inbox chan sipgo.Message

	mu     sync.Mutex
	all    []sipgo.Message
	source netip.AddrPort // of the last datagram
}

func (p *peer) lastSource() netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.source
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	return newPeerAt(t, loopback)
}

func newPeerAt(t *testing.T, own netip.Addr) *peer {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, 0)))
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, udp: c, inbox: make(chan sipgo.Message, 65536)}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, source, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				close(p.inbox)
				return
			}
			p.mu.Lock()
			p.source = source
			p.mu.Unlock()
			p.got(buf[:n])
		}
	}()
	return p
}

func newTCPPeer(t *testing.T, conn net.Conn) *peer {
	t.Helper()
	p := &peer{t: t, conn: conn, inbox: make(chan sipgo.Message, 65536)}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		var buf []byte
		chunk := make([]byte, 65536)
		for {
			n, err := conn.Read(chunk)
			if err != nil {
				close(p.inbox)
				return
			}
			buf = append(buf, chunk[:n]...)
			for {
				skip, size, err := frame(buf)
				if err != nil || size == 0 {
					break
				}
				p.got(buf[skip : skip+size])
				buf = buf[skip+size:]
			}
		}
	}()
	return p
}

func (p *peer) got(b []byte) {
	msg, err := parse(b)
	if err != nil {
		p.t.Errorf("peer got something that does not parse: %v\n%s", err, b)
		return
	}
	p.mu.Lock()
	p.all = append(p.all, msg)
	p.mu.Unlock()
	p.inbox <- msg
}

func (p *peer) addr() netip.AddrPort {
	if p.conn != nil {
		if own := addrPortOf(p.conn.LocalAddr()); own.IsValid() {
			return own
		}
		return netip.AddrPortFrom(loopback, 9) // a WebSocket, whose peer cannot be connected to
	}
	return addrPortOf(p.udp.LocalAddr())
}

func (p *peer) transport() string {
	switch p.conn.(type) {
	case nil:
		return "UDP"
	case *tls.Conn:
		return "TLS"
	case *net.TCPConn:
		return "TCP"
	}
	return "WS"
}

func (p *peer) send(text string) {
	p.t.Helper()
	var err error
	if p.conn != nil {
		_, err = p.conn.Write([]byte(text))
	} else {
		_, err = p.udp.WriteToUDPAddrPort([]byte(text), p.to)
	}
	if err != nil {
		p.t.Fatalf("peer cannot send: %v", err)
	}
}

// count is how many messages so far satisfy f.
func (p *peer) count(f func(sipgo.Message) bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, m := range p.all {
		if f(m) {
			n++
		}
	}
	return n
}

// status waits for a response with this status to this method.
func (p *peer) status(status int, method string) *sipgo.Response {
	p.t.Helper()
	return p.await(fmt.Sprintf("%d to %s", status, method), func(m sipgo.Message) bool {
		return isStatus(m, status, method)
	}).(*sipgo.Response)
}

func isStatus(m sipgo.Message, status int, method string) bool {
	res, ok := m.(*sipgo.Response)
	return ok && res.CSeq() != nil && res.StatusCode == status && string(res.CSeq().MethodName) == method
}

// request waits for a request.
func (p *peer) request(method string) *sipgo.Request {
	p.t.Helper()
	return p.await(method, func(m sipgo.Message) bool { return isRequest(m, method) }).(*sipgo.Request)
}

func isRequest(m sipgo.Message, method string) bool {
	req, ok := m.(*sipgo.Request)
	return ok && string(req.Method) == method
}

// await skips messages until f holds.
func (p *peer) await(what string, f func(sipgo.Message) bool) sipgo.Message {
	p.t.Helper()
	limit := time.After(patience)
	var seen []string
	for {
		select {
		case m, ok := <-p.inbox:
			if !ok {
				p.t.Fatalf("socket closed while waiting for %s; saw %v", what, seen)
			}
			if f(m) {
				return m
			}
			seen = append(seen, startLine(m))
		case <-limit:
			p.t.Fatalf("no %s; saw %v", what, seen)
		}
	}
}

func startLine(m sipgo.Message) string {
	switch m := m.(type) {
	case *sipgo.Request:
		return m.StartLine()
	case *sipgo.Response:
		if m.CSeq() == nil {
			return m.StartLine()
		}
		return m.StartLine() + " (" + string(m.CSeq().MethodName) + ")"
	}
	return "?"
}

// dlg is one dialog of a scripted peer, as text.
type dlg struct {
	*peer
	uri     string // Request-URI of the INVITE, then remote target
	callID  string
	local   string // From or To of the peer, with its tag
	remote  string // the other, with the agent's tag once known
	seq     int
	branch  string     // of the INVITE
	last    string     // of the last request by do
	headers []string   // of every request
	told    uint32     // number of the last NOTIFY
	mu2     sync.Mutex // for tests that use it at many places at once
}

var branches struct {
	sync.Mutex
	n int
}

func newBranch() string {
	branches.Lock()
	defer branches.Unlock()
	branches.n++
	return fmt.Sprintf("z9hG4bKtest%d", branches.n)
}

// caller makes a dialog for an INVITE from the peer to the agent.
func (p *peer) caller(a *Agent) *dlg {
	if p.to != a.Addr() {
		p.to = a.Addr()
	}
	return &dlg{
		peer: p, uri: "sip:+12025550199@" + a.Addr().String(), callID: newBranch() + "@peer",
		local: "<sip:+12025550100@peer.example>;tag=" + newBranch(), remote: "<sip:+12025550199@riptide.example>",
	}
}

// make writes a request of the dialog. Content-Length and Via are added.
func (d *dlg) make(method string, seq int, branch, body string, headers ...string) string {
	lines := []string{
		method + " " + d.uri + " SIP/2.0",
		"Via: SIP/2.0/" + d.transport() + " " + d.addr().String() + ";branch=" + branch + ";rport",
		"Max-Forwards: 70",
		"From: " + d.local, "To: " + d.remote, "Call-ID: " + d.callID,
		fmt.Sprintf("CSeq: %d %s", seq, method),
		"Contact: <sip:peer@" + d.addr().String() + ";transport=" + strings.ToLower(d.transport()) + ">",
	}
	lines = append(lines, d.headers...)
	lines = append(lines, headers...)
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body)
	return strings.Join(lines, "\r\n")
}

func (d *dlg) invite(body string, headers ...string) {
	d.seq++
	d.branch = newBranch()
	d.send(d.make("INVITE", d.seq, d.branch, body, headers...))
}

// learn takes the agent's tag and Contact from a response.
func (d *dlg) learn(res *sipgo.Response) {
	if tag, ok := res.To().Params.Get("tag"); ok && !strings.Contains(d.remote, "tag=") {
		d.remote += ";tag=" + tag
	}
	if c := res.Contact(); c != nil {
		d.uri = c.Address.String()
	}
}

func (d *dlg) ack(body string) { d.send(d.make("ACK", d.seq, newBranch(), body)) }

// answer waits for the response to the last request of the dialog. Repetitions
// of older ones are skipped.
func (d *dlg) answer(status int, method string) *sipgo.Response {
	d.t.Helper()
	return d.await(fmt.Sprintf("%d to %s number %d", status, method, d.seq), func(m sipgo.Message) bool {
		return isStatus(m, status, method) && int(m.CSeq().SeqNo) == d.seq
	}).(*sipgo.Response)
}

// ackRefusal acknowledges a refusal, which is part of the transaction.
func (d *dlg) ackRefusal(res *sipgo.Response) {
	old := d.remote
	d.remote = res.To().Value()
	d.send(d.make("ACK", d.seq, d.branch, ""))
	d.remote = old
}

func (d *dlg) cancel(headers ...string) { d.send(d.make("CANCEL", d.seq, d.branch, "", headers...)) }

// do sends a request in the dialog, without waiting.
func (d *dlg) do(method, body string, headers ...string) {
	d.seq++
	d.last = newBranch()
	d.send(d.make(method, d.seq, d.last, body, headers...))
}

// respond answers a request of the agent.
func (p *peer) respond(req *sipgo.Request, status int, phrase, tag, body string, headers ...string) {
	p.t.Helper()
	lines := []string{fmt.Sprintf("SIP/2.0 %d %s", status, phrase)}
	for _, h := range req.Headers() {
		switch h.Name() {
		case "Via", "From", "Call-ID", "CSeq":
			lines = append(lines, h.Name()+": "+h.Value())
		case "To":
			to := h.Value()
			if !strings.Contains(to, "tag=") && tag != "" {
				to += ";tag=" + tag
			}
			lines = append(lines, "To: "+to)
		}
	}
	lines = append(lines, headers...)
	if status < 300 && status > 100 && req.IsInvite() {
		lines = append(lines, "Contact: <sip:"+tag+"@"+p.addr().String()+">")
	}
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body)
	p.send(strings.Join(lines, "\r\n"))
}
