package rtp

import (
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/transcode"
)

// quietAfter is how long nothing may leave toward a peer before it is sent
// comfort noise: a muted or held far side must not sound like a dead line, nor
// the way through a NAT be forgotten (RFC 6263 section 4.6, RFC 3389 section 4).
const quietAfter = 10 * time.Second

// quietLevel is the level of that noise in -dBov: hardly to be heard.
const quietLevel = 75

// reassure sends comfort noise if nothing was sent for long: as such where that
// was agreed on, else, to a peer on G.711, one packet of it.
func (s *sender) reassure(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quietSince.IsZero() || now.Sub(s.quietSince) < quietAfter || now.Sub(s.lastSent) < quietAfter ||
		s.muted || s.closed || s.line.video || !s.able() {
		return
	}
	codec, payload := bridge.ComfortNoise, s.types[bridge.ComfortNoise]
	if payload < 0 {
		codec = s.first
		if payload = s.types[codec]; payload < 0 || !s.companded() {
			return
		}
	}
	ts := s.line.at(now)
	s.header = rtp.Header{Version: 2, Marker: codec != bridge.ComfortNoise, PayloadType: uint8(payload), SequenceNumber: s.line.insert(), Timestamp: ts, SSRC: s.ssrc}
	n, err := s.header.MarshalTo(s.buf[:])
	before := n
	n = len(quietPacket(s.buf[:n], codec, uint64(ts)))
	s.leave(err, n, n-before, now)
	s.line.fresh = true // whatever comes next begins anew
	s.line.ts, s.line.refAt, s.line.started = ts, now, true
}

// quietPacket appends comfort noise as a codec has it.
func quietPacket(dst []byte, codec bridge.Codec, seed uint64) []byte {
	level := transcode.NoiseParams{Level: quietLevel}
	if codec == bridge.ComfortNoise {
		return level.Append(dst)
	}
	law := transcode.MuLaw
	if codec == bridge.PCMA {
		law = transcode.ALaw
	}
	noise := transcode.NewNoise(seed)
	noise.Set(level)
	return law.Encode(dst, noise.Append(nil, maxTone))
}
