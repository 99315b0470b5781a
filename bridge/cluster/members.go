package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bus carries messages between the nodes. What is sent may be lost; what one
// node sends to a subject arrives in order.
type Bus interface {
	// Publish sends to every node's subscribers, our own among them.
	Publish(subject string, data []byte) error
	// Subscribe calls each for every message, one after the other, until stop,
	// which waits for the last call.
	Subscribe(subject string, each func(data []byte)) (stop func(), err error)
}

// Config is what a node knows from its configuration.
type Config struct {
	Node  string   // our name, one of Nodes
	Nodes []string // all of them, witnesses too; an odd number
	Bus   Bus
	// Refused tells whether the host of a node refuses connections to the address
	// that its process holds open as long as it lives. An answer that does not
	// come is no proof: it is false. Nil = there is no such address.
	Refused func(ctx context.Context, node string) bool
	Seal    Seal
	Keys    []string // ids of the keys that what nodes put on record is sealed with, that which seals first; none = nobody compares
	Logger  *slog.Logger
}

// Errors of Claim.
var (
	ErrLives  = errors.New("the call is with a node that lives")
	ErrCutOff = errors.New("this node does not hear a majority of the cluster")
)

// Lease says whether this node may touch the calls it has. Under another Term
// than that in which it got them, they have to be claimed again.
type Lease struct {
	Held bool
	Term uint64
}

// Members is this node's place in the cluster. All methods are safe for
// concurrent use.
type Members struct {
	cfg  Config
	stop []func() // of the subscriptions
	end  context.CancelFunc
	life context.Context
	work sync.WaitGroup

	began time.Time
	until atomic.Int64 // when the lease ends that is held, since began; 0 = none is

	mu       sync.Mutex
	roll     *roll
	lease    Lease
	changed  chan struct{} // closed when lease changes
	wake     chan struct{} // the end of the lease has moved
	attempts map[uint64]*attempt
	attempt  uint64 // number of the last one
	probes   map[string]*probe
	leaving  bool
	retiring bool
	deaf     bool                // it was said that no majority is heard
	unlike   map[string]bool     // nodes of which it was said that they have another key
	outvoted bool                // it was said that ours is the wrong one
	partner  Partner             // nil: nobody gives or gets calls
	awaited  map[string]*awaited // answers of owners, by call
}

// Join begins to send and hear beats. Leave ends it.
func Join(cfg Config) (*Members, error) {
	if !slices.Contains(cfg.Nodes, cfg.Node) || len(cfg.Nodes) > maxNodes {
		return nil, fmt.Errorf("join cluster: node %q is not one of %d, or these are more than %d (key cluster.nodes)", cfg.Node, len(cfg.Nodes), maxNodes)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	now := time.Now()
	m := &Members{
		cfg: cfg, began: now, changed: make(chan struct{}), wake: make(chan struct{}, 1),
		roll:     newRoll(cfg.Node, cfg.Nodes, uint64(now.UnixNano()), now), // a later process has a later term, by its clock
		attempts: map[uint64]*attempt{}, probes: map[string]*probe{}, awaited: map[string]*awaited{}, unlike: map[string]bool{},
	}
	m.life, m.end = context.WithCancel(context.Background())
	m.lease.Term = m.roll.term
	for subject, each := range map[string]func([]byte){subjectBeat: m.onBeat, subjectClaim: m.onMessage, subjectRelay(cfg.Node): m.onRelay} {
		stop, err := cfg.Bus.Subscribe(subject, each)
		if err != nil {
			m.Leave()
			return nil, fmt.Errorf("join cluster: %w", err)
		}
		m.stop = append(m.stop, stop)
	}
	m.work.Go(m.run)
	return m, nil
}

// Lease is the lease as it is now; changed is closed when it is another.
func (m *Members) Lease() (lease Lease, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look(time.Now())
	return m.lease, m.changed
}

// Held tells whether the lease is held at this moment: a process that stood
// still for seconds finds out here before its timers do.
func (m *Members) Held() bool {
	lease, _ := m.Lease()
	return lease.Held
}

// Fresh tells whether the lease is held at this moment, like Held, without a lock: for
// every frame that is sent on. What waited for a process that stood still is read
// before anything has told it that its lease is over.
func (m *Members) Fresh() bool { return int64(time.Since(m.began)) < m.until.Load() }

// Alive tells whether a node counts as alive as far as we know: nobody may have
// its calls yet.
func (m *Members) Alive(node string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roll.alive(time.Now(), node, false) > 0
}

// Node is one node as it is seen from here.
type Node struct {
	Name    string
	Alive   bool
	Retires bool          // it is to go, and wants no more calls
	Heard   time.Duration // ago; since we began, if never
}

// Nodes are all that are configured.
func (m *Members) Nodes() []Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var nodes []Node
	for _, name := range m.cfg.Nodes {
		n := Node{Name: name, Alive: m.roll.alive(now, name, false) > 0}
		if name != m.cfg.Node {
			n.Heard = now.Sub(m.roll.peer(name).heard)
			n.Retires = m.roll.peer(name).retires
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// Goodbye tells the others that this process touches no call any more, so that
// they need not wait to take what it left on record. It keeps voting until
// Leave.
func (m *Members) Goodbye() error {
	m.mu.Lock()
	m.leaving = true
	m.look(time.Now())
	b := m.sayBeat(time.Now())
	m.mu.Unlock()
	if err := m.cfg.Bus.Publish(subjectBeat, encode(b)); err != nil {
		return fmt.Errorf("say goodbye to the cluster: %w", err)
	}
	return nil
}

// Leave ends beats, votes and claims, and waits for them.
func (m *Members) Leave() {
	m.mu.Lock() // so that no proof begins after it
	m.end()
	m.mu.Unlock()
	for _, stop := range m.stop {
		stop()
	}
	m.work.Wait()
}

// run sends beats and watches the end of the lease.
func (m *Members) run() {
	beats := time.NewTicker(beatEvery)
	defer beats.Stop()
	expiry := time.NewTimer(leaseTime)
	defer expiry.Stop()
	m.sendBeat()
	for {
		m.mu.Lock()
		now := time.Now()
		m.look(now)
		if m.lease.Held {
			expiry.Reset(m.roll.leaseEnd(now).Sub(now))
		}
		m.roll.forget(now)
		m.mu.Unlock()
		select {
		case <-beats.C:
			m.sendBeat()
		case <-expiry.C:
		case <-m.wake:
		case <-m.life.Done():
			return
		}
	}
}

func (m *Members) sayBeat(now time.Time) beat {
	b := m.roll.beat(now)
	b.Retires = m.retiring
	b.Goodbye, b.Keys = m.leaving, m.cfg.Keys
	return b
}

func (m *Members) sendBeat() {
	m.mu.Lock()
	b := m.sayBeat(time.Now())
	m.mu.Unlock()
	m.send(subjectBeat, b)
}

// send sends what the rules do without if it is lost.
func (m *Members) send(subject string, v any) {
	if err := m.cfg.Bus.Publish(subject, encode(v)); err != nil {
		m.cfg.Logger.Debug("cluster message not sent", "subject", subject, "error", err)
	}
}

// look brings the lease up to date. The caller holds mu.
func (m *Members) look(now time.Time) {
	held := m.roll.lease(now) && !m.leaving
	until := time.Duration(0)
	if held {
		until = m.roll.leaseEnd(now).Sub(m.began)
	}
	m.until.Store(int64(until))
	m.sayDeaf(now, held)
	if next := (Lease{held, m.roll.term}); next != m.lease {
		level := slog.LevelInfo
		if held == m.lease.Held { // nothing but another term
			level = slog.LevelDebug
		}
		m.cfg.Logger.Log(context.Background(), level, "cluster lease", "held", held, "term", next.Term)
		m.lease = next
		close(m.changed)
		m.changed = make(chan struct{})
	}
}

// sayDeaf tells in the log, once, that no majority is heard: any more, or within the
// time that it takes to hear one. The caller holds mu.
func (m *Members) sayDeaf(now time.Time, held bool) {
	switch {
	case held == !m.deaf || m.leaving:
	case held:
		m.deaf = false
	case m.lease.Held || now.Sub(m.roll.began) > deadAfter:
		m.deaf = true
		m.cfg.Logger.Warn("this node hears no majority of its cluster: it takes no calls until it does (do the nodes reach each other at cluster.nodes.NAME.address, and has each a certificate of cluster.tls.ca?)",
			"not_heard", m.roll.missing(now))
	}
}

// onBeat is called for every beat.
func (m *Members) onBeat(data []byte) {
	b, err := decodeBeat(data)
	if err != nil || b.Node == m.cfg.Node {
		return // a peer of ours would not send it, and its beats are missing then
	}
	m.mu.Lock()
	now := time.Now()
	stranger := m.roll.hear(now, b)
	m.compareKeys(b.Node)
	m.look(now)
	ours := m.roll.ours()
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	if !stranger {
		return
	}
	m.cfg.Logger.Info("node of the cluster heard", "name", b.Node)
	m.sendBeat() // so that it has its lease without waiting for the next
	for len(ours) > 0 {
		n := min(maxHeld, len(ours))
		m.send(subjectClaim, message{Kind: kindHeld, From: m.cfg.Node, Claims: ours[:n]})
		ours = ours[n:]
	}
}
