package media

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"riptide/h3/chunk"
)

// SessionHeader in the response to CONNECT {tg}/media is the name of the trunk
// session, by which calls are put on it.
const SessionHeader = "Ript-Session"

// maxSeats is how many calls one session takes at most.
const maxSeats = 1024

// trunkSession is one end of a WebTransport session that calls share.
//
//	ports -> seat.send -> outbox (packs, drops oldest) -> sender -> session
//	ports <- demultiplexer <- inbox (drops oldest)     <- reader <- session
//
// A session that blocks stops its sender and nobody else.
type trunkSession struct {
	id   string
	peer string
	s    session

	ctx    context.Context // ends with the session
	cancel context.CancelFunc
	wg     sync.WaitGroup

	out   *outbox
	large oversize
	in    *inbox

	mu    sync.RWMutex // held while chunks are handed on
	seats map[uint64]*seat
	taken atomic.Int32 // len(seats)

	echo    chan struct{} // closed when the peer has echoed a hello
	echoed  sync.Once
	strange atomic.Uint64 // chunks of calls that are not on this session, and rubbish
}

// seat is the place of a call on a trunk session: its carrier.
type seat struct {
	t     *trunkSession
	tag   uint64
	p     *Port
	epoch uint64

	first func() // called once, when something has come; may be nil
	came  atomic.Bool
}

var trunkTraits = traits{rung: Trunk, limit: maxDatagram}

func (s *seat) about() traits { return trunkTraits }
func (s *seat) ready() bool   { return true }

func (s *seat) send(m message) {
	if !s.t.out.put(s.tag, s.p, m) {
		s.t.sendAlone(s.tag, s.p, m)
	}
}

func newTrunkSession(id string) *trunkSession {
	t := &trunkSession{
		id: id, out: newOutbox(), in: newInbox(), seats: map[uint64]*seat{}, echo: make(chan struct{}),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// run carries the calls over s until that is over. It is called once.
func (t *trunkSession) run(s session, peer string) {
	t.s, t.peer = s, peer
	t.wg.Go(t.send)
	t.wg.Go(t.handOut)
	if str, ok := s.(streams); ok {
		t.wg.Go(func() { eachStream(t.ctx, str, t.readStream) })
	}
	for {
		b, err := s.ReceiveDatagram(t.ctx)
		if err != nil {
			break
		}
		t.in.put(b)
	}
	t.end()
	t.wg.Wait()
	t.large.close()
}

// end takes all calls off the session: they have to find another way.
func (t *trunkSession) end() {
	t.cancel()
	t.mu.Lock()
	seats := t.seats
	t.seats = nil
	t.mu.Unlock()
	for _, s := range seats {
		s.p.handBack(s)
	}
	t.out.close()
}

// sit gives a call its place. It is not ok if the session is over, or full.
func (t *trunkSession) sit(s *seat) (ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seats == nil || len(t.seats) >= maxSeats || t.seats[s.tag] != nil {
		return false
	}
	t.seats[s.tag] = s
	t.taken.Store(int32(len(t.seats)))
	return true
}

// rise takes a call off. Nothing is handed to it any more.
func (t *trunkSession) rise(s *seat) {
	s.p.detach(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seats[s.tag] == s {
		delete(t.seats, s.tag)
		t.taken.Store(int32(len(t.seats)))
	}
}

// burst is how many datagrams go out in a row, before the receiver gets a tick
// to look after them: its queues are small.
const burst = 12

// send is the only sender of datagrams.
func (t *trunkSession) send() {
	var d parcel
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for sent := 0; ; {
		tick := packTick
		if t.taken.Load() < packFrom {
			tick = 0
		}
		ok, wait := t.out.take(&d, tick)
		if ok {
			t.sendParcel(&d)
			if sent++; sent < burst {
				continue
			}
			wait = packTick
		}
		wake := t.out.wake
		if sent >= burst {
			wake = nil
		}
		due := (<-chan time.Time)(nil)
		if wait > 0 {
			timer.Reset(wait)
			due = timer.C
		}
		sent = 0
		select {
		case <-t.ctx.Done():
			return
		case <-wake:
		case <-due:
		}
	}
}

// sendParcel sends a datagram. If the path does not take it, its chunks go one
// by one, and those that are still too large on streams.
func (t *trunkSession) sendParcel(d *parcel) {
	err := t.s.SendDatagram(d.buf)
	if !tooLarge(err) {
		d.settle(err)
		return
	}
	var large *quic.DatagramTooLargeError
	errors.As(err, &large)
	t.out.shrink(int(large.MaxDatagramPayloadSize) - 8) // less the session's own number
	rest := d.buf
	for i := range d.items {
		call, one, after, _ := chunk.NextBundled(rest)
		m := d.items[i].m
		switch err := t.s.SendDatagram(rest[:len(rest)-len(after)]); {
		case d.items[i].p == nil:
		case tooLarge(err):
			m.body = one
			t.sendAlone(call, d.items[i].p, m)
		default:
			d.items[i].p.settle(m, err)
		}
		rest = after
	}
}

// sendAlone sends a chunk on a stream of its own, behind the tag of its call.
func (t *trunkSession) sendAlone(call uint64, p *Port, m message) {
	t.large.send(t.s, chunk.AppendCall(nil, call), m.body, func(err error) { p.settle(m, err) })
}

// handOut gives each call its chunks.
func (t *trunkSession) handOut() {
	for {
		b := t.in.take(t.ctx)
		if b == nil {
			return
		}
		t.unpack(b)
	}
}

// unpack hands on the chunks of a datagram.
func (t *trunkSession) unpack(b []byte) {
	for len(b) > 0 {
		call, one, rest, err := chunk.NextBundled(b)
		if err != nil {
			t.strange.Add(1)
			return
		}
		t.give(call, one)
		b = rest
	}
}

// give hands one chunk on. The lock keeps rise from returning meanwhile.
func (t *trunkSession) give(call uint64, b []byte) {
	if call == 0 {
		t.greet(b)
		return
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.seats[call]
	if s == nil {
		t.strange.Add(1)
		return
	}
	if s.first != nil && !s.came.Swap(true) {
		s.first()
	}
	s.p.receive(b, Trunk, s.epoch)
}

// greet answers a hello of the peer, and notes its answer to ours.
func (t *trunkSession) greet(b []byte) {
	switch kind, body, ok := greeting(b); {
	case !ok:
		t.strange.Add(1)
	case kind == chunk.ControlHello:
		t.out.put(0, nil, message{body: control(chunk.ControlEcho, body)})
	default:
		t.echoed.Do(func() { close(t.echo) })
	}
}

func (t *trunkSession) readStream(str *webtransport.ReceiveStream) {
	b, err := readStream(str)
	call, n := chunk.Call(b)
	if err != nil || n == 0 || n == len(b) {
		t.strange.Add(1)
		return
	}
	t.give(call, b[n:])
}
