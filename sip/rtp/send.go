package rtp

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// seamEvents is the clock of events at the seam (bridge.TelephoneEvent).
const seamEvents = 8000

// packetWriter is what the sender needs of a socket.
type packetWriter interface {
	send(b []byte, to netip.AddrPort) error
}

// sender makes RTP packets of frames. Its mutex is shared with whoever changes
// the configuration or asks for numbers.
type sender struct {
	mu     sync.Mutex
	out    packetWriter
	ssrc   uint32
	line   timeline
	to     netip.AddrPort
	muted  bool           // the direction forbids sending
	held   []bridge.Frame // that come before the peer knows where the call goes on
	holds  bool           // they are kept: the direction forbids sending for that reason alone
	closed bool           // nothing leaves any more
	types  [256]int16     // payload type number by codec, -1 = not negotiated
	first  bridge.Codec   // the one agreed on; of video it is the only one
	events uint32         // clock in which durations of events are written
	header rtp.Header
	seal   sealer
	keys   keysOut
	pack   packer
	buf    [headerSize + maxPayload + maxTail]byte

	sent, dropped  uint64
	octets         uint64 // payload bytes sent under this SSRC
	sentBefore     uint64 // under others
	sentAtLastRTCP uint64
	lastSent       time.Time
	firstSent      time.Time
	left           uint16    // highest number that left under this SSRC
	begun          bool      // one has
	quietSince     time.Time // of the first agreement on what to send
}

func (s *sender) configure(a sdp.Stream, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	formats := a.Send
	s.pack.limit(a.Ptime, a.MaxPtime)
	s.pack.n = 0
	for i := range s.types {
		s.types[i] = -1
	}
	main, ok := mainFormat(formats)
	if ok {
		s.first, _ = CodecOf(main)
		s.reclock(uint32(main.Clock))
	}
	for _, f := range formats {
		c, ok := CodecOf(f)
		if !ok || s.types[c] >= 0 && f.Clock != main.Clock {
			continue
		}
		if s.types[c] < 0 || c == bridge.TelephoneEvent {
			s.types[c] = int16(f.Payload & 127)
		}
		if c == bridge.TelephoneEvent {
			s.events = uint32(f.Clock)
		}
	}
	if s.quietSince.IsZero() && len(formats) > 0 {
		s.quietSince = now
	}
	s.direct(a.Direction)
	return s.seal.use(a.Protection)
}

// mainFormat is the first format of a stream that we know and that accompanies
// no other.
func mainFormat(formats []sdp.Format) (sdp.Format, bool) {
	for _, f := range formats {
		if c, ok := CodecOf(f); ok && (c.Speech() || c.Kind() == bridge.Video) {
			return f, true
		}
	}
	return sdp.Format{}, false
}

// reclock makes the stream count another clock. Within one SSRC nobody could
// make sense of that (RFC 7160 section 4.1), so it is another source.
func (s *sender) reclock(clock uint32) {
	if s.line.clock == clock {
		return
	}
	if !s.line.started {
		s.line.clock = clock
		return
	}
	s.ssrc = rand.Uint32()
	s.line = newTimeline(clock, s.line.video)
	s.begun = false
	s.sentBefore, s.sentAtLastRTCP, s.octets = s.sent, s.sent, 0
}

// direct applies a direction. What the source numbered meanwhile was not lost
// on the way, so the stream continues without a gap when sending begins again.
func (s *sender) direct(dir sdp.Direction) {
	if s.muted && dir.Sends() {
		s.line.fresh = true
	}
	s.muted = !dir.Sends()
}

// target names where packets go from now on.
func (s *sender) target(to netip.AddrPort) {
	s.mu.Lock()
	s.to = to
	s.mu.Unlock()
}

// push sends one frame. Frames while the direction forbids sending are not
// owed to the peer and not counted; all others are sent or dropped.
func (s *sender) push(f *bridge.Frame, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(f, now)
}

// heldMost is how many frames are kept for a peer that does not know yet where
// its call goes on: some seconds of speech.
const heldMost = 128

// keep keeps a frame for later.
func (s *sender) keep(f *bridge.Frame) {
	if len(s.held) >= heldMost || f.Sealed != nil {
		return
	}
	c := *f
	c.Payload = slices.Clone(f.Payload)
	s.held = append(s.held, c)
}

// release sends what was kept, once it may be sent.
func (s *sender) release(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.muted || !s.holds {
		return
	}
	held := s.held
	s.holds, s.held = false, nil
	for i := range held {
		s.put(&held[i], now)
	}
}

// put is push for who holds the mutex.
func (s *sender) put(f *bridge.Frame, now time.Time) {
	if s.muted && s.holds && !s.closed {
		s.keep(f)
		return
	}
	if s.muted || s.closed {
		return
	}
	payload := s.types[f.Codec]
	if f.Codec == bridge.TelephoneEvent && payload < 0 && s.able() && s.digit(f, now) {
		return
	}
	if s.drowned(f) {
		s.line.skip(f, now)
		return
	}
	if payload < 0 || len(f.Payload) > maxPayload {
		s.dropped++
		s.line.skip(f, now)
		return
	}
	if !s.able() {
		s.dropped++
		return
	}
	if size, cut := s.pack.cuts(f); cut {
		s.repack(f, size, now)
		return
	}
	s.flush(now)
	seq, ts, fresh, ok := s.line.place(f, now)
	if !ok {
		s.dropped++
		return
	}
	s.header = rtp.Header{
		Version:        2,
		Marker:         f.Marker || fresh && !s.line.video, // of video it ends a picture
		PayloadType:    uint8(payload),
		SequenceNumber: seq,
		Timestamp:      ts,
		SSRC:           s.ssrc,
	}
	n, err := s.header.MarshalTo(s.buf[:])
	if f.Codec == bridge.TelephoneEvent {
		n += len(rescale(s.buf[n:n], f.Payload, seamEvents, s.events))
	} else {
		n += copy(s.buf[n:], f.Payload)
	}
	s.leave(err, n, len(f.Payload), now)
}

// able tells whether anything can leave.
func (s *sender) able() bool { return s.to.IsValid() && s.seal.ready() }

// leave sends the packet in s.buf, or counts it as dropped.
func (s *sender) leave(err error, n, payload int, now time.Time) {
	if err == nil {
		err = s.deliver(s.buf[:n])
	}
	if err != nil {
		s.dropped++
		return
	}
	if s.sent++; s.firstSent.IsZero() {
		s.firstSent = now
	}
	if !s.begun || int16(s.header.SequenceNumber-s.left) > 0 {
		s.left, s.begun = s.header.SequenceNumber, true
	}
	s.octets += uint64(payload)
	s.lastSent = now
}

// deliver protects a packet in s.buf and sends it.
func (s *sender) deliver(b []byte) error {
	b, err := s.seal.rtp(b)
	if err != nil {
		return err
	}
	return s.out.send(b, s.to)
}

// init makes a stream of its own: random where RFC 3550 section 5.1 wants it.
func (s *sender) init(kind bridge.Kind) {
	s.ssrc = rand.Uint32()
	s.line = newTimeline(firstClock(kind), kind == bridge.Video)
	s.events = seamEvents
	for i := range s.types {
		s.types[i] = -1
	}
}

// firstClock is the clock of a stream of which nothing is known yet.
func firstClock(kind bridge.Kind) uint32 {
	if kind == bridge.Video {
		return videoClock
	}
	return 8000
}
