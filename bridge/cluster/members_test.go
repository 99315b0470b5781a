package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a bus that can fall apart.
type wire struct {
	mu   sync.Mutex
	subs map[*port]map[string]func([]byte)
	cut  map[string]bool // nodes that hear and are heard by nobody
}

type port struct {
	wire *wire
	name string
}

func (p *port) Publish(subject string, data []byte) error {
	p.wire.mu.Lock()
	var each []func([]byte)
	for to, subs := range p.wire.subs {
		if subs[subject] != nil && (to == p || !p.wire.cut[p.name] && !p.wire.cut[to.name]) {
			each = append(each, subs[subject])
		}
	}
	p.wire.mu.Unlock()
	for _, f := range each {
		f(data)
	}
	return nil
}

func (p *port) Subscribe(subject string, each func([]byte)) (func(), error) {
	p.wire.mu.Lock()
	defer p.wire.mu.Unlock()
	if p.wire.subs[p] == nil {
		p.wire.subs[p] = map[string]func([]byte){}
	}
	p.wire.subs[p][subject] = each
	return func() {
		p.wire.mu.Lock()
		defer p.wire.mu.Unlock()
		delete(p.wire.subs[p], subject)
	}, nil
}

// site is three nodes on one wire.
type site struct {
	t     *testing.T
	wire  *wire
	mu    sync.Mutex
	dead  map[string]bool // whose host refuses connections
	nodes map[string]*Members
}

func newSite(t *testing.T) *site {
	s := &site{t: t, wire: &wire{subs: map[*port]map[string]func([]byte){}, cut: map[string]bool{}}, dead: map[string]bool{}, nodes: map[string]*Members{}}
	for _, name := range three {
		s.start(name)
	}
	time.Sleep(quietTime + time.Second)
	return s
}

func (s *site) start(name string) *Members {
	s.set(s.dead, name, false)
	m, err := Join(Config{Node: name, Nodes: three, Bus: &port{s.wire, name}, Refused: func(_ context.Context, node string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.dead[node]
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.nodes[name] = m
	return m
}

func (s *site) set(m map[string]bool, name string, v bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m[name] = v
}

func (s *site) kill(name string) {
	s.nodes[name].Leave()
	s.set(s.dead, name, true)
}

func (s *site) cut(name string, v bool) {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.wire.cut[name] = v
}

func (s *site) close() {
	for _, m := range s.nodes {
		m.Leave()
	}
}

func claimWithin(m *Members, d time.Duration, call, owner string, epoch uint64) (uint64, time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	began := time.Now()
	got, err := m.Claim(ctx, call, owner, epoch)
	return got, time.Since(began), err
}

// TestAProcessIsGone: its calls are to be had at once, once.
func TestAProcessIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		if _, _, err := claimWithin(s.nodes["b"], 5*time.Second, "1", "a", 2); !errors.Is(err, ErrLives) {
			t.Fatalf("claimed from a living node: %v", err)
		}
		s.kill("a")
		time.Sleep(time.Second) // what was found out about the living one is forgotten
		epoch, took, err := claimWithin(s.nodes["b"], 5*time.Second, "1", "a", 2)
		if err != nil || epoch != 2 || took > probeTime {
			t.Errorf("epoch %d after %v, %v", epoch, took, err)
		}
		if _, _, err := claimWithin(s.nodes["w"], 5*time.Second, "1", "a", 2); !errors.Is(err, ErrLives) {
			t.Errorf("claimed twice: %v", err)
		}
		// It comes back, and has what nobody has taken.
		back := s.start("a")
		if epoch, _, err := claimWithin(back, 5*time.Second, "2", "a", 2); err != nil || epoch != 2 {
			t.Errorf("its own call: epoch %d, %v", epoch, err)
		}
		if _, _, err := claimWithin(back, 5*time.Second, "1", "a", 2); !errors.Is(err, ErrLives) {
			t.Errorf("the call that was taken over: %v", err)
		}
	})
}

// TestANodeIsCutOff: it is silent 2.2 s later, others have its calls 3 s later,
// and when it is back it finds out.
func TestANodeIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		a, b := s.nodes["a"], s.nodes["b"]
		first, changed := a.Lease()
		if !first.Held {
			t.Fatal("no lease")
		}
		s.cut("a", true)
		began := time.Now()
		<-changed
		if silent := time.Since(began); silent > leaseTime || a.Held() {
			t.Errorf("silent after %v", silent)
		}
		epoch, _, err := claimWithin(b, 10*time.Second, "1", "a", 2)
		if took := time.Since(began); err != nil || epoch != 2 || took < deadAfter-beatEvery || took > deadAfter+time.Second {
			t.Errorf("epoch %d after %v, %v", epoch, took, err)
		}
		if _, _, err := claimWithin(a, time.Second, "2", "a", 2); !errors.Is(err, ErrCutOff) {
			t.Errorf("claimed without a majority: %v", err)
		}
		s.cut("a", false)
		time.Sleep(time.Second)
		again, _ := a.Lease()
		if !again.Held || again.Term == first.Term {
			t.Errorf("lease %+v after %+v", again, first)
		}
		if _, _, err := claimWithin(a, 5*time.Second, "1", "a", 2); !errors.Is(err, ErrLives) {
			t.Errorf("got back what another has: %v", err)
		}
		if epoch, _, err := claimWithin(a, 5*time.Second, "2", "a", 2); err != nil || epoch != 2 {
			t.Errorf("what nobody took: epoch %d, %v", epoch, err)
		}
	})
}

// TestGoodbye: a node that was drained leaves its calls to whoever comes first.
func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		if err := s.nodes["a"].Goodbye(); err != nil {
			t.Fatal(err)
		}
		if s.nodes["a"].Held() {
			t.Error("it may touch calls still")
		}
		if _, took, err := claimWithin(s.nodes["b"], 5*time.Second, "1", "a", 2); err != nil || took > probeTime {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

// TestRetire: a node that is to go keeps its lease, and all know.
func TestRetire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		retires := func() (got []string) {
			for _, n := range s.nodes["b"].Nodes() {
				if n.Retires {
					got = append(got, n.Name)
				}
			}
			return got
		}
		if got := retires(); got != nil {
			t.Errorf("%v are to go", got)
		}
		s.nodes["a"].Retire()
		time.Sleep(time.Second)
		if got := retires(); !slices.Equal(got, []string{"a"}) || !s.nodes["a"].Held() {
			t.Errorf("%v are to go", got)
		}
	})
}

// TestOneOfManyGetsACall: all ask at once for what a dead node had.
func TestOneOfManyGetsACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		s.kill("a")
		var wg sync.WaitGroup
		var mu sync.Mutex
		owners := map[string]int{}
		for i := range 50 {
			for _, name := range []string{"b", "w"} {
				wg.Go(func() {
					call := fmt.Sprint("call", i)
					_, _, err := claimWithin(s.nodes[name], 5*time.Second, call, "a", 2)
					if err != nil && !errors.Is(err, ErrLives) {
						t.Error(err)
					}
					if err == nil {
						mu.Lock()
						owners[call]++
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		for i := range 50 {
			if n := owners[fmt.Sprint("call", i)]; n != 1 {
				t.Errorf("call %d has %d owners", i, n)
			}
		}
	})
}

// TestAlone: two of three are gone, and nothing may be taken from anybody.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		s.kill("a")
		s.kill("w")
		if _, _, err := claimWithin(s.nodes["b"], 10*time.Second, "1", "a", 2); !errors.Is(err, ErrCutOff) {
			t.Errorf("claimed alone: %v", err)
		}
		for _, n := range s.nodes["b"].Nodes() {
			if n.Alive != (n.Name == "b") {
				t.Errorf("%+v", n)
			}
		}
	})
}

func TestJoinRefuses(t *testing.T) {
	t.Parallel()
	bus := &port{&wire{subs: map[*port]map[string]func([]byte){}}, "x"}
	if _, err := Join(Config{Node: "x", Nodes: three, Bus: bus}); err == nil {
		t.Error("joined a cluster of others")
	}
}
