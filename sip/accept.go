package sip

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// acceptance is a 2xx of ours to an INVITE or re-INVITE that waits for its ACK
// (RFC 3261 section 13.3.1.4).
type acceptance struct {
	tx    *serverTx
	seq   uint32 // CSeq of the INVITE, which the ACK repeats
	pause time.Duration
	again *time.Timer
	limit *time.Timer
}

// accept sends a 2xx and repeats it until the ACK comes: after T1, then twice
// as long each time up to T2, over every transport, for there may be an
// unreliable hop behind a reliable one. After 64*T1 the peer is gone.
func (l *Leg) accept(s *serverTx, body []byte, headers []sipgo.Header) {
	l.settle()
	p := &acceptance{tx: s, seq: s.req.CSeq().SeqNo, pause: sipgo.T1}
	l.pending = p
	res := s.response(200, "", body, headers...)
	s.status = 200
	var again func()
	again = func() {
		if l.pending != p {
			return
		}
		s.send(res)
		p.pause = min(2*p.pause, sipgo.T2)
		p.again = l.after(p.pause, again)
	}
	p.again = l.after(p.pause, again)
	p.limit = l.after(64*sipgo.T1, func() {
		if l.pending == p {
			l.unacknowledged()
		}
	})
	s.send(res)
}

// settle stops the repetitions of a 2xx.
func (l *Leg) settle() {
	if l.pending == nil {
		return
	}
	l.stop(l.pending.again)
	l.stop(l.pending.limit)
	l.pending = nil
}

// unacknowledged ends a call whose peer never confirmed our answer.
func (l *Leg) unacknowledged() {
	c := bridge.CauseNoACK.With("trunk %q did not acknowledge the answer to call %s", l.trunk.Name, l.info.ID).EndedBy(bridge.ByBridge)
	if l.hangup == nil {
		l.ended(c, nil)
	} else {
		c = *l.hangup
	}
	_ = l.bye(c) // nobody may be there to hear it
}

// onACK confirms a 2xx. Repetitions, and ACKs for answers that were superseded,
// mean nothing.
func (l *Leg) onACK(req *sipgo.Request) {
	p := l.pending
	if p == nil || p.seq != req.CSeq().SeqNo {
		return
	}
	l.settle()
	l.confirm()
	defer l.wish()
	if l.state != confirmed || !l.media.offering {
		return
	}
	if err := l.lateAnswer(req); err != nil {
		c := bridge.CauseOf(err).EndedBy(l.peerParty())
		l.ended(c, nil)
		_ = l.bye(c)
		return
	}
	l.emit(bridge.Event{Kind: bridge.MediaChanged, Plan: l.media.planCopy(), Held: l.media.held()})
}

// lateAnswer takes the answer that an ACK carries when the offer was ours.
func (l *Leg) lateAnswer(req *sipgo.Request) error {
	if len(req.Body()) == 0 {
		return bridge.CauseMediaIncompatible.With("trunk %q acknowledged our offer without an answer", l.trunk.Name)
	}
	d, err := sdp.Parse(req.Body())
	if err != nil {
		return bridge.CauseMediaIncompatible.With("answer of trunk %q: %v", l.trunk.Name, err)
	}
	if err := l.media.accept(d); err != nil {
		return err
	}
	l.media.settle()
	return nil
}

// confirm marks the dialog as known to both sides, and hangs up if that was
// asked for meanwhile.
func (l *Leg) confirm() {
	if l.state == answered {
		l.state = confirmed
		l.watch()
		l.mindMedia()
	}
	if l.hangup != nil && l.state == confirmed {
		_ = l.bye(*l.hangup) // the peer finds out, or repeats its 2xx to nobody
	}
}
