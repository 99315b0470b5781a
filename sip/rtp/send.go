package rtp

import (
	"net/netip"
	"sync"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

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
	muted  bool       // the direction forbids sending
	closed bool       // nothing leaves any more
	types  [256]int16 // payload type number by codec, -1 = not negotiated
	header rtp.Header
	buf    [headerSize + maxPayload]byte

	sent, dropped  uint64
	octets         uint64 // payload bytes sent
	sentAtLastRTCP uint64
	lastSent       time.Time
}

func (s *sender) configure(formats []sdp.Format, dir sdp.Direction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.types {
		s.types[i] = -1
	}
	for _, f := range formats {
		if c, ok := CodecOf(f); ok && s.types[c] < 0 {
			s.types[c] = int16(f.Payload & 127)
		}
	}
	s.direct(dir)
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
	if s.muted || s.closed {
		return
	}
	payload := s.types[f.Codec]
	if payload < 0 || len(f.Payload) > maxPayload {
		s.dropped++
		s.line.skip(f, now)
		return
	}
	if !s.to.IsValid() {
		s.dropped++
		return
	}
	seq, ts, fresh, ok := s.line.place(f, now)
	if !ok {
		s.dropped++
		return
	}
	s.header = rtp.Header{
		Version:        2,
		Marker:         f.Marker || fresh,
		PayloadType:    uint8(payload),
		SequenceNumber: seq,
		Timestamp:      ts,
		SSRC:           s.ssrc,
	}
	n, err := s.header.MarshalTo(s.buf[:])
	n += copy(s.buf[n:], f.Payload)
	if err != nil || s.out.send(s.buf[:n], s.to) != nil {
		s.dropped++
		return
	}
	s.sent++
	s.octets += uint64(len(f.Payload))
	s.lastSent = now
}
