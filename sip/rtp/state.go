package rtp

import (
	"net/netip"
	"time"
)

// State is what a call's record keeps of a Port, so that another process can
// continue the stream: the peer hears the same source, numbered on.
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
		seq:     st.Seq - 1 + uint16(int64(passed)/int64(20*time.Millisecond)) + margin,
		ts:      st.Timestamp,
		started: true,
		fresh:   true,
		refAt:   st.At,
	}
}

// State is the port's state now.
func (p *Port) State() State {
	now := p.now()
	p.rx.mu.Lock()
	said := p.rx.latch.sdp
	p.rx.mu.Unlock()
	p.tx.mu.Lock()
	defer p.tx.mu.Unlock()
	return State{
		SSRC:      p.tx.ssrc,
		Seq:       p.tx.line.seq + 1,
		Timestamp: p.tx.line.at(now),
		At:        now,
		CNAME:     p.cname,
		Local:     p.local,
		Remote:    p.tx.to,
		Said:      said,
	}
}
