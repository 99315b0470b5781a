package bridge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

// Config is what a Bridge is made of.
type Config struct {
	Node        string // written into records
	Policy      *policy.Policy
	Store       store.Store
	Logger      *slog.Logger
	MaxCalls    int           // default 2000
	RingTimeout time.Duration // default 180 s (RFC 3261 section 16.6: more than 3 minutes for a proxy)
	Now         func() time.Time

	// Resumer says who continues a leg: the edge of its protocol, the part of it
	// that has such legs. Nil where there is none.
	Resumer func(LegRecord) Resumer

	// Members says which calls this node may touch; nil: it is alone. Takers are
	// the nodes that take calls, this one among them.
	Members Members
	Takers  []string

	// CarryOn has a node that is cut off go on with its calls, though others may
	// have them too.
	CarryOn bool

	// Forwarded, if not nil, gets what the same edge of another node sends for a leg
	// (Bridge.Forward). It must not block.
	Forwarded func(leg, from string, data []byte)

	// Unrecorded has calls taken that cannot be put on record now.
	Unrecorded bool

	// OnEnd, if not nil, is told of every call that is over. It must not block.
	OnEnd func(Summary)

	// OnPhase, if not nil, is told how long the phases of taking a call over took.
	// It must not block.
	OnPhase func(Phase, time.Duration)
}

// Trunk is how the bridge reaches a trunk.
type Trunk struct {
	Dialer Dialer  // nil: calls come from there, but none goes there
	Signer Signer  // nil: calls over this trunk need no PASSporT
	Codecs []Codec // what may be spoken there, best first; empty = everything
	Seals  bool    // media that the ends encrypt between themselves can go there
}

// Bridge is the call-mapping core: it makes calls of the legs that arrive, and
// owns every call until it is over.
type Bridge struct {
	cfg   Config
	rules atomic.Pointer[Rules]

	mu       sync.Mutex
	calls    map[string]*call
	owners   map[Leg]*call
	paces    map[string]*pace
	busy     map[string]int // trunk -> calls in which it takes part
	draining bool
	leaving  bool // and calls are left to others
	closing  bool // whatever is left is not ours from here on
	done     sync.WaitGroup
	claims   map[string]*claiming // by call
	gone     map[string]gaveCall  // calls that were given away, and perhaps not taken yet
	moved    atomic.Int64         // calls given away
	left     atomic.Int64         // calls left to the process that follows
	gifts    chan string          // calls that others gave us

	listening sync.WaitGroup // for calls that were given away

	foyerMu sync.Mutex
	foyers  map[string]*foyers // by call

	givenLegs givenLegs

	ledger     *ledger // nil without a cluster
	isRestored chan struct{}
	restored   func() // closes it, once

	leftovers     leftovers // of a node by itself
	storeFailures atomic.Uint64
}

// New makes a bridge. It takes no call before Use has named the trunks.
func New(cfg Config) *Bridge {
	if cfg.MaxCalls == 0 {
		cfg.MaxCalls = 2000
	}
	if cfg.RingTimeout == 0 {
		cfg.RingTimeout = 180 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	b := &Bridge{
		cfg: cfg, calls: make(map[string]*call), owners: make(map[Leg]*call), busy: make(map[string]int), paces: make(map[string]*pace),
		claims: make(map[string]*claiming), isRestored: make(chan struct{}),
		gone: make(map[string]gaveCall), gifts: make(chan string, maxGifts), foyers: make(map[string]*foyers),
	}
	b.rules.Store(&Rules{Policy: cfg.Policy, MaxCalls: cfg.MaxCalls})
	b.restored = sync.OnceFunc(func() { close(b.isRestored) })
	if cfg.Members != nil {
		b.ledger = newLedger(cfg.Logger)
		cfg.Members.Serve(b)
	}
	return b
}

// Active is the number of calls that are not over.
func (b *Bridge) Active() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.calls)
}

// StoreFailures counts writes to the store that failed.
func (b *Bridge) StoreFailures() uint64 { return b.storeFailures.Load() }

func (b *Bridge) storeFailed(error) { b.storeFailures.Add(1) }

// Accept implements Acceptor: policy, route, PASSporT, record, and then the
// call runs by itself. ctx bounds Accept, not the call.
func (b *Bridge) Accept(ctx context.Context, leg Leg) error {
	info := leg.Info()
	if info.Instead != nil {
		return b.takeOver(ctx, leg)
	}
	decision, _, err := b.route(info)
	if err != nil {
		return err
	}
	c, pick, err := b.begin(ctx, leg, decision)
	if err != nil {
		return err
	}
	if err := c.enrol(ctx); err != nil {
		b.release(c)
		b.ledger.bury(c.rec.ID, c.rec.Epoch, false, b.cfg.Now()) // a write that was late may take place all the same
		return unrecorded(ctx, info, err)
	}
	if c.gone.Load() { // the leg was let go of meanwhile
		b.release(c)
		return CauseStore.With("node %q hears no majority of its cluster", b.cfg.Node)
	}
	c.log.Info("call started", "from", info.From, "to", info.To, "trunk", info.Trunk, "via", pick.name,
		"leg", info.ID, "identity", verdictWord(info.Identity), "attestation", info.Identity.Verdict.Attestation)
	intent := Intent{
		Call: c.rec.ID, Trunk: pick.name, From: info.From, To: info.To,
		Passport: c.rec.Passport, Others: c.rec.Others, Media: pick.offer, Hops: decision.Hops,
		Facts: c.rec.Facts, Trace: c.rec.Trace,
	}
	go func() {
		defer b.ended(c)
		c.run(context.WithoutCancel(ctx), pick.trunk, intent)
	}()
	return nil
}

// route asks policy, and turns a refusal into its cause.
func (b *Bridge) route(info LegInfo) (policy.Decision, Trunk, error) {
	rules := b.rules.Load()
	if rules.Trunks == nil {
		return policy.Decision{}, Trunk{}, CauseShuttingDown.With("still starting")
	}
	decision, err := rules.Policy.Decide(policy.Request{Trunk: info.Trunk, From: info.From, To: info.To, Hops: info.Hops})
	var refusal *policy.Refusal
	if errors.As(err, &refusal) {
		return policy.Decision{}, Trunk{}, Cause{Code: Code(refusal.Rule), Text: refusal.Text, By: ByBridge}
	}
	if err != nil {
		return policy.Decision{}, Trunk{}, fmt.Errorf("route call from trunk %q to %s: %w", info.Trunk, info.To, err)
	}
	trunk, ok := rules.Trunks[decision.Trunk]
	if !ok || trunk.Dialer == nil {
		return policy.Decision{}, Trunk{}, CauseInternal.With("route leads to trunk %q, which no edge serves", decision.Trunk)
	}
	return decision, trunk, nil
}

// codecs is the policy of a trunk.
func (b *Bridge) codecs(trunk string) []Codec { return b.rules.Load().Trunks[trunk].Codecs }

// passport relays the PASSporT the call came with, if it holds, and signs
// another otherwise (RFC 8224 section 6.1). The called number does not change
// on the way, so a PASSporT that was valid for leg A is valid for leg B.
func (b *Bridge) passport(ctx context.Context, info LegInfo, d policy.Decision, trunk Trunk) (string, error) {
	if info.Identity.Passport != "" && info.Identity.Verdict.Status == stir.Valid {
		return info.Identity.Passport, nil
	}
	if trunk.Signer == nil {
		return "", nil
	}
	passport, err := trunk.Signer.Sign(ctx, d.Trunk, info.From, info.To, d.Attestation)
	if err != nil {
		return "", fmt.Errorf("sign call from %s over trunk %q: %w", info.From, d.Trunk, err)
	}
	return passport, nil
}

func (b *Bridge) newCall(leg Leg, d policy.Decision, passport string) *call {
	info := leg.Info()
	id := newID()
	now := b.cfg.Now()
	trace := info.Trace.Continued()
	var others []string
	if passport == info.Identity.Passport {
		others = info.Identity.Others // they go with the one that is relayed
	}
	facts := info.Facts
	if info.Identity.Name != "" {
		facts.CallerName = info.Identity.Name // what was signed beats what was only said
	}
	return &call{
		bridge:  b,
		log:     b.cfg.Logger.With("call", id, "trace", trace.ID),
		a:       leg,
		toA:     b.pump(leg.Media()),
		stop:    make(chan Cause, 1),
		leave:   make(chan struct{}, 1),
		over:    make(chan struct{}),
		fenceUp: make(chan struct{}, 1), regained: make(chan uint64, 1),
		wanted: make(chan string, 1),
		asked:  make(chan request, maxRequests),
		hops:   d.Hops,

		numbers: [2]policy.Number{info.From, info.To},
		rec: CallRecord{
			Version: RecordVersion, ID: id, Node: b.cfg.Node, Epoch: 1,
			State: StateNew, Created: now, Passport: passport, A: leg.Record(),
			Others: others, Trace: trace, Facts: facts, Served: now, Hops: d.Hops, Identity: verdictWord(info.Identity),
		},
		summary: Summary{
			ID: id, From: string(info.From), To: string(info.To), TrunkA: info.Trunk, TrunkB: d.Trunk,
			ProtoA: info.Protocol, Identity: verdictWord(info.Identity), Created: now, Trace: trace.ID,
		},
	}
}

// admit enters a call into the table, if there is room.
func (b *Bridge) admit(c *call) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch limit := b.rules.Load().MaxCalls; {
	case b.draining:
		return CauseShuttingDown.With("node %q is going down and takes no new calls", b.cfg.Node)
	case len(b.calls) >= limit:
		cause := CauseOverloaded.With("%d calls are active, the limit (limits.calls)", len(b.calls))
		cause.RetryAfter = 5 * time.Second
		return cause
	}
	if err := b.cutOff(c); err != nil {
		return err
	}
	a, z := c.summary.TrunkA, c.summary.TrunkB
	if err := b.full(a); err != nil {
		return err
	}
	if err := b.full(z); err != nil {
		return overloaded(err)
	}
	b.calls[c.rec.ID] = c
	b.owners[c.a] = c
	c.owned = append(c.owned, c.a)
	b.count(a)
	b.count(z)
	c.places = [2]string{a, z}
	b.done.Add(1)
	return nil
}

func (b *Bridge) release(c *call) {
	b.disowned(c)
	b.mu.Lock()
	delete(b.calls, c.rec.ID)
	close(c.over)
	for _, trunk := range c.places {
		b.uncount(trunk)
	}
	b.mu.Unlock()
	b.done.Done()
}

func (b *Bridge) ended(c *call) {
	if !c.gone.Load() { // otherwise it goes on elsewhere
		c.summary.logEnd(c.log)
		if b.cfg.OnEnd != nil {
			b.cfg.OnEnd(c.summary)
		}
	}
	b.release(c)
}

// Shutdown refuses new calls, ends those there are with CauseShuttingDown, and
// waits until both sides of each know, or ctx ends.
func (b *Bridge) Shutdown(ctx context.Context) error {
	b.Refuse()
	b.mu.Lock()
	b.closing = true
	for _, c := range b.calls {
		select {
		case c.stop <- CauseShuttingDown.With("node %q is going down", b.cfg.Node):
		default: // already told
		}
	}
	b.mu.Unlock()
	if err := b.wait(ctx); err != nil {
		return fmt.Errorf("end all calls: %w", err)
	}
	return nil
}

// Drain refuses new calls, and waits until those there are have ended by
// themselves, or ctx ends.
func (b *Bridge) Drain(ctx context.Context) error {
	b.Refuse()
	if err := b.wait(ctx); err != nil {
		return fmt.Errorf("wait for the end of all calls: %w", err)
	}
	return nil
}

// stopping tells whether this process is on its way out.
func (b *Bridge) stopping() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closing
}

// Draining tells whether new calls are refused.
func (b *Bridge) Draining() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.draining
}

// wait waits until there is no call left, or ctx ends.
func (b *Bridge) wait(ctx context.Context) error {
	over := make(chan struct{})
	go func() {
		b.done.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d are still there: %w", b.Active(), ctx.Err())
	}
}

func verdictWord(id Identity) string {
	if id.Verdict.Status == stir.NotVerified {
		return "none"
	}
	return strings.TrimPrefix(string(id.Verdict.Status), "identity-")
}

// newID is the id of a call: 128 random bits.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
