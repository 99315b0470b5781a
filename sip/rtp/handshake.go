package rtp

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/pion/srtp/v3"

	"riptide/sip/sdp"
)

// handshakes are the DTLS associations of a stream: one on the way of the media,
// and one on that of the reports if they go apart (RFC 5764 section 4.1).
type handshakes struct {
	mu      sync.Mutex
	media   *association
	reports *association
	why     error // of the last failure

	pending      bool     // keys were offered, and the answer is not here
	early        []record // what came of a handshake meanwhile, on the way of the media
	earlyReports []record // the same on that of the reports

	exported, exportedReports *Exports // the keys that came of them
}

// maxEarly bounds what is kept for a handshake that nobody has agreed on yet: more
// than a first flight is nobody's.
const maxEarly = 4

// isDTLS tells records from media on one port (RFC 7983 section 7).
func isDTLS(b []byte) bool { return len(b) > 0 && b[0] >= 20 && b[0] <= 63 }

// associate begins, keeps or ends the associations of a stream, by what was
// agreed on. One goes on as long as the peer's certificate is the same, wherever
// its media moves to (RFC 8842 section 4).
func (s *stream) associate(p sdp.Protection, muxed bool) {
	h := &s.dtls
	h.mu.Lock()
	media, reports := h.media, h.reports
	early, earlyReports := h.early, h.earlyReports
	h.pending, h.early, h.earlyReports = p.Keying == sdp.Pending, nil, nil
	if p.Keying == sdp.DTLS && media != nil && media.fingerprint == p.Fingerprint && media.active == p.Active && muxed == (reports == nil) {
		h.mu.Unlock()
		return
	}
	h.media, h.reports, h.why = nil, nil, nil
	h.exported, h.exportedReports = nil, nil
	h.mu.Unlock()
	for _, old := range []*association{media, reports} {
		if old != nil {
			old.stop() // not under the lock, which a failing handshake takes
		}
	}
	if p.Keying != sdp.DTLS {
		s.forget(early, earlyReports)
		return
	}
	media = s.newAssociation(p, early, s.mediaTarget, s.sendMedia, func(k Exports) error { return s.installKeys(k, true, muxed) })
	reports = nil
	if muxed {
		s.forget(earlyReports)
	} else {
		reports = s.newAssociation(p, earlyReports, s.reportsTarget, s.sendReport, func(k Exports) error { return s.installKeys(k, false, true) })
	}
	h.mu.Lock()
	h.media, h.reports = media, reports
	h.mu.Unlock()
}

// forget counts records that were kept in vain.
func (s *stream) forget(early ...[]record) {
	for _, records := range early {
		for range records {
			s.count(&s.rx.malformed)
		}
	}
}

func (s *stream) newAssociation(p sdp.Protection, early []record, target func() netip.AddrPort, out func([]byte, netip.AddrPort) error, keys func(Exports) error) *association {
	cert, err := s.port.pool.Certificate()
	if err != nil {
		s.handshakeFailed(err, true)
		return nil
	}
	a := &association{fingerprint: p.Fingerprint, active: p.Active, cert: cert, target: target, out: out, keys: keys, failed: s.handshakeFailed}
	a.start(early)
	return a
}

// mediaTarget is where media goes: at first, where the peer's description has it.
func (s *stream) mediaTarget() netip.AddrPort {
	s.tx.mu.Lock()
	defer s.tx.mu.Unlock()
	return s.tx.to
}

// reportsTarget is where reports go.
func (s *stream) reportsTarget() netip.AddrPort {
	s.rx.mu.Lock()
	locked, said := s.rx.latch.locked, s.rx.latch.sdp
	s.rx.mu.Unlock()
	return s.rc.target(locked, said)
}

// handshakeFailed notes why there are no keys yet, and complains when it was the
// last attempt.
func (s *stream) handshakeFailed(err error, last bool) {
	s.dtls.mu.Lock()
	s.dtls.why = err
	s.dtls.mu.Unlock()
	if !last {
		return
	}
	s.port.log.Warn("no media: the keys could not be agreed on", "media", s.kind, "error", err)
}

// trouble says why there are no keys, "" if there is no reason.
func (h *handshakes) trouble() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why == nil {
		return ""
	}
	return h.why.Error()
}

// installKeys takes over the keys of a handshake, for media, reports or both.
func (s *stream) installKeys(k Exports, media, reports bool) error {
	profile := srtp.ProtectionProfile(k.Profile)
	if len(k.Ours) != len(k.Theirs) {
		return fmt.Errorf("keys of %d and %d bytes", len(k.Ours), len(k.Theirs))
	}
	size, err := profile.KeyLen()
	if err != nil || len(k.Ours) < size {
		return fmt.Errorf("SRTP profile %d with a key of %d bytes: no such profile", k.Profile, len(k.Ours))
	}
	open, err := newProfile(profile, k.Theirs[:size], k.Theirs[size:], nil)
	if err != nil {
		return err
	}
	seal, err := newProfile(profile, k.Ours[:size], k.Ours[size:], nil)
	if err != nil {
		return err
	}
	s.dtls.mu.Lock()
	if media {
		s.dtls.exported = &k
	} else {
		s.dtls.exportedReports = &k
	}
	s.dtls.mu.Unlock()
	s.install(open, seal, "DTLS-"+profile.String(), media, reports)
	return nil
}

// install takes over keys, for media, reports or both.
func (s *stream) install(open, seal *srtp.Context, name string, media, reports bool) {
	s.dtls.mu.Lock()
	s.dtls.why = nil
	s.dtls.mu.Unlock()
	now := s.port.now()
	s.rx.mu.Lock()
	s.rx.open.install(open, media, reports, now)
	s.rx.mu.Unlock()
	s.tx.mu.Lock()
	defer s.tx.mu.Unlock()
	s.tx.seal.install(seal, name, media, reports)
}

// sendMedia sends a record on the way of the media.
func (s *stream) sendMedia(b []byte, to netip.AddrPort) error {
	s.tx.mu.Lock()
	defer s.tx.mu.Unlock()
	if !to.IsValid() {
		to = s.tx.to
	}
	return s.tx.out.send(b, to)
}

// sendReport sends a record on the way of the reports.
func (s *stream) sendReport(b []byte, to netip.AddrPort) error {
	if !to.IsValid() {
		to = s.reportsTarget()
	}
	s.rc.outMu.Lock()
	defer s.rc.outMu.Unlock()
	return s.rc.out.send(b, to)
}

// onDTLS takes a record from the socket of the media or of the reports, and tells
// whether keys are agreed on there at all. Who has our offer may begin before its
// answer is here (RFC 5763 section 5), and says it again only after a second.
func (h *handshakes) onDTLS(b []byte, from netip.AddrPort, reports bool) (wanted bool) {
	h.mu.Lock()
	a, early := h.media, &h.early
	if reports {
		a, early = h.reports, &h.earlyReports
	}
	if keep := h.pending && len(*early) < maxEarly && len(b) <= maxPacket && takesPart(b); keep {
		*early = append(*early, record{slices.Clone(b), from})
		h.mu.Unlock()
		return true
	}
	h.mu.Unlock()
	if a != nil {
		a.take(b, from)
	}
	return a != nil
}

// endHandshakes stops the associations.
func (s *stream) endHandshakes() { s.associate(sdp.Protection{}, true) }
