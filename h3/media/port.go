package media

import (
	"context"
	"sync/atomic"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
	"riptide/h3/chunk/seal"
)

// Sizes and intervals of a Port.
const (
	// MaxPayload is the largest payload of a frame (bridge.Frame).
	MaxPayload = 1400

	// fullEvery is how often numbers are sent in full, acknowledged or not.
	fullEvery = time.Second
	// idleAfter without a packet brings a chunk that keeps the stream alive:
	// the peer takes a second of silence for loss.
	idleAfter = 900 * time.Millisecond
	// Acknowledgements go out at most this often, or once in ackMost packets. The
	// protocol would allow one every 20 ms; a datagram costs as much as a packet,
	// and 10 per second still show a dead path well within the second after which
	// calls migrate.
	ackEvery = 100 * time.Millisecond
	ackMost  = 64
	// patience is how long a packet waits for a parked GET: what a receiver
	// would still play.
	patience = playable

	closeWait = 2 * time.Second
)

// Stream names a source of one end and the sink of the other that it feeds. The
// zero Stream is none.
type Stream struct{ Source, Sink uint8 }

// Streams are what the directives say of one kind of media.
type Streams struct {
	Send, Receive Stream
	Accept        []bridge.Codec // the peer was told to send
	Idle          bridge.Codec   // we were told to send: what a stream is called that has not begun
	Sealed        bool           // the ends encrypt between themselves: nothing clear goes out or is let in
}

// Config is what a Port needs to know of its call.
type Config struct {
	// Server says that this is the server's end of the call.
	Server bool

	// Audio and Video are the streams of the directives. Of audio that is not said
	// 1 feeds 1, with all codecs we know.
	Audio, Video Streams

	// Keys, of streams that are sealed, make this Port an end of the call: frames
	// are clear at the bridge, and sealed on their way. Without them it hands
	// sealed frames on.
	Keys *seal.Session

	// Resumed says that another process had the call before: its peer has heard
	// packets of lower numbers.
	Resumed bool

	// Panic, at a server, hears that media cannot be sent because the client
	// has parked no GET: the media-panic event. It is called at most once a
	// second and must not block.
	Panic func()
}

// Port is one call's media over RIPT. It implements bridge.MediaPort. Close
// must be called when the call is over.
type Port struct {
	server  bool
	keys    *seal.Session
	onPanic func()

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	wake   chan struct{} // pokes the pump
	done   chan struct{} // closed when the pump has ended

	carriers carriers
	lot      *lot    // of a server
	open     open    // of a server
	striped  striped // of a server
	left     leftovers
	detour   atomic.Pointer[detour]
	seats    seats // of a server
	in       inbound
	out      outbound
}

var _ bridge.MediaPort = (*Port)(nil)

// NewPort makes the media end of a call. Frames pushed before a carrier is
// there wait for one.
func NewPort(c Config) *Port {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Port{
		server: c.Server, keys: c.Keys, onPanic: c.Panic, ctx: ctx, cancel: cancel,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	p.lot = &lot{p: p}
	p.in.ranges = make([]chunk.Range, 0, chunk.MaxRanges)
	p.out.origin = time.Now()
	for k := range bridge.Kind(kinds) {
		p.in.streams[k].kind, p.out.streams[k].kind = k, k
		if c.Resumed {
			p.out.streams[k].num.first = firstAgain(p.out.origin)
		}
	}
	p.out.streams[bridge.Video].codec = bridge.H264 // until there is a packet
	p.in.streams[bridge.Video].order = order{most: orderMostVideo, patient: true}
	p.Direct(c.Audio, c.Video)
	go p.pump()
	return p
}

// defaultAudio is what a call without directives runs on.
var defaultAudio = Streams{
	Send: Stream{1, 1}, Receive: Stream{1, 1},
	Accept: []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.G722, bridge.Opus, bridge.ComfortNoise, bridge.TelephoneEvent},
}

// Direct sets what the directives say. It may be called again when they change.
func (p *Port) Direct(audio, video Streams) {
	if audio.Send == (Stream{}) {
		audio.Send = defaultAudio.Send
	}
	if audio.Receive == (Stream{}) {
		audio.Receive = defaultAudio.Receive
	}
	if len(audio.Accept) == 0 {
		audio.Accept = defaultAudio.Accept
	}
	for kind, st := range [kinds]Streams{audio, video} {
		p.in.mu.Lock()
		p.in.streams[kind].direct(st, p.keys)
		p.in.mu.Unlock()
		p.out.mu.Lock()
		p.out.direct(&p.out.streams[kind], st, p.keys)
		p.out.mu.Unlock()
	}
}

func (o *outbound) direct(s *sender, st Streams, keys *seal.Session) {
	s.stream, s.peer, s.active = st.Send, st.Receive, st.Send != Stream{}
	if !s.active || s.isSealed != st.Sealed {
		o.empty(s)
	}
	s.isSealed = st.Sealed
	if st.Idle.Kind() == s.kind {
		s.codec = st.Idle
	}
	if s.sealer == nil && st.Sealed && keys != nil {
		s.sealer = keys.Sealer(sealKind(s.kind))
	}
}

func sealKind(k bridge.Kind) seal.Kind {
	if k == bridge.Video {
		return seal.Video
	}
	return seal.Audio
}

// Join names the sink of what the peer sends.
func (p *Port) Join(s bridge.Sink) {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	p.in.sink = s
}

// Push sends a frame to the peer. It never blocks.
func (p *Port) Push(f *bridge.Frame) {
	now, away := time.Now(), p.carriers.current() == nil
	if away && p.detoured(f, now) {
		return
	}
	p.out.mu.Lock()
	p.out.push(f, now, away)
	p.out.mu.Unlock()
	p.poke()
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
// counted when its fate is known. Jitter and round trip are those of speech.
func (p *Port) Stats() bridge.MediaStats {
	p.in.mu.Lock()
	s := p.in.stats
	for kind := range p.in.streams {
		s.Lost += p.in.streams[kind].track.lost
	}
	s.Jitter = p.in.streams[bridge.Audio].jitter.value()
	p.in.mu.Unlock()

	p.out.mu.Lock()
	s.Sent, s.SendDropped, s.Requested = p.out.sent, p.out.dropped, p.out.asked
	for kind := range p.out.streams {
		s.PeerLost += p.out.streams[kind].outstanding.peerLost()
	}
	s.RoundTrip = p.out.streams[bridge.Audio].outstanding.roundTrip
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
	q.Acked = p.out.lastAck
	for kind := range p.out.streams {
		if at := p.out.streams[kind].lastSent; at.After(q.Sent) {
			q.Sent = at
		}
	}
	p.out.mu.Unlock()
	return q
}

// Await sends to a channel when the next media chunk came, once. It does not wait
// for who receives.
func (p *Port) Await(heard chan<- time.Time) {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	p.in.awaited = heard
}

// Close ends the call's media: carriers are released, parked GETs answered,
// what still waits is dropped and counted. It may be called more than once.
func (p *Port) Close() {
	p.cancel()
	p.leaveSeats()
	p.striped.end()
	p.left.close(p)
	o := &p.out
	o.mu.Lock()
	o.closed = true
	for kind := range o.streams {
		o.empty(&o.streams[kind])
	}
	o.mu.Unlock()
	p.in.mu.Lock()
	if p.in.sink != nil {
		for kind := range p.in.streams {
			p.in.streams[kind].order.flush(p.in.sink)
		}
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
