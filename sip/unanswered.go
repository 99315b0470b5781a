package sip

import (
	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// ready takes up a call that was not answered: it can be ended, and no more. flow
// is the way to the peer of a call that we placed.
func (l *Leg) ready(rec *recorded, f flow) error {
	if rec.invite == nil {
		return bridge.CauseInternal.With("its record does not hold the INVITE")
	}
	l.state = inviting
	if l.incoming {
		return l.asked(rec)
	}
	return l.placedBefore(rec, f)
}

// asked makes the transaction of an INVITE that another process took.
func (l *Leg) asked(rec *recorded) error {
	s, err := l.box.serve(rec.invite, l.agent.answerWay(l.trunk, rec, l.flow))
	if err != nil {
		return bridge.CauseInternal.With("%v", err)
	}
	s.tag, s.trunk, s.leg, l.invite = rec.LocalTag, l.trunk.Name, l, s
	return nil
}

// placedBefore makes the transaction of an INVITE that another process sent. It is
// not sent again: the peer knows of it, or of nothing that could be cancelled.
// Whatever it answers finds the leg: a refusal is acknowledged, and an answer
// that crossed our CANCEL is hung up.
func (l *Leg) placedBefore(rec *recorded, f flow) error {
	at := &attempt{invite: rec.invite, heard: true, before: true}
	l.flow = f
	l.out = &outgoing{attempt: at, early: map[string]*dialog{}, answered: map[string]func(){}}
	if l.dlg.remoteTag != "" {
		l.out.early[l.dlg.remoteTag] = l.dlg
	} else {
		l.dlg = nil
	}
	branch, _ := rec.invite.Via().Params.Get("branch")
	c := &clientTx{
		box: l.box, key: clientKey(branch, sipgo.INVITE), req: rec.invite, flow: sent{f},
		onResponse: func(res *sipgo.Response) { l.onAttempt(at, res) },
		onFailure:  func(err error) { l.onAttemptFailed(at, err) },
	}
	rec.invite.SetTransport(f.transport().String())
	c.tx = sipgo.NewClientTx(c.key, rec.invite, c.flow, l.agent.quiet)
	c.tx.OnTerminate(func(_ string, err error) {
		l.box.post(func() { c.ended(err) })
	})
	l.box.client[c.key] = c
	if err := c.tx.Init(); err != nil {
		c.final = -1
		c.tx.Terminate()
		return bridge.CauseUnreachable.With("%v", err)
	}
	at.tx = c
	return nil
}

// answerAgain repeats a 200 of which the record does not say that the peer has
// acknowledged it. Most have: so nothing comes of it if no ACK comes, unless that
// has to bring the answer to our offer.
func (l *Leg) answerAgain(rec *recorded) error {
	if err := l.asked(rec); err != nil {
		return err
	}
	body := l.media.local.Bytes()
	headers := l.contactHeaders(body)
	if l.terms.seconds > 0 {
		headers = append(headers, l.terms.header(!l.terms.ours))
	}
	l.accept(l.invite, body, headers)
	l.bePatient()
	return nil
}

// answerFirst answers a call that was on record as answered when our 200 was not
// out yet, or only just: the same again, for all that is known of it.
func (l *Leg) answerFirst(rec *recorded, plan bridge.MediaPlan) error {
	if len(rec.remote.Media) > 0 {
		l.invite.req.SetBody([]byte(rec.Remote))
	}
	if err := l.answer(plan, bridge.Facts{}); err != nil {
		return err
	}
	if l.state == answered {
		l.bePatient()
	}
	return nil
}

// bePatient does not end the call if nobody acknowledges the 200 that is under
// way: the process before may have heard it. Where the ACK has to bring the answer
// to our offer, there is no call without.
func (l *Leg) bePatient() {
	if l.media.offering {
		return
	}
	p := l.pending
	l.stop(p.limit)
	p.limit = l.after(64*sipgo.T1, func() {
		if l.pending == p {
			l.settle()
			l.confirm()
			l.wish()
		}
	})
}

// strayAnswer acknowledges a 2xx whose transaction is gone: of another process, or
// very late. The peer repeats it until then, and gives the call up without (RFC
// 3261 section 13.3.1.4).
func (m *mailbox) strayAnswer(res *sipgo.Response) bool {
	if res.From() == nil || !res.IsSuccess() || res.CSeq().MethodName != sipgo.INVITE {
		return false
	}
	localTag, _ := res.From().Params.Get("tag")
	l := m.leg(localTag, toTag(res))
	if l == nil || l.state != confirmed {
		return false
	}
	l.acknowledge(l.dlg, res.CSeq().SeqNo)
	if l.inviteSeq != 0 && res.CSeq().SeqNo != l.inviteSeq && l.mayOffer() && !l.resettled {
		// What was offered by that re-INVITE is not known any more.
		l.resettled = true
		if l.reoffer(&reinvite{offer: offerOf(*l.media.plan)}) != nil {
			l.agent.counts.unsent.Add(1)
		}
	}
	return true
}

// wayOut is the way of what a resumed leg has to send at once: of a call that was
// placed and not answered, for its CANCEL.
func (l *Leg) wayOut(rec *recorded) flow {
	if l.incoming {
		return l.flow
	}
	return l.agent.placedWay(l.trunk, rec, l.flow)
}
