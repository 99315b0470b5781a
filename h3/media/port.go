package media

import (
	"context"
	"sync"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// Sizes and intervals of a Port.
const (
	// MaxPayload is the largest payload of a frame (bridge.Frame).
	MaxPayload = 1400

	ringSize = 64 // frames that wait for a carrier: 1.28 s at 20 ms each

	// fullEvery is how often numbers are sent in full, acknowledged or not.
	fullEvery = time.Second
	// idleAfter without a packet brings a chunk that keeps the stream alive:
	// the peer takes a second of silence for loss.
	idleAfter = 900 * time.Millisecond
	// Acknowledgements go out at most this often. The protocol would allow one
	// every 20 ms; a datagram costs as much as a packet, and 10 per second still
	// show a dead path well within the second after which calls migrate.
	ackEvery = 100 * time.Millisecond
	// patience is how long a packet waits for a parked GET: what a receiver
	// would still play.
	patience = 200 * time.Millisecond

	closeWait = 2 * time.Second
)

// Stream names a source of one end and the sink of the other that it feeds.
type Stream struct{ Source, Sink uint8 }

// Config is what a Port needs to know of its call.
type Config struct {
	// Server says that this is the server's end of the call.
	Server bool

	// Send and Receive are the streams of the directives; 1 to 1 if zero.
	Send, Receive Stream

	// Accept are the codecs the peer was told to send; all we know if empty.
	Accept []bridge.Codec

	// Panic, at a server, hears that media cannot be sent because the client
	// has parked no GET: the media-panic event. It is called at most once a
	// second and must not block.
	Panic func()
}

// Port is one call's media over RIPT. It implements bridge.MediaPort. Close
// must be called when the call is over.
type Port struct {
	server  bool
	onPanic func()

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	wake   chan struct{} // pokes the pump
	done   chan struct{} // closed when the pump has ended

	carriers carriers
	lot      *lot // of a server
	open     open // of a server
	striped  striped
	seats    seats // of a server
	in       inbound
	out      outbound
}

// outbound is the sending half.
type outbound struct {
	mu          sync.Mutex
	closed      bool
	stream      Stream
	num         numbering
	ring        [ringSize]slot
	head, n     int
	sent        uint64
	dropped     uint64
	outstanding outstanding
	fullUntil   uint64 // numbers are full until one from here on is acknowledged
	fullAt      time.Time
	lastSent    time.Time // of anything
	lastAck     time.Time // received
	payloadType uint64    // of the last packet
	clock       uint64
	panicked    time.Time
}

// slot is a frame that waits.
type slot struct {
	seq, clock  uint64
	at          time.Time
	payloadType uint64
	marker      bool
	payload     []byte
}

// inbound is the receiving half.
type inbound struct {
	mu      sync.Mutex
	stream  Stream
	accept  [4]uint64 // bitmap of payload types
	sink    bridge.Sink
	track   tracker
	frames  continuity // the peer may start anew, the frames do not
	millis  uint64     // latest timestamp
	clock   uint64     // latest media clock
	frame   bridge.Frame
	order   order
	ranges  []chunk.Range // scratch
	jitter  jitter
	stats   bridge.MediaStats
	lastAny time.Time

	ordered   bool      // the chunk at hand may have overtaken others, or they it
	unacked   int       // packets since the last acknowledgement went out
	unackedAt time.Time // when the first of them came
	latestAt  time.Time // when the one with the highest number came
}

var _ bridge.MediaPort = (*Port)(nil)

// NewPort makes the media end of a call. Frames pushed before a carrier is
// there wait in the ring.
func NewPort(c Config) *Port {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Port{
		server: c.Server, onPanic: c.Panic, ctx: ctx, cancel: cancel,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	p.lot = &lot{p: p}
	p.in.ranges = make([]chunk.Range, 0, chunk.MaxRanges)
	p.Direct(c.Send, c.Receive, c.Accept...)
	go p.pump()
	return p
}

// Direct sets what the directives say: the streams, and the codecs the peer
// may send. It may be called again when they change.
func (p *Port) Direct(send, receive Stream, accept ...bridge.Codec) {
	if len(accept) == 0 {
		accept = []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.ComfortNoise, bridge.TelephoneEvent}
	}
	p.in.mu.Lock()
	p.in.stream = receive.orDefault()
	p.in.accept = [4]uint64{}
	for _, c := range accept {
		p.in.accept[c/64] |= 1 << (c % 64)
	}
	p.in.mu.Unlock()

	p.out.mu.Lock()
	p.out.stream = send.orDefault()
	p.out.mu.Unlock()
}

func (s Stream) orDefault() Stream {
	if s == (Stream{}) {
		return Stream{1, 1}
	}
	return s
}

// Join names the sink of what the peer sends.
func (p *Port) Join(s bridge.Sink) {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	p.in.sink = s
}

// Push sends a frame to the peer. It never blocks.
func (p *Port) Push(f *bridge.Frame) {
	now := time.Now()
	o := &p.out
	o.mu.Lock()
	seq, clock, ok := uint64(0), uint64(0), false
	if !o.closed && len(f.Payload) > 0 && len(f.Payload) <= MaxPayload {
		seq, clock, ok = o.num.next(f.Seq, f.Timestamp, now)
	}
	if !ok {
		o.dropped++
		o.mu.Unlock()
		return
	}
	if o.n == ringSize {
		o.dropOldest()
	}
	s := &o.ring[(o.head+o.n)%ringSize]
	o.n++
	s.seq, s.clock, s.at = seq, clock, now
	s.payloadType, s.marker = uint64(f.Codec), f.Marker
	s.payload = append(s.payload[:0], f.Payload...)
	o.mu.Unlock()
	p.poke()
}

func (o *outbound) dropOldest() {
	o.head = (o.head + 1) % ringSize
	o.n--
	o.dropped++
}

// poke makes the pump look again.
func (p *Port) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Stats counts the call's packets so far. Chunks that only keep a stream alive
// and acknowledgements are no packets. What is being sent at the moment is
// counted when its fate is known.
func (p *Port) Stats() bridge.MediaStats {
	p.in.mu.Lock()
	s := p.in.stats
	s.Lost = p.in.track.lost
	s.Jitter = p.in.jitter.value()
	p.in.mu.Unlock()

	p.out.mu.Lock()
	s.Sent, s.SendDropped = p.out.sent, p.out.dropped
	s.PeerLost = p.out.outstanding.peerLost()
	s.RoundTrip = p.out.outstanding.roundTrip
	p.out.mu.Unlock()

	s.Carrier, s.Peer = p.carriers.describe(p.ctx.Err() != nil)
	return s
}

// Quiet is since when an end of the call has been silent. Times are zero for
// what never happened.
type Quiet struct {
	Received time.Time // the last chunk of any kind came
	Acked    time.Time // the last acknowledgement came
	Sent     time.Time // the last chunk of any kind went out
}

// Quiet tells when the peer was last heard: whoever sends and is not
// acknowledged for a second has to migrate the call.
func (p *Port) Quiet() Quiet {
	p.in.mu.Lock()
	q := Quiet{Received: p.in.lastAny}
	p.in.mu.Unlock()
	p.out.mu.Lock()
	q.Acked, q.Sent = p.out.lastAck, p.out.lastSent
	p.out.mu.Unlock()
	return q
}

// Close ends the call's media: carriers are released, parked GETs answered,
// what still waits is dropped and counted. It may be called more than once.
func (p *Port) Close() {
	p.cancel()
	p.leaveSeats()
	o := &p.out
	o.mu.Lock()
	o.closed = true
	for o.n > 0 {
		o.dropOldest()
	}
	o.mu.Unlock()
	p.in.mu.Lock()
	if p.in.sink != nil {
		p.in.order.flush(p.in.sink)
	}
	p.in.mu.Unlock()
	// A datagram that waits for the congestion window cannot be called back; it
	// goes with its connection.
	select {
	case <-p.done:
	case <-time.After(closeWait):
	}
}

// Done is closed when Close has been called.
func (p *Port) Done() <-chan struct{} { return p.ctx.Done() }
