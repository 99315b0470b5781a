package media

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/webtransport-go"

	"riptide/bridge"
)

// gaps is a sink that notes the longest time without a packet.
type gaps struct {
	mu     sync.Mutex
	last   time.Time
	worst  time.Duration
	frames int
}

func (g *gaps) Push(*bridge.Frame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if !g.last.IsZero() {
		g.worst = max(g.worst, now.Sub(g.last))
	}
	g.last = now
	g.frames++
}

// restart forgets, and returns what there was.
func (g *gaps) restart() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { g.worst = 0 }()
	return g.worst
}

// talker pushes to several ports until it is told to stop. Its own delays are
// noted by a sink of its own.
type talker struct {
	stop  chan struct{}
	wg    sync.WaitGroup
	said  int
	delay gaps
}

func startTalker(ports ...*Port) *talker {
	k := &talker{stop: make(chan struct{})}
	k.wg.Go(func() {
		tick := time.NewTicker(bridge.DefaultPtime)
		defer tick.Stop()
		for ; ; k.said++ {
			f := speech(k.said)
			k.delay.Push(f)
			for _, p := range ports {
				p.Push(f)
			}
			select {
			case <-tick.C:
			case <-k.stop:
				k.said++
				return
			}
		}
	})
	return k
}

func (k *talker) end() int {
	close(k.stop)
	k.wg.Wait()
	return k.said
}

// TestACallClimbsAndFalls: speech runs both ways while the call goes up the
// whole ladder and down again. Going up loses nothing. Going down loses what is
// on its way on a carrier that dies, and nothing else.
func TestACallClimbsAndFalls(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	pool := s.connect(t)
	sessions := pool.sessions(t)
	server, client := s.call("1", nil), NewPort(Config{})
	defer client.Close()
	var toServer, toClient gaps
	server.Join(&toServer)
	client.Join(&toClient)
	var ladder Ladder
	for _, r := range []Rung{Striped, WebTransport, Trunk} {
		ladder.Learn(s.addr, r, Fails, time.Hour)
	}
	talk := startTalker(client, server)
	c, err := Dial(context.Background(), pool, s.url("1"), client, Options{Ladder: &ladder, Sessions: sessions})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	on := func(r Rung) {
		t.Helper()
		eventually(t, r.String(), func() bool {
			return client.Stats().Carrier == r.Carrier() && server.Stats().Carrier == r.Carrier()
		})
		time.Sleep(300 * time.Millisecond)
	}
	on(PutGet)
	busy := false // the machine gave this process no time, so that nothing can be said of it
	for _, r := range []Rung{Striped, WebTransport, Trunk} {
		talk.delay.restart()
		toServer.restart()
		toClient.restart()
		ladder.Learn(s.addr, r, Works, time.Hour)
		on(r)
		own := talk.delay.restart()
		busy = busy || own > 2*bridge.DefaultPtime
		for name, g := range map[string]*gaps{"server": &toServer, "client": &toClient} {
			if gap := g.restart(); !busy && gap > 100*time.Millisecond {
				t.Errorf("climbing to %s: the %s heard nothing for %v", r, name, gap)
			}
		}
	}
	time.Sleep(overlap) // the old carriers are gone
	for name, p := range map[string]*Port{"client": client, "server": server} {
		if st := p.Stats(); !busy && (st.Lost != 0 || st.SendDropped != 0 || st.Late != 0) {
			t.Errorf("on the way up the %s lost packets: %+v", name, st)
		}
	}
	ladder.Learn(s.addr, Trunk, Fails, time.Hour)
	sessions.breakOff()
	on(WebTransport)
	ladder.Learn(s.addr, WebTransport, Fails, time.Hour)
	_ = pool.session().CloseWithError(0, "")
	on(Striped)
	ladder.Learn(s.addr, Striped, Fails, time.Hour)
	s.cut()
	on(PutGet)
	n := talk.end()
	settled(t, "client to server", client, server, n)
	settled(t, "server to client", server, client, n)
	for name, p := range map[string]*Port{"client": client, "server": server} {
		st := p.Stats()
		if !busy && st.Lost > 20 {
			t.Errorf("the %s lost %d of %d packets in three falls", name, st.Lost, n)
		}
	}
}

// breakOff breaks all sessions off, as connections that are lost do.
func (s *Sessions) breakOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.all {
		c.cancel()
	}
}

// overTCP is a connection to a peer, or a balancer before it, that has
// none.
type overTCP struct {
	client *http.Client
}

func (o overTCP) Do(r *http.Request) (*http.Response, error) { return o.client.Do(r) }

func (o overTCP) Session(context.Context, string, http.Header) (*webtransport.Session, error) {
	return nil, &webtransport.RequirementsNotMetError{Message: "HTTP/2"}
}

func (o overTCP) Join(context.Context, string, http.Header) (uint64, error) { return 0, ErrNoSession }
