package media

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestManyCallsAtOnce(t *testing.T) {
	for _, rung := range []Rung{Trunk, WebTransport, Striped, PutGet} {
		t.Run(rung.String(), func(t *testing.T) {
			base := runtime.NumGoroutine()
			t.Run("calls", func(t *testing.T) { manyCalls(t, rung) })
			eventually(t, fmt.Sprintf("goroutines back to %d", base), func() bool { return runtime.NumGoroutine() <= base })
		})
	}
}

func manyCalls(t *testing.T, rung Rung) {
	calls, frames, gap, perConn := 100, 50, 20*time.Millisecond, 10
	if !rung.datagrams() { // what costs many times as much
		calls, frames, gap, perConn = 25, 25, 60*time.Millisecond, 4
	}
	s := newSite(t, true)
	ladder := &Ladder{}
	type call struct {
		client, server *Port
		carrier        *Client
	}
	var all []call
	var pool *conns
	var sessions *Sessions
	for n := range calls {
		if n%perConn == 0 {
			pool = s.connect(t)
		}
		if sessions == nil {
			sessions = pool.sessions(t)
		}
		server, client := s.call(fmt.Sprint(n), nil), NewPort(Config{})
		c, err := Dial(context.Background(), pool.of(fmt.Sprint(n)), s.url(fmt.Sprint(n)), client, Options{
			Rungs: Rungs(rung.String()), Ladder: ladder, Sessions: sessions,
		})
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
			received, lost = received+b.Received+b.Late, lost+b.Lost
		}
	}
	if name := all[0].server.Stats().Carrier; name != rung.Carrier() {
		t.Errorf("carried by %s", name)
	}
	t.Logf("sent %d, dropped by the sender %d, received %d, lost %d", sent, dropped, received, lost)
	if sent+dropped != uint64(2*calls*frames) || sent+dropped != received+lost {
		t.Errorf("books do not balance")
	}
}
