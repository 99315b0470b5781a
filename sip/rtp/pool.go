package rtp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"riptide/bridge"
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

// Options of a port.
type Options struct {
	Log     *slog.Logger  // carries the call and leg; nil = silent
	CNAME   string        // RTCP name; "" = made up for this port (RFC 7022 section 4.2)
	Restore *State        // continue the stream of a process that is gone, on the same port
	Reports time.Duration // mean time between RTCP reports; 0 = 5 s
}

// Open binds a pair and starts to receive. If none can be had, the error is
// bridge.CauseOverloaded and says which setting mends it.
func (p *Pool) Open(o Options) (*Port, error) {
	media, reports, err := p.bind(o.Restore)
	if err != nil {
		return nil, err
	}
	port := &Port{
		pool: p, log: o.Log, now: p.now, cname: o.CNAME,
		local: media.local(), media: media, reports: reports,
		engine: newGoroutines(),
	}
	if port.log == nil {
		port.log = slog.New(slog.DiscardHandler)
	}
	if port.cname == "" {
		port.cname = rand.Text()[:16]
	}
	port.rc.every = o.Reports
	if port.rc.every <= 0 {
		port.rc.every = reportEvery
	}
	port.rc.out, port.tx.out = reports, media
	port.rx.init()
	port.tx.init()
	if o.Restore != nil {
		port.tx.restored(*o.Restore, p.now())
		if o.CNAME == "" && o.Restore.CNAME != "" {
			port.cname = o.Restore.CNAME
		}
	}
	port.engine.add(port)
	return port, nil
}

// InUse is the number of ports open.
func (p *Pool) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse
}

func (p *Pool) bind(restore *State) (media, reports *socket, err error) {
	switch {
	case restore != nil:
		media, reports, err = p.bindSame(restore.Local.Port())
	case p.lo == 0:
		media, reports, err = p.bindAny()
	default:
		media, reports, err = p.bindNext()
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
func (p *Pool) bindNext() (media, reports *socket, err error) {
	p.mu.Lock()
	tries := len(p.free)
	p.mu.Unlock()
	var taken error
	for range tries {
		port, ok := p.take()
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

func (p *Pool) take() (port uint16, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return 0, false
	}
	first := p.free[0]
	if !first.since.IsZero() && p.now().Sub(first.since) < restAfterUse {
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
	for i, r := range p.free {
		if r.port == port {
			p.free = append(p.free[:i:i], p.free[i+1:]...)
			break
		}
	}
	p.mu.Unlock()
	media, reports, err = p.bindPair(port)
	if err != nil && p.owns(port) {
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

// release takes the pair of a closed port back.
func (p *Pool) release(port *Port) {
	if n := port.local.Port(); p.owns(n) {
		p.giveBack(n)
	}
	p.mu.Lock()
	p.inUse--
	p.mu.Unlock()
}

// init makes a stream of its own: random where RFC 3550 section 5.1 wants it.
func (s *sender) init() {
	s.ssrc = mathrand.Uint32()
	s.line = timeline{seq: uint16(mathrand.Uint32()), ts: mathrand.Uint32()}
	for i := range s.types {
		s.types[i] = -1
	}
}

func (r *receiver) init() {
	for i := range r.codecs {
		r.codecs[i] = -1
	}
	r.packet.CSRC = make([]uint32, 0, 15)
}
