package sip

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"riptide/bridge"
)

// Agent is a SIP user agent for all trunks. It implements bridge.Dialer.
type Agent struct {
	cfg        Config
	trunks     []*trunk
	byName     map[string]*trunk
	sockets    []*socket
	advertised []advertised   // to all trunks that say nothing else
	addr       netip.AddrPort // of the first socket
	host       string         // what peers are told to send to there
	quiet      *slog.Logger   // sipgo's own words, which are about messages, not calls

	base context.Context // of Accept and the like; ends with Shutdown
	stop context.CancelFunc

	retired    context.Context // of what trunks need doing beside calls; ends before base
	endTending context.CancelFunc
	tended     crew
	work       crew

	mu       sync.Mutex
	boxes    map[string]*mailbox
	streams  map[streamKey]*stream // by where they lead; a newer one may have taken the place of one that is still used
	opened   map[*stream]struct{}  // all of them
	dialling map[streamKey]*dialling
	places   places
	legs     map[*Leg]struct{}
	left     map[string]bool // Call-IDs of legs that were let go of
	draining bool
	retiring bool // peers that probe are told to turn to others
	closed   bool
	idle     chan struct{} // closed when draining and no leg is left

	guard    *guard
	gate     *gate
	resolver *resolver

	counts     counters
	asked      *rate.Limiter // challenges to strangers
	complaints *rate.Limiter // log lines about connections and logins that were refused
}

// New opens the listeners. Nothing is read before Serve.
func New(cfg Config) (*Agent, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxLegs == 0 {
		cfg.MaxLegs = defaultMaxLegs
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &Agent{
		cfg: cfg, byName: map[string]*trunk{}, boxes: map[string]*mailbox{},
		streams: map[streamKey]*stream{}, opened: map[*stream]struct{}{}, dialling: map[streamKey]*dialling{}, legs: map[*Leg]struct{}{}, idle: make(chan struct{}),
		quiet: slog.New(slog.DiscardHandler), complaints: rate.NewLimiter(1, 10), asked: rate.NewLimiter(strangersAsked, strangersBurst),
		gate: &gate{buckets: map[bucketKey]bucket{}, now: time.Now},
	}
	a.resolver = newResolver(cfg.DNS)
	a.base, a.stop = context.WithCancel(context.Background())
	a.retired, a.endTending = context.WithCancel(a.base)
	ctx, cancel := context.WithTimeout(a.base, 10*time.Second)
	defer cancel()
	for _, t := range cfg.Trunks {
		if a.byName[t.Name] != nil {
			return nil, fmt.Errorf("two SIP trunks are named %q", t.Name)
		}
		tr, err := newTrunk(t)
		if err != nil {
			return nil, err
		}
		tr.now, tr.log = cfg.Now, cfg.Logger
		if tr.host != "" {
			if _, err := a.locate(ctx, tr); err != nil {
				cfg.Logger.Warn("no calls to this trunk before its name resolves", "trunk", t.Name, "error", err)
			}
		}
		a.trunks = append(a.trunks, tr)
		a.byName[t.Name] = tr
	}
	var err error
	if a.sockets, err = planSockets(cfg.Listen, a.trunks); err != nil {
		return nil, err
	}
	if err := openSockets(ctx, cfg.opener(), a.sockets); err != nil {
		return nil, err
	}
	a.addr = a.sockets[0].addr
	if err := errors.Join(a.findHosts(ctx), a.checkCertificates()); err != nil {
		closeSockets(a.sockets)
		return nil, err
	}
	a.guard = newGuard(a.host)
	a.announce()
	for _, t := range a.trunks {
		if t.Register != nil {
			t.registrant = newRegistrant(a, t)
		}
		if t.Accept != nil && t.Accept.Register && cfg.Store != nil {
			if err := a.loadBindings(ctx, t); err != nil {
				cfg.Logger.Warn("users have to register again before they can be called", "trunk", t.Name, "error", err)
			}
		}
	}
	return a, nil
}

// checkCertificates finds secure listeners that have nothing to show.
func (a *Agent) checkCertificates() error {
	for _, s := range a.sockets {
		if !s.over.secure() {
			continue
		}
		shown := false
		for _, t := range append([]*trunk{{}}, a.trunks...) {
			c, err := a.certificateFor(t)
			if err != nil {
				return fmt.Errorf("listen for SIP over %v on %s: %w", s.over, s.addr, err)
			}
			shown = shown || c != nil && (t.Name == "" || s.serves(t))
		}
		if !shown {
			return fmt.Errorf("listen for SIP over %v on %s: there is no certificate to show (set sip.tls)", s.over, s.addr)
		}
	}
	return nil
}

// findHosts settles what peers are told to send to.
func (a *Agent) findHosts(ctx context.Context) error {
	var err error
	if a.advertised, err = advertise(ctx, a.cfg.Advertise...); err != nil {
		return err
	}
	for _, t := range a.trunks {
		if t.Advertise == "" {
			continue
		}
		if t.advertised, err = advertise(ctx, t.Advertise); err != nil {
			return fmt.Errorf("trunk %q: %w", t.Name, err)
		}
	}
	for _, s := range a.sockets {
		tell := !s.private
		for _, t := range a.trunks {
			tell = tell || s.serves(t) && len(t.advertised) == 0
		}
		if s.addr.Addr().IsUnspecified() && tell && len(a.advertised) == 0 {
			return fmt.Errorf("listen for SIP on %s: a wildcard says not where peers can reach us (set the address to advertise)", s.addr)
		}
	}
	a.host = a.originFor(&trunk{}, a.sockets[0], a.addr.Addr(), a.addr).host
	return nil
}

// Addr is where the agent listens first.
func (a *Agent) Addr() netip.AddrPort { return a.addr }

// Legs is the number of legs that are not over.
func (a *Agent) Legs() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.legs)
}

// Serve reads the listeners until Shutdown or an error. If ctx ends first, it
// shuts down by itself, giving calls five seconds.
func (a *Agent) Serve(ctx context.Context) error {
	failed := make(chan error, len(a.sockets))
	for _, s := range a.sockets {
		a.work.Go(func() { failed <- a.serve(s) })
	}
	a.tend()
	var err error
	select {
	case err = <-failed:
	case <-a.base.Done():
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, a.Shutdown(ctx))
}

// Shutdown refuses new calls, ends every leg there is with
// CauseShuttingDown, waits until the peers know or ctx ends, and closes the
// listeners. It may be called more than once.
func (a *Agent) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	if !a.draining {
		a.draining = true
		if len(a.legs) == 0 {
			close(a.idle)
		}
	}
	legs := make([]*Leg, 0, len(a.legs))
	for l := range a.legs {
		legs = append(legs, l)
	}
	a.mu.Unlock()
	for _, l := range legs {
		_ = l.End(ctx, bridge.CauseShuttingDown.With("the SIP side of %s is going down", a.host).EndedBy(bridge.ByBridge)) // a peer that cannot be told finds out
	}
	var err error
	select {
	case <-a.idle:
	case <-ctx.Done():
		err = fmt.Errorf("end all SIP legs: %d are still there: %w", a.Legs(), ctx.Err())
	}
	a.retire(ctx)
	a.close()
	return err
}

// close ends everything that is left and waits for every goroutine.
func (a *Agent) close() {
	a.stop()
	a.mu.Lock()
	a.closed = true
	boxes := make([]*mailbox, 0, len(a.boxes))
	for _, m := range a.boxes {
		boxes = append(boxes, m)
	}
	a.mu.Unlock()
	for _, m := range boxes {
		m.post(m.clear)
	}
	closeSockets(a.sockets)
	a.mu.Lock()
	for s := range a.opened {
		s.shut()
	}
	a.mu.Unlock()
	a.work.Wait()
}

// clear drops whatever a mailbox still waits for.
func (m *mailbox) clear() {
	for _, l := range append([]*Leg{}, m.legs...) {
		l.over()
	}
	for _, s := range m.server {
		s.terminate()
	}
	for _, c := range m.client {
		c.final = -1
		c.tx.Terminate()
	}
}

// box finds or makes the mailbox of a Call-ID.
func (a *Agent) box(callID string) *mailbox {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := a.boxes[callID]
	if m == nil {
		m = newMailbox(a, callID)
		a.boxes[callID] = m
	}
	return m
}

func (a *Agent) forget(m *mailbox) {
	a.mu.Lock()
	if a.boxes[m.callID] == m {
		delete(a.boxes, m.callID)
	}
	a.mu.Unlock()
}

// Limit changes how many legs there may be at once. Those there are stay.
func (a *Agent) Limit(legs int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cfg.MaxLegs = legs
}

// Retire has peers that probe turn to others: OPTIONS is answered with 503. Calls
// are taken all the same.
func (a *Agent) Retire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retiring = true
}

// enter counts a new leg, if there is room. There is for one of a call that goes
// on, whatever the limit says: it is no new call.
func (a *Agent) enter(l *Leg, goesOn bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.draining:
		cause := bridge.CauseShuttingDown.With("the SIP side of %s is going down and takes no new calls", a.host)
		cause.RetryAfter = retryAfterOverload
		return cause
	case len(a.legs) >= a.cfg.MaxLegs && !goesOn:
		cause := bridge.CauseOverloaded.With("%d SIP legs are active, the limit", len(a.legs))
		cause.RetryAfter = retryAfterOverload
		return cause
	}
	a.legs[l] = struct{}{}
	delete(a.left, l.box.callID)
	return nil
}

func (a *Agent) leave(l *Leg) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.legs[l]; !ok {
		return
	}
	delete(a.legs, l)
	if a.draining && len(a.legs) == 0 {
		close(a.idle)
	}
}

// newToken is random and safe in any header field: tags and Call-IDs.
func newToken() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

func randomUint63() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]) >> 1, nil
}
