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
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"riptide/h3/chunk"
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
}

func newSite(t *testing.T, webTransport bool) *site {
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
		Handler:    s,
		TLSConfig:  http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}),
		QUICConfig: QUICConfig(quic.Config{MaxIncomingStreams: 10000}),
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
	id, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/calls/"), "/media")
	s.mu.Lock()
	p := s.ports[id]
	s.mu.Unlock()
	if !ok || p == nil {
		http.NotFound(w, r)
		return
	}
	s.media.Serve(w, r, p)
}

// call makes the server's end of a call.
func (s *site) call(id string, panicked func()) *Port {
	p := NewPort(Config{Server: true, Panic: panicked})
	s.mu.Lock()
	s.ports[id] = p
	s.mu.Unlock()
	return p
}

func (s *site) url(id string) string { return "https://" + s.addr + "/calls/" + id + "/media" }

// conns is a plain pool: so many calls share a connection.
type conns struct {
	t    *testing.T
	rt   *webtransport.ClientConn
	quic *quic.Conn
	mu   sync.Mutex
	sess *webtransport.Session // the latest
	hang bool                  // Session never answers
}

func (s *site) connect(t *testing.T) *conns {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := net.ResolveUDPAddr("udp4", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: socket}
	c, err := tr.Dial(context.Background(), addr, &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", NextProtos: []string{http3.NextProtoH3}}, QUICConfig(quic.Config{}))
	if err != nil {
		t.Fatal(err)
	}
	wt := NewWebTransportClient()
	rt, err := wt.NewClientConn(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.CloseWithError(0, "")
		_ = wt.Close()
		_ = tr.Close()
		_ = socket.Close()
	})
	return &conns{t: t, rt: rt, quic: c}
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

func (c *conns) session() *webtransport.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sess
}

// eventually waits for what the other end's goroutines are about to do.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
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
		return s.Sent+s.SendDropped == uint64(pushed) && s.Sent+s.SendDropped == r.Received+r.Lost
	}
	for end := time.Now().Add(5 * time.Second); !balanced() && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
	}
	s, r := a.Stats(), b.Stats()
	if !balanced() || r.Duplicate+r.Malformed+r.UnknownPayload+r.Foreign != 0 {
		t.Errorf("%s: pushed %d, sent %+v, received %+v", name, pushed, s, r)
	}
}

func TestCarriersBothWays(t *testing.T) {
	for name, tc := range map[string]struct {
		webTransport bool
		opt          Options
		want         string
	}{
		"webtransport": {true, Options{}, "webtransport"},
		"put-get":      {true, Options{PutGet: true}, "put/get"},
		"no support":   {false, Options{Ladder: &Ladder{}}, "put/get"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tc.webTransport)
			server := s.call("1", nil)
			client := NewPort(Config{})
			defer client.Close()
			c, err := Dial(context.Background(), s.connect(t), s.url("1"), client, tc.opt)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var toServer, toClient listener
			server.Join(&toServer)
			client.Join(&toClient)
			eventually(t, "carrier "+tc.want, func() bool {
				return client.Stats().Carrier == tc.want && server.Stats().Carrier == tc.want
			})
			var wg sync.WaitGroup
			wg.Go(func() { talk(client, 0, 100, 4*time.Millisecond) })
			wg.Go(func() { talk(server, 0, 100, 4*time.Millisecond) })
			wg.Wait()
			settled(t, "client to server", client, server, 100)
			settled(t, "server to client", server, client, 100)
			for name, l := range map[string]*listener{"server": &toServer, "client": &toClient} {
				got := l.heard()
				if len(got) < 95 {
					t.Errorf("%s heard %d of 100", name, len(got))
				}
				for _, f := range got {
					if want := speech(int(f.Seq) - 1); f.Timestamp != want.Timestamp || string(f.Payload) != string(want.Payload) {
						t.Fatalf("%s heard %+v", name, f)
					}
				}
			}
			if st := client.Stats(); st.RoundTrip == 0 || st.Peer == "" {
				t.Errorf("client %+v", st)
			}
			if !tc.webTransport && tc.opt.Ladder.Verdict(s.addr) != Fails {
				t.Error("the missing WebTransport was not remembered")
			}
		})
	}
}

func TestTheSessionDiesInMidCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server, client := s.call("1", nil), NewPort(Config{})
	defer client.Close()
	pool := s.connect(t)
	c, err := Dial(context.Background(), pool, s.url("1"), client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	on := func(carrier string) {
		t.Helper()
		eventually(t, carrier, func() bool {
			return client.Stats().Carrier == carrier && server.Stats().Carrier == carrier
		})
	}
	on("webtransport")
	talk(client, 0, 50, 4*time.Millisecond)
	talk(server, 0, 50, 4*time.Millisecond)
	settled(t, "client to server", client, server, 50)
	settled(t, "server to client", server, client, 50)
	before := client.Stats()
	_ = pool.session().CloseWithError(0, "the path broke")
	on("put/get")
	talk(client, 50, 50, 4*time.Millisecond)
	talk(server, 50, 50, 4*time.Millisecond)
	settled(t, "client to server", client, server, 100)
	settled(t, "server to client", server, client, 100)
	if st := client.Stats(); st.Received < before.Received+45 {
		t.Errorf("after the fall-back: %+v", st)
	}
	on("webtransport") // it is tried again
	talk(client, 100, 50, 4*time.Millisecond)
	settled(t, "client to server", client, server, 150)
}

func TestMovingOverLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server, client := s.call("1", nil), NewPort(Config{})
	defer client.Close()
	// Both talk from before the first request to well after the change.
	var wg sync.WaitGroup
	wg.Go(func() { talk(client, 0, 200, 5*time.Millisecond) })
	wg.Go(func() { talk(server, 0, 200, 5*time.Millisecond) })
	c, err := Dial(context.Background(), s.connect(t), s.url("1"), client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wg.Wait()
	settled(t, "client to server", client, server, 200)
	settled(t, "server to client", server, client, 200)
	for name, p := range map[string]*Port{"client": client, "server": server} {
		if st := p.Stats(); st.Carrier != "webtransport" || st.Lost != 0 || st.SendDropped != 0 {
			t.Errorf("%s %+v", name, st)
		}
	}
}

func TestNoGetIsParked(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	panics := make(chan struct{}, 10)
	server := s.call("1", func() { panics <- struct{}{} })
	pool := s.connect(t)
	client := NewPort(Config{})
	defer client.Close()
	one := chunk.Chunk{Seq: chunk.FullNumber(1), Timestamp: chunk.FullNumber(1), Source: 1, Sink: 1, Media: []byte{1}}
	if status, body := request(t, pool, http.MethodPut, s.url("1"), one.AppendSized(nil), 0); status != http.StatusNoContent {
		t.Fatalf("PUT: %d %s", status, body)
	}
	server.Push(speech(0))
	select {
	case <-panics:
	case <-time.After(5 * time.Second):
		t.Fatal("no media-panic")
	}
	eventually(t, "drop", func() bool { return server.Stats().SendDropped == 1 })
}

func TestParkedGetsAreLimitedAndSentHome(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	server := s.call("1", nil)
	pool := s.connect(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for range MaxParked {
		wg.Go(func() {
			for {
				status, _ := request(t, pool, http.MethodGet, s.url("1"), nil, 1)
				mu.Lock()
				answers[status]++
				mu.Unlock()
				if status != http.StatusOK { // keep-alives come all the time
					return
				}
			}
		})
	}
	full := func() bool {
		server.lot.mu.Lock()
		defer server.lot.mu.Unlock()
		return len(server.lot.spots) == MaxParked
	}
	refused := false
	for end := time.Now().Add(5 * time.Second); !refused && time.Now().Before(end); {
		eventually(t, "all parked", full)
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		q := &requests{conns: pool, url: s.url("1"), epoch: 1}
		status, err := q.do(ctx, http.MethodGet, nil, nil)
		cancel()
		refused = err == nil && status == http.StatusTooManyRequests
	}
	if !refused {
		t.Errorf("%d GETs were parked", MaxParked+1)
	}
	if status, _ := request(t, pool, http.MethodGet, s.url("1"), nil, 0); status != http.StatusNoContent {
		t.Errorf("of an older epoch: %d", status)
	}
	server.Close()
	wg.Wait()
	if answers[http.StatusNoContent]+answers[http.StatusNotFound] != MaxParked {
		t.Errorf("at the end of the call: %v", answers)
	}
	if status, _ := request(t, pool, http.MethodGet, s.url("1"), nil, 2); status != http.StatusNotFound {
		t.Errorf("after the call: %d", status)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server := s.call("1", nil)
	pool := s.connect(t)
	for name, tc := range map[string]struct {
		method string
		body   []byte
		status int
	}{
		"rubbish":      {http.MethodPut, []byte{0x40}, http.StatusBadRequest},
		"too long":     {http.MethodPut, make([]byte, chunk.MaxBody+1), http.StatusRequestEntityTooLarge},
		"other method": {http.MethodDelete, nil, http.StatusMethodNotAllowed},
	} {
		if status, body := request(t, pool, tc.method, s.url("1"), tc.body, 0); status != tc.status || !strings.Contains(string(body), "about:blank") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	r, err := http.NewRequest(http.MethodGet, s.url("1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(EpochHeader, "-1")
	if resp, err := pool.Do(r); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("bad epoch: %v, %v", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	if n := server.Stats().Malformed; n != 1 {
		t.Errorf("%d malformed", n)
	}
	// A client of another protocol is shown out.
	h := http.Header{"Wt-Available-Protocols": {`"moq"`}}
	sess, err := pool.Session(context.Background(), s.url("1"), h)
	if err == nil {
		_, err = sess.ReceiveDatagram(context.Background())
	}
	if err == nil {
		t.Error("another sub-protocol was served")
	}
	if _, err := Dial(context.Background(), pool, "http://x/", server, Options{}); err == nil {
		t.Error("plain HTTP was dialled")
	}
}

func TestASessionOfRubbish(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server, other := s.call("1", nil), s.call("2", nil)
	pool := s.connect(t)
	sess, err := pool.Session(context.Background(), s.url("1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := NewPort(Config{})
	defer client.Close()
	c, err := Dial(context.Background(), pool, s.url("2"), client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range 500 {
		if err := sess.SendDatagram(fmt.Appendf(nil, "\x01rubbish %d", n)); err != nil {
			t.Fatal(err)
		}
		client.Push(speech(n))
		time.Sleep(time.Millisecond)
	}
	settled(t, "the other call", client, other, 500)
	if st := server.Stats(); st.Malformed == 0 || st.Received != 0 {
		t.Errorf("%+v", st)
	}
	if st := other.Stats(); st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAnUnansweredSessionDelaysNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server, client := s.call("1", nil), NewPort(Config{})
	defer client.Close()
	pool := s.connect(t)
	pool.hang = true
	ladder := &Ladder{}
	c, err := Dial(context.Background(), pool, s.url("1"), client, Options{Ladder: ladder})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client.Push(speech(0))
	eventually(t, "arrival", func() bool { return server.Stats().Received == 1 })
	eventually(t, "verdict", func() bool { return ladder.Verdict(s.addr) == Fails })
	talk(server, 0, 30, 4*time.Millisecond)
	settled(t, "server to client", server, client, 30)
}

func TestAHundredCallsAtOnce(t *testing.T) {
	for name, putGet := range map[string]bool{"webtransport": false, "put-get": true} {
		t.Run(name, func(t *testing.T) {
			base := runtime.NumGoroutine()
			t.Run("calls", func(t *testing.T) { hundredCalls(t, putGet) })
			eventually(t, fmt.Sprintf("goroutines back to %d", base), func() bool { return runtime.NumGoroutine() <= base })
		})
	}
}

func hundredCalls(t *testing.T, putGet bool) {
	const calls = 100
	// Requests cost ten times as much as datagrams.
	frames, gap, perConn := 50, 20*time.Millisecond, 10
	if putGet {
		frames, gap, perConn = 25, 60*time.Millisecond, 4
	}
	s := newSite(t, true)
	ladder := &Ladder{}
	type call struct {
		client, server *Port
		carrier        *Client
	}
	var all []call
	var pool *conns
	for n := range calls {
		if n%perConn == 0 {
			pool = s.connect(t)
		}
		server, client := s.call(fmt.Sprint(n), nil), NewPort(Config{})
		c, err := Dial(context.Background(), pool, s.url(fmt.Sprint(n)), client, Options{PutGet: putGet, Ladder: ladder})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, call{client, server, c})
	}
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { talk(c.client, 0, frames, gap) })
		wg.Go(func() { talk(c.server, 0, frames, gap) })
	}
	wg.Wait()
	for _, c := range all {
		wg.Go(func() {
			settled(t, "client to server", c.client, c.server, frames)
			settled(t, "server to client", c.server, c.client, frames)
			c.carrier.Close()
			c.client.Close()
			c.server.Close()
		})
	}
	wg.Wait()
	var sent, received, lost, dropped uint64
	for _, c := range all {
		for _, st := range []struct{ a, b *Port }{{c.client, c.server}, {c.server, c.client}} {
			a, b := st.a.Stats(), st.b.Stats()
			sent, dropped = sent+a.Sent, dropped+a.SendDropped
			received, lost = received+b.Received, lost+b.Lost
		}
	}
	t.Logf("sent %d, dropped by the sender %d, received %d, lost %d", sent, dropped, received, lost)
	if sent+dropped != uint64(2*calls*frames) || sent+dropped != received+lost {
		t.Errorf("books do not balance")
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
