package bridge_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/cluster"
	"riptide/bridge/store"
)

// site is three nodes that share a store: their bridges, with scripted edges, and
// their memberships, on a wire that can fall apart.
type site struct {
	t     *testing.T
	store *awayStore
	nodes map[string]*siteNode
	edit  func(*bridge.Config) // of each node

	mu   sync.Mutex
	subs map[string]map[string]func([]byte) // by node and subject
	cut  map[string]bool
	dead map[string]bool // whose host refuses connections
}

var three = []string{"one", "two", "three"}

// siteNode is one of them.
type siteNode struct {
	*rig
	site    *site
	name    string
	way     *awayStore // to the store, which others reach by theirs
	members *cluster.Members
	end     func() // its process

	mu      sync.Mutex
	resumed map[string]*bridgetest.Leg
	how     []bridge.Resumption
	answer  time.Duration // of the peers, when they are told where a call is

	onResumed func(*bridgetest.Leg, bridge.Resumption)       // nil: nobody looks
	onResume  func(context.Context, bridge.Resumption) error // nil: it can be done
}

// awayStore can be away.
type awayStore struct {
	store.Store
	mu    sync.Mutex
	away  bool
	fails error // what it says at once, instead of keeping silent
}

func (s *awayStore) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *awayStore) isAway() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

func (s *awayStore) awaits(ctx context.Context) error {
	s.mu.Lock()
	away, fails := s.away, s.fails
	s.mu.Unlock()
	if !away {
		return nil
	}
	if fails != nil {
		return fails
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *awayStore) Update(ctx context.Context, b store.Bucket, key string, value []byte, rev uint64) (uint64, error) {
	if err := s.awaits(ctx); err != nil {
		return 0, err
	}
	return s.Store.Update(ctx, b, key, value, rev)
}

func (s *awayStore) Delete(ctx context.Context, b store.Bucket, key string) error {
	if err := s.awaits(ctx); err != nil {
		return err
	}
	return s.Store.Delete(ctx, b, key)
}

// inSite runs a test with three nodes that know each other.
func inSite(t *testing.T, test func(*testing.T, *site)) {
	inSiteOf(t, func(*bridge.Config) {}, test)
}

// inSiteOf changes the configuration of each.
func inSiteOf(t *testing.T, edit func(*bridge.Config), test func(*testing.T, *site)) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{
			t: t, edit: edit, store: &awayStore{Store: store.NewMemory()}, nodes: map[string]*siteNode{},
			subs: map[string]map[string]func([]byte){}, cut: map[string]bool{}, dead: map[string]bool{},
		}
		var started sync.WaitGroup
		for _, name := range three {
			n := s.node(name)
			started.Go(func() { n.start(bridge.Restored{}) })
		}
		started.Wait()
		time.Sleep(5 * time.Second) // until all vote
		test(t, s)
		s.store.set(false)
		for _, name := range three {
			s.isolate(name, false)
		}
		for _, n := range s.nodes {
			if err := n.bridge.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for _, n := range s.nodes {
			n.end()
		}
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// port is a node's end of the wire.
type port struct {
	site *site
	name string
}

func (p port) Publish(subject string, data []byte) error {
	p.site.mu.Lock()
	var each []func([]byte)
	for name, subs := range p.site.subs {
		if f := subs[subject]; f != nil && (name == p.name || !p.site.cut[name] && !p.site.cut[p.name]) {
			each = append(each, f)
		}
	}
	p.site.mu.Unlock()
	for _, f := range each {
		f(data)
	}
	return nil
}

func (p port) Subscribe(subject string, each func([]byte)) (func(), error) {
	p.site.mu.Lock()
	defer p.site.mu.Unlock()
	if p.site.subs[p.name] == nil {
		p.site.subs[p.name] = map[string]func([]byte){}
	}
	p.site.subs[p.name][subject] = each
	return func() {
		p.site.mu.Lock()
		defer p.site.mu.Unlock()
		delete(p.site.subs[p.name], subject)
	}, nil
}

func (s *site) isolate(name string, v bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut[name] = v
}

// node makes a process of a node; it is not running yet.
func (s *site) node(name string) *siteNode {
	n := &siteNode{site: s, name: name, way: &awayStore{Store: s.store}, resumed: map[string]*bridgetest.Leg{}, answer: 10 * time.Millisecond}
	s.mu.Lock()
	s.dead[name] = false
	s.mu.Unlock()
	var err error
	n.members, err = cluster.Join(cluster.Config{Node: name, Nodes: three, Bus: port{s, name}, Refused: func(_ context.Context, node string) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.dead[node]
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	edge := bridgetest.NewDialer()
	edge.OnResume = func(ctx context.Context, how bridge.Resumption) (bridge.Leg, error) {
		n.mu.Lock()
		answer := n.answer
		n.mu.Unlock()
		select {
		case <-time.After(answer):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		n.mu.Lock()
		can := n.onResume
		n.mu.Unlock()
		if can != nil {
			if err := can(ctx, how); err != nil {
				return nil, err
			}
		}
		l := bridgetest.ResumedLeg(how)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.resumed[how.ID] = l
		n.how = append(n.how, how)
		if n.onResumed != nil {
			n.onResumed(l, how)
		}
		return l, nil
	}
	n.rig = newRig(s.t, func(cfg *bridge.Config) {
		cfg.Node, cfg.Store = name, n.way
		cfg.Members, cfg.Takers = n.members, three
		cfg.Resumer = func(bridge.LegRecord) bridge.Resumer { return edge }
		s.edit(cfg)
	})
	n.store = s.store.Store
	s.nodes[name] = n
	return n
}

// start runs it.
func (n *siteNode) start(want bridge.Restored) {
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { _ = n.bridge.Run(ctx) })
	n.end = sync.OnceFunc(func() {
		cancel()
		run.Wait()
		n.members.Leave()
	})
	got, err := n.bridge.Restore(ctx)
	if got.Took = 0; err != nil || got != want {
		n.t.Errorf("%s: %+v, want %+v, %v", n.name, got, want, err)
	}
}

// kill ends a process without a word. What it had goes on as far as its edges are
// concerned: it is as if its packets could still arrive.
func (s *site) kill(name string) *siteNode {
	n := s.nodes[name]
	n.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead[name] = true
	return n
}

// calls makes answered calls, whose legs are a0 and dialled-1, a1 ...
func (n *siteNode) calls(count int) (legs []*bridgetest.Leg) {
	n.t.Helper()
	for i := range count {
		a := leg("pbx", func(info *bridge.LegInfo) { info.ID = fmt.Sprintf("a%d", i) })
		b := n.rig.start(a)
		b.PickUp(plan)
		n.await(a, bridgetest.Accepted)
		legs = append(legs, a, b)
	}
	time.Sleep(3 * time.Second)
	return legs
}

// callID is the id of the only call here.
func (n *siteNode) callID() string {
	n.t.Helper()
	calls := n.bridge.Running()
	if len(calls) != 1 {
		n.t.Fatalf("%s has %d calls", n.name, len(calls))
	}
	return calls[0].ID
}

// silent checks that legs were let go of, and their peers told nothing.
func (n *siteNode) silent(legs []*bridgetest.Leg) {
	n.t.Helper()
	for _, l := range legs {
		kinds := []bridgetest.ActKind{}
		for _, act := range l.Acts() {
			kinds = append(kinds, act.Kind)
		}
		if !slices.Contains(kinds, bridgetest.Abandoned) || slices.Contains(kinds, bridgetest.Finished) {
			n.t.Errorf("leg %s: %v", l.Info().ID, kinds)
		}
	}
}

// active is how many calls each node has.
func (s *site) active() map[string]int {
	got := map[string]int{}
	for name, n := range s.nodes {
		if c := n.bridge.Active(); c > 0 {
			got[name] = c
		}
	}
	return got
}

// owners counts the records by their owners.
func (s *site) owners() map[string]int {
	s.t.Helper()
	keys, err := s.store.Store.Keys(s.t.Context(), store.Calls)
	if err != nil {
		s.t.Fatal(err)
	}
	got := map[string]int{}
	for _, key := range keys {
		e, err := s.store.Store.Get(s.t.Context(), store.Calls, key)
		if err != nil {
			s.t.Fatal(err)
		}
		rec, err := bridge.DecodeRecord(e.Value)
		if err != nil {
			s.t.Fatal(err)
		}
		got[rec.Node]++
	}
	return got
}
