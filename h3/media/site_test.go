package media

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
)

// site is a real HTTP/3 server on loopback with calls at /calls/{id}/media.
type site struct {
	addr   string
	media  *Server
	wt     *webtransport.Server
	roots  *x509.CertPool
	served chan struct{}

	mu    sync.Mutex
	ports map[string]*Port
	cuts  []context.CancelFunc // of the stripes that are open
	none  bool                 // no stripes any more
}

// cut breaks all stripes, for good.
func (s *site) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.none = true
	for _, cut := range s.cuts {
		cut()
	}
}

// serveStripe serves a stripe that can be cut.
func (s *site) serveStripe(w http.ResponseWriter, r *http.Request, p *Port, stripe string) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s.mu.Lock()
	none := s.none
	s.cuts = append(s.cuts, cancel)
	s.mu.Unlock()
	if none {
		http.NotFound(w, r)
		return
	}
	r = r.WithContext(ctx)
	r.Body = cutBody{r.Body, ctx}
	s.media.ServeStripe(w, r, p, stripe)
}

func newSite(t testing.TB, webTransport bool) *site {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "site"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{
		addr: socket.LocalAddr().String(), roots: x509.NewCertPool(),
		served: make(chan struct{}), ports: map[string]*Port{},
	}
	s.roots.AddCert(leaf)
	h := &http3.Server{
		Handler:     s,
		ConnContext: WithConn,
		TLSConfig:   http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}),
		QUICConfig:  QUICConfig(quic.Config{MaxIncomingStreams: 10000}),
	}
	if webTransport {
		s.wt = NewWebTransportServer(h)
	}
	s.media = NewServer(s.wt)
	go func() {
		defer close(s.served)
		if s.wt != nil {
			_ = s.wt.Serve(socket)
		} else {
			_ = h.Serve(socket)
		}
	}()
	t.Cleanup(func() {
		s.mu.Lock()
		for _, p := range s.ports {
			p.Close()
		}
		s.mu.Unlock()
		if s.wt != nil {
			_ = s.wt.Close()
		} else {
			_ = h.Close()
		}
		_ = socket.Close()
		<-s.served
	})
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/media" {
		s.media.ServeTrunk(w, r, "tg")
		return
	}
	id, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/calls/"), "/")
	s.mu.Lock()
	p := s.ports[id]
	s.mu.Unlock()
	stripe, striped := strings.CutPrefix(what, "media/stripes/")
	switch {
	case p == nil:
		http.NotFound(w, r)
	case what == "":
		s.join(w, r, p)
	case striped:
		s.serveStripe(w, r, p, stripe)
	case what == "media":
		s.media.Serve(w, r, p)
	default:
		http.NotFound(w, r)
	}
}

// join is POST {call}, as far as media need it.
func (s *site) join(w http.ResponseWriter, r *http.Request, p *Port) {
	epoch, err := epochOf(r)
	tag := uint64(0)
	if err == nil {
		tag, err = s.media.Join("tg", r.URL.Query().Get("session"), p, epoch)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	_, _ = io.WriteString(w, strconv.FormatUint(tag, 10))
}

// call makes the server's end of a call.
func (s *site) call(id string, panicked func()) *Port {
	return s.host(id, NewPort(Config{Server: true, Panic: panicked}))
}

// host puts the server's end of a call on the site.
func (s *site) host(id string, p *Port) *Port {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[id] = p
	return p
}

func (s *site) url(id string) string { return "https://" + s.addr + "/calls/" + id + "/media" }

// conns is a plain pool: so many calls share a connection.
type conns struct {
	t    testing.TB
	site *site
	call string // URL of the media of the call, if not of call 1
	rt   *webtransport.ClientConn
	quic *quic.Conn
	mu   sync.Mutex
	sess *webtransport.Session // the latest
	hang bool                  // Session never answers
}

func (s *site) connect(t testing.TB) *conns {
	t.Helper()
	c, closeAll, err := s.dial(context.Background(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeAll)
	c.t = t
	return c
}

// dial makes a connection to the site, by way of addr.
func (s *site) dial(ctx context.Context, by string) (*conns, func(), error) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	addr, err := net.ResolveUDPAddr("udp4", by)
	if err != nil {
		return nil, nil, err
	}
	tr := &quic.Transport{Conn: socket}
	c, err := tr.Dial(ctx, addr, &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", NextProtos: []string{http3.NextProtoH3}}, QUICConfig(quic.Config{}))
	if err != nil {
		_ = socket.Close()
		return nil, nil, err
	}
	wt := NewWebTransportClient()
	closeAll := func() {
		_ = c.CloseWithError(0, "")
		_ = wt.Close()
		_ = tr.Close()
		_ = socket.Close()
	}
	rt, err := wt.NewClientConn(c)
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return &conns{site: s, rt: rt, quic: c}, closeAll, nil
}

func (c *conns) Do(r *http.Request) (*http.Response, error) { return c.rt.RoundTrip(r) }

func (c *conns) Session(ctx context.Context, url string, h http.Header) (*webtransport.Session, error) {
	if c.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, sess, err := c.rt.Dial(ctx, url, h)
	c.mu.Lock()
	c.sess = sess
	c.mu.Unlock()
	return sess, err
}

func (c *conns) Join(ctx context.Context, session string, h http.Header) (uint64, error) {
	call := c.site.url("1")
	if c.call != "" {
		call = c.call
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(call, "/media")+"/?session="+session, nil)
	if err != nil {
		return 0, err
	}
	r.Header = h
	resp, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("join: %s", b)
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 64)
}

// of is the same connection, for another call.
func (c *conns) of(call string) *conns {
	return &conns{t: c.t, site: c.site, rt: c.rt, quic: c.quic, call: c.site.url(call)}
}

// sessions are trunk sessions to the site, each on a connection of its own.
func (c *conns) sessions(t testing.TB) *Sessions {
	t.Helper()
	s := NewSessions(c.dialTrunk)
	t.Cleanup(s.Close)
	return s
}

func (c *conns) dialTrunk(ctx context.Context) (OwnSession, error) {
	return c.dialTrunkBy(ctx, c.site.addr)
}

// dialTrunkBy takes the way by addr.
func (c *conns) dialTrunkBy(ctx context.Context, addr string) (OwnSession, error) {
	own, closeAll, err := c.site.dial(ctx, addr)
	if err != nil {
		return OwnSession{}, err
	}
	resp, sess, err := own.rt.Dial(ctx, "https://"+c.site.addr+"/media", nil) //nolint:bodyclose // of a session it is the session
	if err != nil {
		closeAll()
		return OwnSession{}, err
	}
	context.AfterFunc(sess.Context(), closeAll)
	return OwnSession{sess, own.quic, resp.Header.Get(SessionHeader)}, nil
}

func (c *conns) session() *webtransport.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sess
}

// eventually waits for what the other end's goroutines are about to do.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: never", what)
		}
	}
}

// talk pushes frames from a to b, and checks that every one is accounted for.
func talk(p *Port, from, n int, gap time.Duration) {
	for i := range n {
		p.Push(speech(from + i))
		time.Sleep(gap)
	}
}

// settled waits until nothing is on its way from a to b, and checks the books.
func settled(t *testing.T, name string, a, b *Port, pushed int) {
	t.Helper()
	balanced := func() bool {
		s, r := a.Stats(), b.Stats()
		return s.Sent+s.SendDropped == uint64(pushed) && s.Sent+s.SendDropped == r.Received+r.Late+r.Lost
	}
	for end := time.Now().Add(5 * time.Second); !balanced() && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	s, r := a.Stats(), b.Stats()
	if !balanced() || r.Duplicate+r.Malformed+r.UnknownPayload+r.Foreign != 0 {
		t.Errorf("%s: pushed %d, sent %+v, received %+v", name, pushed, s, r)
	}
}

// request makes one request and reads the answer.
func request(t *testing.T, c *conns, method, url string, body []byte, epoch uint64) (int, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(EpochHeader, strconv.FormatUint(epoch, 10))
	resp, err := c.Do(r)
	if err != nil {
		t.Errorf("%s: %v", method, err)
		return 0, nil
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: %v", method, err)
	}
	return resp.StatusCode, got
}
