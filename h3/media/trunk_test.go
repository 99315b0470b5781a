package media

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"riptide/h3/h3test"
)

// crowd is many calls between a client and a site, all on trunk sessions.
type crowd struct {
	t        *testing.T
	clients  []*Port
	servers  []*Port
	carriers []*Client
	pushed   int           // by each end of each call
	worst    time.Duration // delay of a packet that was due, lately
}

// stalled is a delay of this test's own goroutines which shows that the process
// got no CPU: the library's queues hold no more than that.
const stalled = 25 * time.Millisecond

// call puts n calls on the sessions, and waits until all of them are.
func newCrowd(t *testing.T, s *site, pool *conns, sessions *Sessions, n int) *crowd {
	t.Helper()
	c := &crowd{t: t}
	ladder := &Ladder{}
	for i := range n {
		id := fmt.Sprint(i)
		c.servers = append(c.servers, s.call(id, nil))
		client := NewPort(Config{})
		t.Cleanup(client.Close)
		c.clients = append(c.clients, client)
		carrier, err := Dial(context.Background(), pool.of(id), s.url(id), client, Options{
			Rungs: Rungs("trunk"), Ladder: ladder, Sessions: sessions,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(carrier.Close)
		c.carriers = append(c.carriers, carrier)
	}
	c.await("trunk-session")
	return c
}

// await waits until all calls are carried so, at both ends.
func (c *crowd) await(carrier string) {
	c.t.Helper()
	for i := range c.clients {
		eventually(c.t, fmt.Sprintf("call %d on %s", i, carrier), func() bool {
			return c.clients[i].Stats().Carrier == carrier && c.servers[i].Stats().Carrier == carrier
		})
	}
}

// talk lets both ends of all calls send 50 packets a second, evenly spread.
func (c *crowd) talk(d time.Duration) {
	const slots = 20 // of a millisecond
	began := time.Now()
	c.worst = 0
	for slot := 0; time.Since(began) < d || slot%slots != 0; slot++ {
		due := began.Add(time.Duration(slot) * time.Millisecond)
		time.Sleep(time.Until(due))
		c.worst = max(c.worst, time.Since(due))
		for i := slot % slots; i < len(c.clients); i += slots {
			f := speech(c.pushed)
			c.clients[i].Push(f)
			c.servers[i].Push(f)
		}
		if slot%slots == slots-1 {
			c.pushed++
		}
	}
}

// tally is what became of the packets of all calls.
type tally struct{ pushed, sent, dropped, received, lost, late uint64 }

func (a tally) String() string {
	return fmt.Sprintf("%d pushed, %d dropped by the senders, %d sent; %d received, %d late, %d lost (%.3f %%)",
		a.pushed, a.dropped, a.sent, a.received, a.late, a.lost, 100*a.lossRate())
}

// lossRate is what did not arrive of what was pushed.
func (a tally) lossRate() float64 {
	return float64(a.pushed-a.received-a.late) / float64(a.pushed)
}

func (a tally) sub(b tally) tally {
	return tally{a.pushed - b.pushed, a.sent - b.sent, a.dropped - b.dropped, a.received - b.received, a.lost - b.lost, a.late - b.late}
}

func (c *crowd) tally() (a tally) {
	for i := range c.clients {
		for _, p := range []*Port{c.clients[i], c.servers[i]} {
			s := p.Stats()
			a.pushed += uint64(c.pushed)
			a.sent, a.dropped = a.sent+s.Sent, a.dropped+s.SendDropped
			a.received, a.lost, a.late = a.received+s.Received, a.lost+s.Lost, a.late+s.Late
		}
	}
	return a
}

// settle waits until nothing is under way, and checks that every packet is
// accounted for.
func (c *crowd) settle() tally {
	c.t.Helper()
	var a tally
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if a = c.tally(); a.sent+a.dropped == a.pushed && a.received+a.late+a.lost == a.pushed {
			return a
		}
	}
	c.t.Errorf("uncounted packets: %v", a)
	return a
}

// full makes every session take that many calls, as a path does that has been
// clean for long.
func (s *Sessions) full(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.path.limit = n
}

func TestOneSessionCarries150Calls(t *testing.T) {
	s := newSite(t, true)
	pool := s.connect(t)
	sessions := pool.sessions(t)
	sessions.full(200)
	c := newCrowd(t, s, pool, sessions, 150)
	if st := sessions.State(); st.Sessions > 2 || st.Calls != 150 {
		t.Fatalf("%+v", st)
	}
	judged := false
	for range 4 {
		before := c.settle()
		c.talk(crowdTalks)
		a := c.settle().sub(before)
		t.Logf("%v; worst delay of the talkers %v", a, c.worst)
		if c.worst < stalled {
			judged = true
			// Beside other tests the receivers may stand still where the talkers do not.
			limit := 0.1
			if os.Getenv("RIPTIDE_SOAK") != "" {
				limit = 0.0005
			}
			if a.lossRate() > limit {
				t.Errorf("lost more than %.2f %%: %v, sessions %+v", 100*limit, a, sessions.State())
			}
			break
		}
	}
	if !judged {
		t.Log("the machine is too busy to tell what a quiet one would lose")
	}
}

func TestLossyPathOf150Calls(t *testing.T) {
	s := newSite(t, true)
	way := h3test.Path{Delay: 20 * time.Millisecond}
	relay := h3test.NewRelay(t, s.addr, way, way, 1)
	pool := s.connect(t)
	sessions := NewSessions(func(ctx context.Context) (OwnSession, error) {
		return pool.dialTrunkBy(ctx, relay.Addr().String())
	})
	t.Cleanup(sessions.Close)
	c := newCrowd(t, s, pool, sessions, 150)
	t.Logf("%+v", sessions.State())
	c.talk(time.Second)
	way.Loss = 0.02
	before, up, down := c.settle(), relay.Up(), relay.Down()
	relay.Set(way, way)
	c.talk(crowdTalks)
	worst := c.worst
	way.Loss = 0 // so that the last acknowledgements come
	relay.Set(way, way)
	c.talk(time.Second)
	a := c.settle().sub(before)
	up, down = lossBetween(up, relay.Up()), lossBetween(down, relay.Down())
	wire := (up.LossRate()*float64(up.Received) + down.LossRate()*float64(down.Received)) / float64(up.Received+down.Received)
	t.Logf("wire lost %.3f %%; calls: %v; %+v; worst delay of the talkers %v", 100*wire, a, sessions.State(), max(worst, c.worst))
	if a.lossRate() > wire+0.002 && max(worst, c.worst) < stalled {
		t.Errorf("lost %.3f %% of what was said, the wire lost %.3f %%", 100*a.lossRate(), 100*wire)
	}
}

func lossBetween(a, b h3test.Counts) h3test.Counts {
	return h3test.Counts{
		Received: b.Received - a.Received, Lost: b.Lost - a.Lost,
		Overflowed: b.Overflowed - a.Overflowed, Forwarded: b.Forwarded - a.Forwarded,
	}
}

// crowdTalks is how long the crowds talk.
const crowdTalks = 3 * time.Second
