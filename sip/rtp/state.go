package rtp

import (
	"net/netip"
	"time"
)

// State is what a call's record keeps of a stream, so that another process can
// continue it: the peer hears the same source, numbered on.
type State struct {
	SSRC      uint32         `json:"ssrc"`
	Seq       uint16         `json:"seq"` // next to be sent
	Timestamp uint32         `json:"ts"`  // that belongs to At
	At        time.Time      `json:"at"`
	CNAME     string         `json:"cname"`
	Local     netip.AddrPort `json:"local"`           // media; reports are on the next port
	Remote    netip.AddrPort `json:"remote,omitzero"` // where media went
	Said      netip.AddrPort `json:"said,omitzero"`   // where the peer's SDP wanted it
}

// restored continues the stream of a process that is gone. The record is older
// than its last packets, so the numbers move on by what was sent since, and a
// margin.
func (s *sender) restored(st State, now time.Time) {
	const margin = 50
	passed := max(now.Sub(st.At), 0)
	s.ssrc = st.SSRC
	s.line = timeline{
		clock: s.line.clock, video: s.line.video,
		seq:     st.Seq - 1 + uint16(int64(passed)/int64(20*time.Millisecond)) + margin,
		ts:      st.Timestamp,
		started: true,
		fresh:   true,
		refAt:   st.At,
	}
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
	said := s.rx.latch.sdp
	s.rx.mu.Unlock()
	s.tx.mu.Lock()
	defer s.tx.mu.Unlock()
	return State{
		SSRC:      s.tx.ssrc,
		Seq:       s.tx.line.seq + 1,
		Timestamp: s.tx.line.at(now),
		At:        now,
		CNAME:     s.port.cname,
		Local:     s.local,
		Remote:    s.tx.to,
		Said:      said,
	}
}
