package sip

import (
	"math/rand/v2"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// onReinvite absorbs what a peer does to a running call: hold, a new address or
// codec, a session refresh. Nothing that comes here ends the call; the worst
// answer is 488, after which everything is as before (RFC 3261 section 14.2).
func (l *Leg) onReinvite(req *sipgo.Request, s *serverTx) {
	if r := l.trunk.checkContent(req); r != nil {
		s.refuse(r)
		return
	}
	if r := l.glare(req); r != nil {
		s.refuse(r)
		return
	}
	l.implied()
	if l.state == ending {
		s.refuse(refuse(481, "")) // a hang-up was waiting for that ACK
		return
	}
	l.dlg.refresh(req)
	s.tag = l.dlg.localTag
	switch {
	case len(req.Body()) > 0:
		l.onOffer(req, s)
	case req.Method == sipgo.UPDATE:
		l.agree(s, nil)
	case l.media.plan == nil:
		s.refuse(refuse(500, "", pauseHeader()))
	default:
		l.agree(s, l.media.repeatOffer())
	}
}

// glare refuses what comes while another exchange is under way (RFC 3261
// section 14.2, RFC 3311 section 5.2).
func (l *Leg) glare(req *sipgo.Request) *refusal {
	offer := len(req.Body()) > 0 || req.Method == sipgo.INVITE
	switch {
	case l.changer != nil:
		return refuse(500, "", pauseHeader())
	case l.state == inviting && l.incoming && offer && !l.rel.given:
		return refuse(500, "", pauseHeader()) // their own INVITE is not answered
	case l.state == inviting && !l.incoming && offer && l.dlg.answer == nil, l.media.offering && offer:
		return refuse(491, "") // our offer is not answered
	}
	return nil
}

// pauseHeader spreads the retries of both sides (RFC 3261 section 14.2).
func pauseHeader() sipgo.Header {
	return retryAfter(time.Duration(rand.IntN(11)) * time.Second)
}

// onOffer answers an offer within the call. A change is on record before the
// peer hears that it was taken.
func (l *Leg) onOffer(req *sipgo.Request, s *serverTx) {
	offer, err := sdp.Parse(req.Body())
	if err != nil {
		s.refuse(refuse(488, "", warning(s.flow, 399, err.Error())))
		return
	}
	plan, err := l.media.judge(offer)
	if err != nil {
		s.refuse(refuse(488, "", warning(s.flow, 305, bridge.CauseOf(err).Text)))
		return
	}
	if len(l.events) >= cap(l.events)-reservedEvents {
		s.refuse(refuse(500, "Too Many Changes", pauseHeader()))
		return
	}
	before := l.media.version
	body, err := l.media.reanswer(offer, plan)
	if err != nil {
		s.refuse(refuse(488, "", warning(s.flow, 305, bridge.CauseOf(err).Text)))
		return
	}
	if l.media.version == before {
		l.agree(s, body) // a refresh: nothing to record
		return
	}
	l.changer, l.changed = s, true
	reply := func() {
		if l.changer == s {
			l.changer = nil
			l.agree(s, body)
		}
	}
	l.emit(bridge.Event{
		Kind: bridge.MediaChanged, Plan: l.media.planCopy(), Held: l.media.held(),
		Stored: func() { l.box.post(reply) },
	})
	l.after(storedTimeout, reply)
}

// agree answers 200.
func (l *Leg) agree(s *serverTx, body []byte) {
	headers := l.contactHeaders(body)
	if s.req.Method != sipgo.PRACK {
		headers = append(headers, l.agreeTimer(s.req)...)
	}
	if s.req.Method == sipgo.INVITE {
		l.accept(s, body, headers)
		return
	}
	s.respond(200, "", body, headers...)
}
