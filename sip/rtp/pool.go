package rtp

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// restAfterUse is how long a port stays unused after a call, so that the last
// packets of one call do not reach the next.
const restAfterUse = 5 * time.Second

// Pool hands out pairs of ports: media on an even one, reports on the next
// (RFC 3550 section 11). The pair that has been free longest comes first.
type Pool struct {
	addr   netip.Addr
	lo, hi uint16
	now    func() time.Time

	certOnce sync.Once
	cert     tls.Certificate
	print    sdp.Fingerprint
	certErr  error

	mu    sync.Mutex
	free  []resting // oldest first
	inUse int
}

// resting is a free pair, named by its even port.
type resting struct {
	port  uint16
	since time.Time // zero = never used
}

// NewPool takes the pairs between lo and hi, both included, on one address.
// With lo 0 the kernel chooses the ports: for tests, since a firewall cannot
// know them.
func NewPool(addr netip.Addr, lo, hi uint16) (*Pool, error) {
	if !addr.IsValid() {
		return nil, errors.New("media ports: no address to bind")
	}
	p := &Pool{addr: addr.Unmap(), lo: lo, hi: hi, now: time.Now}
	if lo == 0 {
		return p, nil
	}
	for port := int(lo) + int(lo)%2; port+1 <= int(hi); port += 2 {
		p.free = append(p.free, resting{port: uint16(port)})
	}
	if len(p.free) == 0 {
		return nil, fmt.Errorf("media ports %d-%d hold no pair of an even port and the next: widen sip.media.ports", lo, hi)
	}
	return p, nil
}

// Addr is where the ports are.
func (p *Pool) Addr() netip.Addr { return p.addr }

// Options of a port.
type Options struct {
	Log     *slog.Logger  // carries the call and leg; nil = silent
	CNAME   string        // RTCP name; "" = made up for this port (RFC 7022 section 4.2)
	Restore *State        // continue the stream of a process that is gone
	Moved   bool          // not on the port where it was, but on another
	Exact   bool          // nothing was sent after Restore was made
	Reports time.Duration // mean time between RTCP reports; 0 = 5 s
	Tap     Tap           // nil: nobody's
	Leg     string        // what the tap calls this port's leg
}

// Open binds a pair for audio and starts to receive. If none can be had, the error is
// bridge.CauseOverloaded and says which setting mends it.
func (p *Pool) Open(o Options) (*Port, error) {
	port := &Port{pool: p, log: o.Log, now: p.now, cname: o.CNAME, reports: o.Reports}
	if port.log == nil {
		port.log = slog.New(slog.DiscardHandler)
	}
	if port.cname == "" && o.Restore != nil {
		port.cname = o.Restore.CNAME
	}
	if port.cname == "" {
		port.cname = rand.Text()[:16]
	}
	if port.reports <= 0 {
		port.reports = reportEvery
	}
	if o.Tap != nil {
		port.tap = &wiretap{o.Tap, o.Leg}
	}
	var err error
	port.exact = o.Exact
	if port.audio, err = port.open(bridge.Audio, o.Restore, o.Moved); err != nil {
		return nil, err
	}
	return port, nil
}

// open binds a pair for a stream of the port and starts to receive.
func (p *Port) open(kind bridge.Kind, restore *State, moved bool) (*stream, error) {
	var at uint16
	if restore != nil && !moved {
		at = restore.Local.Port()
	}
	media, reports, err := p.pool.bind(at, restore != nil)
	if err != nil {
		return nil, err
	}
	s := p.newStream(kind)
	s.local, s.media, s.reports = media.local(), media, reports
	s.rc.out, s.tx.out = reports, media
	media.tap, reports.tap = p.tap, p.tap
	media.class(kind)
	reports.class(kind)
	if restore != nil {
		s.tx.restored(*restore, p.now(), p.exact)
		s.rx.restored(*restore)
		s.rc.inherits, s.rc.first = true, s.tx.line.seq+1
		s.kept = restore
	}
	s.engine = newGoroutines()
	s.engine.add(s)
	return s, nil
}

// newStream is a stream without sockets.
func (p *Port) newStream(kind bridge.Kind) *stream {
	s := &stream{port: p, kind: kind}
	s.rc.every = p.reports
	s.rx.init(kind)
	s.tx.init(kind)
	return s
}

// InUse is the number of pairs taken.
func (p *Pool) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse
}

// bind takes the pair of a port, or whichever is next for 0: for a call that goes on
// also one that rests, since there is none without.
func (p *Pool) bind(at uint16, goesOn bool) (media, reports *socket, err error) {
	switch {
	case at != 0:
		media, reports, err = p.bindSame(at)
	case p.lo == 0:
		media, reports, err = p.bindAny()
	default:
		media, reports, err = p.bindNext(goesOn)
	}
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	p.inUse++
	p.mu.Unlock()
	return media, reports, nil
}

// bindPair binds an even port and the next.
func (p *Pool) bindPair(port uint16) (media, reports *socket, err error) {
	media, err = listen(netip.AddrPortFrom(p.addr, port))
	if err != nil {
		return nil, nil, fmt.Errorf("bind media port %v: %w", netip.AddrPortFrom(p.addr, port), err)
	}
	next := netip.AddrPortFrom(p.addr, media.local().Port()+1)
	reports, err = listen(next)
	if err != nil {
		_ = media.close()
		return nil, nil, fmt.Errorf("bind port %v for media reports: %w", next, err)
	}
	return media, reports, nil
}

// bindNext takes the pair that has rested longest. Pairs that another program
// holds go to the end of the queue.
func (p *Pool) bindNext(goesOn bool) (media, reports *socket, err error) {
	p.mu.Lock()
	tries := len(p.free)
	p.mu.Unlock()
	var taken error
	for range tries {
		port, ok := p.take(goesOn)
		if !ok {
			break
		}
		media, reports, err = p.bindPair(port)
		if err == nil {
			return media, reports, nil
		}
		p.giveBack(port)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, fmt.Errorf("%w: check sip.media.address", err)
		}
		taken = err
	}
	return nil, nil, p.exhausted(taken)
}

func (p *Pool) take(goesOn bool) (port uint16, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return 0, false
	}
	first := p.free[0]
	if !goesOn && !first.since.IsZero() && p.now().Sub(first.since) < restAfterUse {
		return 0, false
	}
	p.free = p.free[1:]
	return first.port, true
}

func (p *Pool) giveBack(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, resting{port, p.now()})
}

func (p *Pool) exhausted(taken error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	why := ""
	if taken != nil {
		why = fmt.Sprintf(", others are held by another program (%v)", taken)
	}
	return bridge.CauseOverloaded.With("no free media port in %d-%d: %d pairs in use, %d resting after their last call%s; widen sip.media.ports",
		p.lo, p.hi, p.inUse, len(p.free), why)
}

// bindSame takes the pair that a stream had before, whether it has rested or
// not.
func (p *Pool) bindSame(port uint16) (media, reports *socket, err error) {
	p.mu.Lock()
	at := slices.IndexFunc(p.free, func(r resting) bool { return r.port == port })
	if at >= 0 {
		p.free = slices.Delete(p.free, at, at+1)
	}
	p.mu.Unlock()
	media, reports, err = p.bindPair(port)
	if err != nil && at >= 0 {
		p.giveBack(port)
	}
	return media, reports, err
}

// bindAny lets the kernel choose until it chooses an even port with the next
// one free.
func (p *Pool) bindAny() (media, reports *socket, err error) {
	for range 200 {
		media, reports, err = p.bindEven()
		if err == nil {
			return media, reports, nil
		}
	}
	return nil, nil, fmt.Errorf("no pair of free ports on %v: %w", p.addr, err)
}

func (p *Pool) bindEven() (media, reports *socket, err error) {
	probe, err := listen(netip.AddrPortFrom(p.addr, 0))
	if err != nil {
		return nil, nil, err
	}
	port := probe.local().Port() &^ 1
	_ = probe.close()
	return p.bindPair(port)
}

func (p *Pool) owns(port uint16) bool {
	return p.lo != 0 && port >= p.lo && port < p.hi && port%2 == 0
}

// release takes a pair back.
func (p *Pool) release(port uint16) {
	if p.owns(port) {
		p.giveBack(port)
	}
	p.mu.Lock()
	p.inUse--
	p.mu.Unlock()
}
