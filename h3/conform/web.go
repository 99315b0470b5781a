package conform

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
)

// maxDocument is how much of any response is read.
const maxDocument = 1 << 20

// subProtocol is the WebTransport sub-protocol of the profile.
const subProtocol = "ript-1"

// wires are the ways to the server: HTTP/3, HTTP/2, and WebTransport on
// connections of its own.
type wires struct {
	tls   *tls.Config
	h3    *http3.Transport
	h2    *http.Transport
	wt    *webtransport.Transport
	conns []func()
}

func quicConfig() *quic.Config {
	return &quic.Config{
		MaxIdleTimeout: 10 * time.Second, KeepAlivePeriod: 3 * time.Second, HandshakeIdleTimeout: 10 * time.Second,
		EnableDatagrams: true, EnableStreamResetPartialDelivery: true,
	}
}

func newWires(roots *x509.CertPool) *wires {
	conf := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	return &wires{
		tls: conf,
		h3:  &http3.Transport{TLSClientConfig: conf, QUICConfig: quicConfig(), MaxResponseHeaderBytes: 64 << 10},
		h2: &http.Transport{
			ForceAttemptHTTP2: true, DisableCompression: true,
			DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				d := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}}
				return d.DialContext(ctx, network, addr)
			},
		},
		wt: &webtransport.Transport{
			Config:               &webtransport.Config{MaxIncomingStreams: 4, MaxIncomingUniStreams: 16, MaxIncomingData: 1 << 20},
			ApplicationProtocols: []string{subProtocol},
		},
	}
}

func (w *wires) close() {
	_ = w.h3.Close()
	w.h2.CloseIdleConnections()
	for _, c := range w.conns {
		c()
	}
}

// reply is a response whose body was read.
type reply struct {
	status int
	header http.Header
	body   []byte
	proto  string
}

// request is one request of the probe's; what is wrong with it is wrong on
// purpose.
type request struct {
	method, url string
	token       string
	kind        string // Content-Type
	body        []byte
	header      map[string]string
	over        http.RoundTripper // nil = HTTP/3
}

// open sends a request whose response is read by the caller.
func (p *Probe) open(ctx context.Context, q request, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", q.method, q.url, err)
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	if q.kind != "" {
		req.Header.Set("Content-Type", q.kind)
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	rt := q.over
	if rt == nil {
		rt = p.wires.h3
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", q.method, shortURL(q.url), err)
	}
	return resp, nil
}

// do sends a request and reads the response. Redirects are answers like others.
func (p *Probe) do(ctx context.Context, q request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opt.Timeout+5*time.Second)
	defer cancel()
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body)
	}
	resp, err := p.open(ctx, q, body)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: read response: %w", q.method, shortURL(q.url), err)
	}
	return reply{resp.StatusCode, resp.Header, b, resp.Proto}, nil
}

// problem is an RFC 9457 problem as we read it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// code is the last segment of the type.
func (p problem) code() string { return p.Type[strings.LastIndexByte(p.Type, '/')+1:] }

// problem reads a refusal.
func (r reply) problem() (problem, error) {
	var p problem
	kind, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	if strings.TrimSpace(kind) != "application/problem+json" {
		return p, fmt.Errorf("the %d has Content-Type %q, want application/problem+json", r.status, r.header.Get("Content-Type"))
	}
	if err := json.Unmarshal(r.body, &p); err != nil {
		return p, fmt.Errorf("the body of the %d is no problem: %w", r.status, err)
	}
	if p.Status != r.status {
		return p, fmt.Errorf("the problem of the %d says status %d", r.status, p.Status)
	}
	if p.Type == "" || p.Title == "" {
		return p, fmt.Errorf("the problem of the %d has no type or no title", r.status)
	}
	return p, nil
}

// is wants one of some statuses.
func (r reply) is(want ...int) error {
	for _, s := range want {
		if r.status == s {
			return nil
		}
	}
	said := ""
	if p, err := r.problem(); err == nil {
		said = ": " + p.code() + ", " + clip(p.Detail, 160)
	}
	return fmt.Errorf("answered %d, want %s%s", r.status, statuses(want), said)
}

func statuses(want []int) string {
	out := ""
	for i, s := range want {
		if i > 0 {
			out += " or "
		}
		out += fmt.Sprint(s)
	}
	return out
}

// refused wants a refusal with one of the statuses, told as a problem.
func (r reply) refused(want ...int) error {
	if err := r.is(want...); err != nil {
		return err
	}
	_, err := r.problem()
	return err
}

// decode reads a JSON document.
func (r reply) decode(into any) error {
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		return fmt.Errorf("Content-Type is %q, want application/json", kind)
	}
	if err := json.Unmarshal(r.body, into); err != nil {
		return fmt.Errorf("the body is not the JSON it should be: %w", err)
	}
	return nil
}

// members reads a JSON document as what is there, known or not.
func (r reply) members() (map[string]any, error) {
	var m map[string]any
	return m, r.decode(&m)
}

// absolute wants an absolute https URI.
func absolute(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not an absolute https URI", clip(s, 160))
	}
	return u, nil
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

func shortURL(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Path
	}
	return clip(s, 80)
}

// dialSession opens a WebTransport session on a connection of its own. The
// response is there if the server answered at all.
func (p *Probe) dialSession(ctx context.Context, uri, token string, header http.Header) (reply, *webtransport.Session, error) {
	u, err := absolute(uri)
	if err != nil {
		return reply{}, nil, err
	}
	conn, closeConn, err := p.dialQUIC(ctx, u)
	if err != nil {
		return reply{}, nil, err
	}
	cc, err := p.wires.wt.NewClientConn(conn)
	if err != nil {
		closeConn()
		return reply{}, nil, fmt.Errorf("set up HTTP/3: %w", err)
	}
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	var rep reply
	resp, sess, err := cc.Dial(ctx, uri, h) //nolint:bodyclose // of a session it is the session
	if resp != nil {
		rep = reply{status: resp.StatusCode, header: resp.Header, proto: resp.Proto}
	}
	if err != nil {
		closeConn()
		return rep, nil, fmt.Errorf("WebTransport CONNECT %s: %w", shortURL(uri), err)
	}
	context.AfterFunc(sess.Context(), closeConn)
	return rep, sess, nil
}

// dialQUIC makes a connection with a socket of its own.
func (p *Probe) dialQUIC(ctx context.Context, u *url.URL) (*quic.Conn, func(), error) {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	conf := p.wires.tls.Clone()
	conf.ServerName, conf.NextProtos = u.Hostname(), []string{http3.NextProtoH3}
	conn, err := quic.DialAddr(ctx, net.JoinHostPort(u.Hostname(), port), conf, quicConfig())
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", u.Host, err)
	}
	return conn, func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") }, nil
}
