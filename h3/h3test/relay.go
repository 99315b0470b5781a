package h3test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Path is what one direction of a relay does to datagrams.
type Path struct {
	Delay time.Duration // of every datagram; their order stays
	Loss  float64       // the share that is lost, 0 to 1
}

// Counts are the datagrams of one direction, since the relay began:
//
//	Received = Lost + Overflowed + Forwarded + those under way
type Counts struct {
	Received   uint64 // taken from the network
	Lost       uint64 // thrown away on purpose
	Overflowed uint64 // thrown away because too many were under way; should be 0
	Forwarded  uint64 // handed to the network
}

// LossRate is the share of datagrams that did not get through.
func (c Counts) LossRate() float64 {
	return float64(c.Lost+c.Overflowed) / float64(max(1, c.Received))
}

// Limits of a relay.
const (
	maxDatagram  = 2048
	maxUnderWay  = 8192     // per flow and direction: 10,000 a second for 0.8 s
	maxFlows     = 512      // clients, by address and port
	socketBuffer = 4 << 20  // what the kernel holds while we are not running
	flowSeedStep = 0x9e3779 // every flow has dice of its own
)

// Relay passes UDP datagrams between any number of clients and one server. It
// ends with its test.
type Relay struct {
	front  *net.UDPConn
	target *net.UDPAddr
	seed   uint64
	ctl    control
	wg     sync.WaitGroup
	pool   sync.Pool // of *[maxDatagram]byte

	mu     sync.Mutex
	flows  map[netip.AddrPort]*flow
	closed bool
}

// control is what the test may change, and read, while datagrams pass.
type control struct{ up, down direction }

type direction struct {
	delay atomic.Int64
	loss  atomic.Uint64 // share of 2^63
	counters
}

type counters struct{ received, lost, overflowed, forwarded atomic.Uint64 }

// NewRelay starts a relay to a server's address. Loss is decided by the seed and
// the order in which datagrams of a client come.
func NewRelay(t testing.TB, target string, up, down Path, seed uint64) *Relay {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", target)
	if err != nil {
		t.Fatalf("relay to %s: %v", target, err)
	}
	front, err := listen()
	if err != nil {
		t.Fatalf("relay to %s: %v", target, err)
	}
	r := &Relay{front: front, target: to, seed: seed, flows: map[netip.AddrPort]*flow{}}
	r.pool.New = func() any { return new([maxDatagram]byte) }
	r.Set(up, down)
	r.wg.Go(r.serve)
	t.Cleanup(r.close)
	return r
}

func listen() (*net.UDPConn, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	// Best effort: the kernel has a limit of its own.
	_, _ = conn.SetReadBuffer(socketBuffer), conn.SetWriteBuffer(socketBuffer)
	return conn, nil
}

// Addr is where clients send to.
func (r *Relay) Addr() netip.AddrPort { return r.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// Set changes both directions, from the next datagram on. A loss of 1 cuts the
// line.
func (r *Relay) Set(up, down Path) {
	r.ctl.up.set(up)
	r.ctl.down.set(down)
}

func (d *direction) set(p Path) {
	d.delay.Store(int64(max(0, p.Delay)))
	d.loss.Store(uint64(min(1, max(0, p.Loss)) * (1 << 63)))
}

// Up counts what went from clients to the server, Down what came back.
func (r *Relay) Up() Counts   { return r.ctl.up.counts() }
func (r *Relay) Down() Counts { return r.ctl.down.counts() }

func (c *counters) counts() Counts {
	return Counts{
		Received: c.received.Load(), Lost: c.lost.Load(),
		Overflowed: c.overflowed.Load(), Forwarded: c.forwarded.Load(),
	}
}

// Rebind gives every client a new address towards the server, as a NAT does that
// was restarted. What the server sends to the old ones is lost.
func (r *Relay) Rebind() {
	r.mu.Lock()
	old := r.flows
	r.flows = map[netip.AddrPort]*flow{}
	r.mu.Unlock()
	for _, f := range old {
		f.close()
	}
}

func (r *Relay) close() {
	r.mu.Lock()
	r.closed = true
	flows := r.flows
	r.flows = nil
	r.mu.Unlock()
	_ = r.front.Close()
	for _, f := range flows {
		f.close()
	}
	r.wg.Wait()
}

// serve reads what clients send.
func (r *Relay) serve() {
	buf := new([maxDatagram]byte)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // ICMP errors of a client that is gone
		}
		f, err := r.flow(from)
		if err != nil {
			r.ctl.up.received.Add(1)
			r.ctl.up.overflowed.Add(1)
			continue
		}
		f.up.take(buf[:n])
	}
}

// flow is one client.
type flow struct {
	back     *net.UDPConn // towards the server
	up, down *link
}

func (r *Relay) flow(from netip.AddrPort) (*flow, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flows[from]; f != nil {
		return f, nil
	}
	if r.closed || len(r.flows) >= maxFlows {
		return nil, fmt.Errorf("more than %d clients", maxFlows)
	}
	back, err := listen()
	if err != nil {
		return nil, err
	}
	seed := r.seed + flowSeedStep*uint64(len(r.flows))
	f := &flow{back: back}
	f.up = r.link(&r.ctl.up, seed, 0, func(b []byte) error {
		_, err := back.WriteToUDP(b, r.target)
		return err
	})
	f.down = r.link(&r.ctl.down, seed, 1, func(b []byte) error {
		_, err := r.front.WriteToUDPAddrPort(b, from)
		return err
	})
	r.flows[from] = f
	r.wg.Go(func() {
		defer f.down.end()
		defer f.up.end()
		buf := new([maxDatagram]byte)
		for {
			n, err := back.Read(buf[:])
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil { // else: ICMP errors of a server that is gone
				f.down.take(buf[:n])
			}
		}
	})
	return f, nil
}

// close makes the reader end, and with it the links.
func (f *flow) close() { _ = f.back.Close() }

// link is one direction of one flow.
type link struct {
	relay *Relay
	dir   *direction
	send  func([]byte) error
	queue chan underWay
	done  chan struct{}

	mu   sync.Mutex // take of one link may come from one goroutine only, end from another
	dice *rand.Rand
	over bool
	late atomic.Int64 // datagrams in the queue
}

type underWay struct {
	due time.Time
	buf *[maxDatagram]byte
	n   int
}

func (r *Relay) link(d *direction, seed, stream uint64, send func([]byte) error) *link {
	l := &link{
		relay: r, dir: d, send: send, queue: make(chan underWay, maxUnderWay), done: make(chan struct{}),
		dice: rand.New(rand.NewPCG(seed, stream)),
	}
	r.wg.Go(l.deliver)
	return l
}

// take decides about a datagram.
func (l *link) take(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dir.received.Add(1)
	if l.over || l.dice.Uint64()>>1 < l.dir.loss.Load() {
		l.dir.lost.Add(1)
		return
	}
	delay := time.Duration(l.dir.delay.Load())
	if delay == 0 && l.late.Load() == 0 {
		l.forward(b)
		return
	}
	u := underWay{due: time.Now().Add(delay), buf: l.relay.pool.Get().(*[maxDatagram]byte), n: len(b)}
	copy(u.buf[:], b)
	l.late.Add(1)
	select {
	case l.queue <- u:
	default:
		l.late.Add(-1)
		l.relay.pool.Put(u.buf)
		l.dir.overflowed.Add(1)
	}
}

// deliver sends what is due, in order.
func (l *link) deliver() {
	for {
		select {
		case u := <-l.queue:
			if wait := time.Until(u.due); wait > 0 {
				time.Sleep(wait)
			}
			l.forward(u.buf[:u.n])
			l.relay.pool.Put(u.buf)
			l.late.Add(-1)
		case <-l.done:
			return
		}
	}
}

// forward hands a datagram to the network. What the network does not take is
// lost there, as everywhere.
func (l *link) forward(b []byte) {
	if l.send(b) != nil {
		l.dir.lost.Add(1)
		return
	}
	l.dir.forwarded.Add(1)
}

func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.over = true
		close(l.done)
	}
}
