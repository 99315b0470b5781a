package rtp

import (
	"fmt"
	"net/netip"
	"time"
)

// State is what a call's record keeps of a stream, so that another process can
// continue it: the peer hears the same source, numbered on. It holds keys.
type State struct {
	SSRC      uint32         `json:"ssrc"`
	Seq       uint16         `json:"seq"` // next to be sent
	Timestamp uint32         `json:"ts"`  // that belongs to At
	At        time.Time      `json:"at"`
	CNAME     string         `json:"cname"`
	Local     netip.AddrPort `json:"local"`           // media; reports are on the next port
	Remote    netip.AddrPort `json:"remote,omitzero"` // where media went
	Said      netip.AddrPort `json:"said,omitzero"`   // where the peer's SDP wanted it

	Clock   uint32   `json:"clock,omitempty"`   // of Timestamp, in Hz; 0 = that of what was agreed on
	Pace    uint32   `json:"pace,omitempty"`    // packets a second, at most; 0 = those of 20 ms
	Cycles  uint32   `json:"roc,omitempty"`     // roll-over counter of Seq (RFC 3711 section 3.3.1)
	Reports uint32   `json:"reports,omitempty"` // SRTCP index sent last (RFC 3711 section 3.4)
	Peer    *Source  `json:"peer,omitempty"`    // whose packets were protected; nil = none came
	DTLS    *Exports `json:"dtls,omitempty"`    // keys that came of a handshake; those of SDES are in the descriptions
	// DTLSReports are those of the reports, where they had a handshake of their own.
	DTLSReports *Exports `json:"dtlsReports,omitempty"`
}

// Source is how far a source's protected packets had come.
type Source struct {
	SSRC  uint32 `json:"ssrc"`
	Index uint64 `json:"index"` // of the highest: roll-over counter and sequence number
}

// Exports are keys that came of a DTLS handshake.
type Exports struct {
	Profile uint16   `json:"profile"`
	Ours    Material `json:"ours"`
	Theirs  Material `json:"theirs"`
}

// Material is a master key and its salt. It goes into records, which are sealed,
// and is printed nowhere.
type Material []byte

// Format prints the same whatever the verb.
func (Material) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

const (
	// maxPace bounds what is believed of a record: more is no telephony.
	maxPace = 2000
	// restMargin is what a stream moves on beyond the packets that the time since
	// the record explains.
	restMargin = 50
	// reportsMargin and reportsPace are the same of reports, which leave
	// irregularly where pictures are asked for.
	reportsMargin, reportsPace = 100, 20
)

// ahead is how many packets may have been sent since the record, at most.
func (st *State) ahead(now time.Time) uint64 {
	pace := min(st.Pace, maxPace)
	if pace == 0 {
		pace = 50
	}
	passed := min(max(now.Sub(st.At), 0), time.Hour)
	return uint64(passed.Milliseconds())*uint64(pace)/1000 + restMargin
}

// restored continues the stream of a process that is gone. The record is older
// than its last packets, so the numbers move on by what may have been sent since:
// too far is a gap, too little are numbers that were used before, and of protected
// packets none may be used twice (RFC 3711 section 9.1).
func (s *sender) restored(st State, now time.Time, exact bool) {
	next := uint64(st.Cycles)<<16 + uint64(st.Seq)
	if !exact {
		next += st.ahead(now)
	}
	s.ssrc, s.holds = st.SSRC, exact
	clock := s.line.clock
	if st.Clock != 0 {
		clock = st.Clock
	}
	s.line = timeline{
		clock: clock, video: s.line.video,
		seq:     uint16(next - 1),
		ts:      st.Timestamp,
		started: true,
		fresh:   true,
		refAt:   st.At,
	}
	s.seal.resumes(st.SSRC, uint32(next>>16), st.Reports+reportsMargin+uint32(min(max(now.Sub(st.At), 0), time.Hour)/time.Second)*reportsPace)
}

// restored waits for the peer where it was.
func (r *receiver) restored(st State) {
	r.latch = latch{sdp: st.Said, locked: st.Remote}
	r.open.resumed, r.open.unheard = st.Peer, st.Peer == nil
}

// pace is how many packets a second leave at most. Speech comes in 20 ms, if not
// in less; pauses must not make it look slower than it is.
func (s *sender) pace(now time.Time) uint32 {
	if s.firstSent.IsZero() {
		return 0
	}
	pace := 0.0
	if passed := now.Sub(s.firstSent).Seconds(); passed > 1 {
		pace = 1.2 * float64(s.sent) / passed
	}
	if !s.line.video {
		pace = max(pace, 50)
	}
	return min(uint32(pace), maxPace)
}

// cycles is the roll-over counter of the next packet.
func (s *sender) cycles() uint32 {
	roc := s.seal.cycles(s.ssrc)
	if !s.begun {
		return roc
	}
	last := uint64(roc)<<16 | uint64(s.left)
	return uint32((last + uint64(s.line.seq+1-s.left)) >> 16)
}

// State is the state of the audio now.
func (p *Port) State() State { return p.audio.state() }

// VideoState is the state of the video; ok is false if there is none.
func (p *Port) VideoState() (st State, ok bool) {
	v := p.video.Load()
	if v == nil {
		return State{}, false
	}
	return v.state(), true
}

func (s *stream) state() State {
	now := s.port.now()
	s.rx.mu.Lock()
	said, peer := s.rx.latch.sdp, s.rx.heardUpTo()
	s.rx.mu.Unlock()
	s.dtls.mu.Lock()
	keys, reports := s.dtls.exported, s.dtls.exportedReports
	s.dtls.mu.Unlock()
	s.tx.mu.Lock()
	defer s.tx.mu.Unlock()
	return State{
		SSRC:        s.tx.ssrc,
		Seq:         s.tx.line.seq + 1,
		Timestamp:   s.tx.line.at(now),
		At:          now,
		CNAME:       s.port.cname,
		Local:       s.local,
		Remote:      s.tx.to,
		Said:        said,
		Clock:       s.tx.line.clock,
		Pace:        s.tx.pace(now),
		Cycles:      s.tx.cycles(),
		Reports:     s.tx.seal.reported(s.tx.ssrc),
		Peer:        peer,
		DTLS:        keys,
		DTLSReports: reports,
	}
}

// heardUpTo is how far the peer's protected packets have come.
func (r *receiver) heardUpTo() *Source {
	if r.open.resumed != nil {
		return r.open.resumed // nothing has come since
	}
	if !r.open.locked || r.open.ctx == nil || !r.src.started {
		return nil
	}
	roc, ok := r.open.ctx.ROC(r.src.ssrc)
	if !ok {
		return nil
	}
	return &Source{r.src.ssrc, uint64(roc)<<16 | uint64(uint16(r.src.highest))}
}

// resume goes on with the keys of the record, and begins with whom it had. It
// tells false where there are none for what was agreed on.
func (s *stream) resume(st *State, muxed bool) bool {
	if st.DTLS == nil || !muxed && st.DTLSReports == nil {
		return false
	}
	if s.installKeys(*st.DTLS, true, muxed) != nil {
		return false
	}
	return muxed || s.installKeys(*st.DTLSReports, false, true) == nil
}

// Keyed tells whether a stream of a record that was protected by DTLS can go on
// without another handshake.
func (st *State) Keyed(muxed bool) bool {
	return st.DTLS != nil && (muxed || st.DTLSReports != nil)
}
