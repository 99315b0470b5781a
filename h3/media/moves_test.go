package media

import (
	"context"
	"encoding/binary"
	"os"
	"sync"
	"testing"
	"time"

	"riptide/bridge"
)

// recorder writes down what a telephone with a jitter buffer would play: each
// frame at its turn, or silence where it has not come by then. The first frame
// says whose turn it is when.
type recorder struct {
	mu      sync.Mutex
	arrived map[uint64]time.Time
	first   uint64
	last    uint64
}

const jitterBuffer = 60 * time.Millisecond

func (r *recorder) Push(f *bridge.Frame) {
	now := time.Now()
	if f.Codec != bridge.PCMU || len(f.Payload) != 160 {
		return
	}
	n := binary.BigEndian.Uint64(f.Payload)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.arrived == nil {
		r.arrived, r.first = map[uint64]time.Time{}, n
	}
	r.arrived[n] = now
	r.last = max(r.last, n)
}

// silence is the longest one in the recording: of frames that never came, and of
// those that had not come when it was their turn.
func (r *recorder) silence() (lost, late time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var runLost, runLate time.Duration
	for n := r.first; n <= r.last; n++ {
		at, came := r.arrived[n]
		turn := r.arrived[r.first].Add(jitterBuffer + time.Duration(n-r.first)*bridge.DefaultPtime)
		runLost, runLate = runLost+bridge.DefaultPtime, runLate+bridge.DefaultPtime
		if came {
			runLost = 0
			if !at.After(turn) {
				runLate = 0
			}
		}
		lost, late = max(lost, runLost), max(late, runLate)
	}
	return lost, late
}

// TestSoakMovesAreNotHeard: a call climbs from requests to a trunk session, rung
// by rung, and falls back, with speech in both directions all the time. No move
// makes more than 100 ms of silence in what is recorded.
func TestSoakMovesAreNotHeard(t *testing.T) {
	s := newSite(t, true)
	server, client := s.call("1", nil), NewPort(Config{})
	defer client.Close()
	var atServer, atClient recorder
	server.Join(&atServer)
	client.Join(&atClient)
	pool, ladder := s.connect(t), &Ladder{}
	sessions := pool.sessions(t)
	authority := s.addr
	know := func(r Rung, v Verdict) { ladder.Learn(authority, r, v, time.Hour) }
	for _, r := range []Rung{Trunk, WebTransport, Striped} {
		know(r, Fails)
	}
	c, err := Dial(context.Background(), pool, s.url("1"), client, Options{Ladder: ladder, Sessions: sessions})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	on := func(r Rung) {
		t.Helper()
		eventually(t, r.String(), func() bool {
			return client.Stats().Carrier == r.Carrier() && server.Stats().Carrier == r.Carrier()
		})
	}
	on(PutGet)

	ctx, hush := context.WithCancel(context.Background())
	var speaking sync.WaitGroup
	speaking.Go(func() { speakUntil(ctx, client, server) })
	for _, r := range []Rung{Striped, WebTransport, Trunk} {
		time.Sleep(time.Second)
		know(r, Works)
		on(r)
	}
	for _, fall := range []struct {
		to  Rung
		end func()
	}{
		{WebTransport, func() {
			sessions.mu.Lock()
			defer sessions.mu.Unlock()
			sessions.all[0].cancel()
		}},
		{Striped, func() { _ = pool.session().CloseWithError(0, "the path broke") }},
	} {
		time.Sleep(time.Second)
		know(fall.to+1, Fails)
		fall.end()
		on(fall.to)
	}
	time.Sleep(time.Second)
	hush()
	speaking.Wait()
	time.Sleep(500 * time.Millisecond)

	for name, r := range map[string]*recorder{"at the server": &atServer, "at the client": &atClient} {
		lost, late := r.silence()
		t.Logf("%s: %d frames, the longest silence is %v, %v of it because nothing came", name, len(r.arrived), late, lost)
		// On a machine that others use too anything may be late, and what is late by more
		// than can be played does not come.
		if max(lost, late) > 100*time.Millisecond && os.Getenv("RIPTIDE_SOAK") != "" {
			t.Errorf("%s: a silence of %v, %v of it because nothing came", name, late, lost)
		}
	}
}

// speakUntil pushes a frame into each port every 20 ms.
func speakUntil(ctx context.Context, ports ...*Port) {
	begin := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		for _, p := range ports {
			p.Push(speech(n))
		}
		time.Sleep(time.Until(begin.Add(time.Duration(n+1) * bridge.DefaultPtime)))
	}
}
