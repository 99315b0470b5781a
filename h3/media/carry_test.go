package media

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

func TestCarriersBothWays(t *testing.T) {
	for name, tc := range map[string]struct {
		webTransport bool
		opt          Options
		want         string
	}{
		"trunk":        {true, Options{}, "trunk-session"},
		"webtransport": {true, Options{Rungs: Rungs("webtransport")}, "webtransport"},
		"striped":      {true, Options{Rungs: Rungs("striped")}, "striped"},
		"put-get":      {true, Options{Rungs: Rungs("put-get")}, "put/get"},
		"no support":   {false, Options{Ladder: &Ladder{}}, "striped"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tc.webTransport)
			server := s.call("1", nil)
			client := NewPort(Config{})
			defer client.Close()
			pool := s.connect(t)
			if tc.want == "trunk-session" {
				tc.opt.Sessions = pool.sessions(t)
			}
			c, err := Dial(context.Background(), pool, s.url("1"), client, tc.opt)
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
				late := map[string]*Port{"server": server, "client": client}[name].Stats().Late
				if len(got)+int(late) < 95 {
					t.Errorf("%s heard %d of 100, and %d were late", name, len(got), late)
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
			c.Close()
			client.Close()
			server.Close()
			for name, p := range map[string]*Port{"server": server, "client": client} {
				if st := p.Stats(); st.Carrier != tc.want {
					t.Errorf("the %s's call is over and was carried by %q", name, st.Carrier)
				}
			}
			if !tc.webTransport && tc.opt.Ladder.Verdict(s.addr, WebTransport) != Fails {
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
	c, err := Dial(context.Background(), pool, s.url("1"), client, Options{Rungs: []Rung{WebTransport, PutGet}})
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
	c, err := Dial(context.Background(), pool, s.url("1"), client, Options{Rungs: []Rung{WebTransport, PutGet}, Ladder: ladder})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client.Push(speech(0))
	eventually(t, "arrival", func() bool { return server.Stats().Received == 1 })
	eventually(t, "verdict", func() bool { return ladder.Verdict(s.addr, WebTransport) == Fails })
	talk(server, 0, 30, 4*time.Millisecond)
	settled(t, "server to client", server, client, 30)
}

func TestALargePacketCrosses(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server, client := s.call("1", nil), NewPort(Config{})
	defer client.Close()
	c, err := Dial(context.Background(), s.connect(t), s.url("1"), client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var heard listener
	server.Join(&heard)
	eventually(t, "webtransport", func() bool { return client.Stats().Carrier == "webtransport" })
	for n := range 20 {
		f := speech(n)
		f.Payload = append(f.Payload, make([]byte, MaxPayload-len(f.Payload))...)
		client.Push(f)
		eventually(t, "the large one", func() bool { return server.Stats().Received == uint64(n+1) })
	}
	settled(t, "client to server", client, server, 20)
	if got := heard.heard(); len(got) != 20 || len(got[0].Payload) != MaxPayload {
		t.Errorf("heard %d", len(got))
	}
}

func TestADeadCarrierIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPort(Config{})
		defer p.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dead := fakeWay{d: &datagrams{p: p, s: &blocked{}}}
		c := &Client{p: p, ctx: ctx, authority: "peer", carrying: make(chan struct{}), opt: Options{Ladder: &Ladder{}, Rungs: Rungs("webtransport")}}
		c.ride(dead)
		for time.Since(c.now.since) <= deadCarrier {
			c.watch()
			if c.now == nil {
				t.Fatal("given up too early")
			}
			time.Sleep(watchEvery)
		}
		c.watch()
		if c.now != nil || c.opt.Ladder.Verdict("peer", WebTransport) != Fails {
			t.Error("it is kept, or will be tried again at once")
		}
		c.ride(dead)
		for range 60 { // one from which something comes is kept
			p.receive((&chunk.Chunk{
				Seq: chunk.FullNumber(1), Timestamp: chunk.FullNumber(1), PayloadType: uint64(bridge.PCMU),
				Source: 1, Sink: 1, Media: []byte{},
			}).Append(nil), WebTransport, 0)
			time.Sleep(watchEvery)
			c.watch()
		}
		if c.now == nil {
			t.Error("given up, and it was alive")
		}
		c.ending.Wait()
	})
}

type fakeWay struct{ d *datagrams }

func (w fakeWay) carrier() carrier      { return w.d }
func (w fakeWay) over() <-chan struct{} { return nil }
func (w fakeWay) move() <-chan struct{} { return nil }
func (w fakeWay) close()                {}
