package rtp

import (
	"errors"
	"net/netip"
	"time"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// stream is the media of one kind: a pair of sockets and what goes through them
// in both directions. Frames it receives go to the port's sink.
type stream struct {
	port  *Port
	kind  bridge.Kind
	local netip.AddrPort

	media, reports *socket
	engine         engine

	rx receiver
	tx sender
	rc control

	dtls handshakes
	kept *State // of the process that had the stream before; nil after the first agreement
}

// configure applies what was agreed on, and learns the peer's address again.
func (s *stream) configure(a sdp.Stream) {
	err := errors.Join(
		s.rx.configure(a.Remote, a.Receive, a.Protection, s.port.now()),
		s.tx.configure(a, s.port.now()))
	if err != nil { // suites are known before they are agreed on
		s.port.log.Error("media is not sent, for it cannot be protected", "media", s.kind, "error", err)
	}
	s.rc.configure(a)
	s.retarget()
	defer func() { s.tx.release(s.port.now()) }()
	if kept := s.kept; kept != nil {
		s.kept = nil
		if a.Protection.Keying == sdp.DTLS && s.resume(kept, a.RTCPMux) {
			return // without another handshake
		}
	}
	s.associate(a.Protection, a.RTCPMux)
}

func (s *stream) lastReceived() time.Time {
	s.rx.mu.Lock()
	defer s.rx.mu.Unlock()
	return s.rx.last
}

// lastHeard is when the peer last showed that it is there, by media, reports, or
// media that nobody agreed on.
func (s *stream) lastHeard() time.Time {
	s.rx.mu.Lock()
	last := s.rx.last
	if s.rx.strange.After(last) {
		last = s.rx.strange
	}
	s.rx.mu.Unlock()
	s.rc.mu.Lock()
	defer s.rc.mu.Unlock()
	if s.rc.last.After(last) {
		last = s.rc.last
	}
	return last
}

func (s *stream) stats() bridge.MediaStats {
	var st bridge.MediaStats
	s.rx.mu.Lock()
	r := &s.rx
	st.Received, st.Duplicate, st.Foreign = r.received, r.duplicate, r.foreign
	st.Malformed, st.UnknownPayload, st.Undecrypted = r.malformed, r.unknown, r.undecrypted
	if r.latch.sdp.IsValid() {
		st.Said = r.latch.sdp.String()
	}
	st.Lost = r.lostBefore + r.src.lost()
	st.Jitter = r.src.jitterTime()
	peer := r.latch.heard()
	s.rx.mu.Unlock()

	s.tx.mu.Lock()
	st.Sent, st.SendDropped, st.Security = s.tx.sent, s.tx.dropped, s.tx.seal.name
	s.tx.mu.Unlock()
	st.PeerLost, st.RoundTrip = s.rc.heard()
	st.Trouble = s.dtls.trouble()
	if peer.IsValid() {
		st.Peer = peer.String()
	}
	return st
}

// close says goodbye and waits until nothing is delivered any more.
func (s *stream) close() {
	s.goodbye(s.port.now())
	s.endHandshakes()
	s.tx.mu.Lock()
	s.tx.closed = true
	s.tx.keys.forgetEnd()
	s.tx.mu.Unlock()
	s.engine.remove(s)
	s.port.pool.release(s.local.Port())
}

// onRTP takes a datagram of the media socket. Engines call it for one datagram
// at a time, in the order of arrival.
func (s *stream) onRTP(b []byte, from netip.AddrPort, now time.Time) {
	s.port.tap.saw(s.media, from, b)
	if isDTLS(b) {
		if !s.dtls.onDTLS(b, from, false) {
			s.count(&s.rx.malformed)
		}
		return
	}
	if s.rc.muxed.Load() && isRTCP(b) {
		s.onRTCP(b, from, now)
		return
	}
	s.rx.mu.Lock()
	before := s.rx.latch.locked
	ok := s.rx.take(b, from, now)
	var pressed byte
	if k := s.rx.keys; k != nil && ok {
		pressed, k.pressed = k.pressed, 0
	}
	latched := s.rx.latch.locked != before
	s.rx.mu.Unlock()
	if latched {
		s.retarget()
	}
	if ok {
		s.port.hand(&s.rx.frame)
	}
	if pressed != 0 {
		s.port.press(byTone, pressed, 0)
	}
}

// retarget sends to where the peer was found to be. It holds both locks (always
// in this order), so that the last word of two is the newer one.
func (s *stream) retarget() {
	s.rx.mu.Lock()
	defer s.rx.mu.Unlock()
	l := &s.rx.latch
	s.tx.target(l.target())
	if l.locked.IsValid() {
		s.port.found(s.kind, l)
	}
}

// isRTCP tells reports from media on one port (RFC 5761 section 4).
func isRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }
