package media

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// balancer is a reverse proxy before a site, over HTTP/2 on both sides. One that
// buffers reads the whole body of a request before it hands it on.
func balancer(t *testing.T, h http.Handler, buffers bool) (front string, client *http.Client) {
	t.Helper()
	serve := func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(func() {
			s.CloseClientConnections()
			s.Close()
		})
		return s
	}
	origin := serve(h)
	to, err := url.Parse(origin.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: origin.Client().Transport,
	}
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	edge := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if buffers && r.Body != nil && r.Method == http.MethodPut {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		}
		proxy.ServeHTTP(w, r)
	}))
	return edge.URL, edge.Client()
}

// TestBehindBalancers: over HTTP/2, stripes where they pass, and where bodies
// are held back, a request per chunk; media flow while that is found out.
func TestBehindBalancers(t *testing.T) {
	for name, tc := range map[string]struct {
		buffers bool
		want    Rung
	}{
		"that stream": {false, Striped},
		"that buffer": {true, PutGet},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, false)
			front, client := balancer(t, s, tc.buffers)
			server, p := s.call("1", nil), NewPort(Config{})
			defer p.Close()
			var ladder Ladder
			talk := startTalker(p, server)
			c, err := Dial(context.Background(), overTCP{client}, front+"/calls/1/media", p, Options{Ladder: &ladder})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			authority := strings.TrimPrefix(front, "https://")
			want := Works
			if tc.buffers {
				want = Fails
			}
			eventually(t, "a verdict on stripes", func() bool { return ladder.Verdict(authority, Striped) == want })
			eventually(t, tc.want.String(), func() bool {
				return p.Stats().Carrier == tc.want.Carrier() && server.Stats().Carrier == tc.want.Carrier()
			})
			time.Sleep(time.Second)
			n := talk.end()
			settled(t, "client to server", p, server, n)
			settled(t, "server to client", server, p, n)
			for name, p := range map[string]*Port{"client": p, "server": server} {
				// A busy machine may let the server run out of parked GETs for a while.
				if st := p.Stats(); int(st.Lost+st.SendDropped) > n/4 {
					t.Errorf("%s: %d said, %+v", name, n, st)
				}
			}
			if ladder.Verdict(authority, WebTransport) != Fails || ladder.Verdict(authority, Trunk) != Fails {
				t.Error("that there is no WebTransport was not remembered")
			}
		})
	}
}

// cutter counts the requests on each stripe, and breaks those it is told to.
type cutter struct {
	next http.Handler

	mu    sync.Mutex
	opens map[string]int
	now   map[string][]context.CancelFunc
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, n, ok := strings.Cut(r.URL.Path, "/stripes/")
	if !ok {
		c.next.ServeHTTP(w, r)
		return
	}
	key := r.Method + n
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c.mu.Lock()
	c.opens[key]++
	c.now[key] = append(c.now[key], cancel)
	c.mu.Unlock()
	r = r.WithContext(ctx)
	r.Body = cutBody{r.Body, ctx}
	c.next.ServeHTTP(w, r)
}

// cutBody breaks when its context ends: with the next bytes, or at once.
type cutBody struct {
	io.ReadCloser
	ctx context.Context
}

func (b cutBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.ctx.Err() != nil {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *cutter) cut(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.now[key] {
		cancel()
	}
	c.now[key] = nil
}

func (c *cutter) count(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opens[key]
}

// counted notes how many stripes there were said to be.
type counted struct {
	next http.Handler
	mu   sync.Mutex
	said []string
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if n := r.Header.Get(StripesHeader); n != "" {
		c.mu.Lock()
		if !slices.Contains(c.said, n) {
			c.said = append(c.said, n)
		}
		c.mu.Unlock()
	}
	c.next.ServeHTTP(w, r)
}

func (c *counted) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.said, " ")
}

// TestACallInAHurryBeginsWithOneStripe, and has all of them before long. Nothing
// is lost on the way.
func TestACallInAHurryBeginsWithOneStripe(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	between := &counted{next: s}
	front, client := balancer(t, between, false)
	server, p := s.call("1", nil), NewPort(Config{})
	defer p.Close()
	talk := startTalker(p, server)
	c, err := Dial(context.Background(), overTCP{client}, front+"/calls/1/media", p, Options{Rungs: Rungs("striped"), Epoch: 1, Hurry: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for end := time.Now().Add(time.Minute); between.all() != "1 4"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("numbers of stripes: %q", between.all())
		}
	}
	eventually(t, "stripes", func() bool { return server.Stats().Carrier == "striped" })
	n := talk.end()
	settled(t, "client to server", p, server, n)
	settled(t, "server to client", server, p, n)
}

// TestADeadStripeIsOpenedAlone: one stream of eight breaks, and no other is
// touched; the call stays on its stripes.
func TestADeadStripeIsOpenedAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	between := &cutter{next: s, opens: map[string]int{}, now: map[string][]context.CancelFunc{}}
	front, client := balancer(t, between, false)
	server, p := s.call("1", nil), NewPort(Config{})
	defer p.Close()
	talk := startTalker(p, server)
	c, err := Dial(context.Background(), overTCP{client}, front+"/calls/1/media", p, Options{Rungs: Rungs("striped")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	carried := func() bool { return p.Stats().Carrier == "striped" && server.Stats().Carrier == "striped" }
	eventually(t, "stripes", carried)
	for _, key := range []string{"PUT2", "GET1"} {
		between.cut(key)
		eventually(t, key+" again", func() bool { return between.count(key) == 2 })
	}
	time.Sleep(300 * time.Millisecond)
	if !carried() {
		t.Errorf("the call is on %s", p.Stats().Carrier)
	}
	n := talk.end()
	settled(t, "client to server", p, server, n)
	settled(t, "server to client", server, p, n)
	for i := range stripeCount {
		for _, method := range []string{"PUT", "GET"} {
			key := method + string(rune('0'+i))
			want := 1
			if key == "PUT2" || key == "GET1" {
				want = 2
			}
			if n := between.count(key); n != want {
				t.Errorf("%s was opened %d times, want %d", key, n, want)
			}
		}
	}
	if st := server.Stats(); st.Lost > 8 {
		t.Errorf("server: %+v", st)
	}
}

// TestStripesThatAreGivenUpEnd: the server has begun to answer every PUT, and
// never answers a GET. Whoever gives up then is not held by bodies that have
// nothing to say.
func TestStripesThatAreGivenUpEnd(t *testing.T) {
	t.Parallel()
	answered := make(chan struct{}, 2*maxStripes)
	front, client := balancer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			_ = http.NewResponseController(w).Flush()
			answered <- struct{}{}
			_, _ = io.Copy(io.Discard, r.Body)
			return
		}
		<-r.Context().Done()
	}), false)
	p := NewPort(Config{})
	defer p.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	given := make(chan error, 1)
	go func() {
		_, err := openStripes(ctx, context.Background(), p, overTCP{client}, front+"/calls/1/media", 1, 4)
		given <- err
	}()
	for range 4 {
		<-answered
	}
	time.Sleep(100 * time.Millisecond) // the answers are on their way
	cancel()
	select {
	case err := <-given:
		if err == nil {
			t.Error("the stripes are said to be open")
		}
	case <-time.After(30 * time.Second):
		t.Error("the stripes do not end")
	}
}
