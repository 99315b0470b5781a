package sip

import (
	"context"
	"fmt"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy"
	"riptide/policy/stir"
	"riptide/sip/sdp"
)

const (
	admitTimeout  = 10 * time.Second // identity, route and record of a new call
	storedTimeout = 2 * time.Second  // how long a peer waits for the store
	ringRepeat    = time.Minute      // of the last 18x (RFC 3261 section 13.3.1.1)
)

// onInvite takes a new call. Everything that can refuse it without asking
// anybody comes first; the rest happens outside of the mailbox, so that a
// CANCEL is heard meanwhile.
func (m *mailbox) onInvite(req *sipgo.Request, s *serverTx, t *trunk) {
	a := m.agent
	s.tag, s.trunk = newToken(), t.Name
	if m.server[serverKey(req, sipgo.CANCEL)] != nil {
		s.refuse(refuse(487, "")) // its CANCEL was faster
		return
	}
	if m.merged(req, s) {
		s.refuse(refuse(482, ""))
		return
	}
	place, r := readReplaces(req)
	if r != nil {
		s.refuse(r)
		return
	}
	offer, err := readOffer(req)
	if err != nil {
		info, _ := a.describe(req, t, s, nil) // for the log, as far as it goes
		c := a.refused(t, req.CallID().Value(), info.From, info.To, bridge.CauseBadRequest.With("session description: %v", err))
		s.refuse(refuse(400, "Bad Session Description", warning(s.flow, 399, c.Text)))
		return
	}
	info, err := a.describe(req, t, s, offer)
	if err == nil && a.cfg.Admit != nil {
		err = a.cfg.Admit(t.Name, s.flow.remote())
	}
	var media *session
	if err == nil {
		media, err = a.openSession(t, m.callID, s.flow.self(), s.flow.transport())
	}
	if err != nil {
		s.refuseFor(a.refused(t, info.ID, info.From, info.To, bridge.CauseOf(err)))
		return
	}
	if offer != nil {
		media.remote = *offer
	}
	l := a.newLeg(m, t, s.flow, media, true)
	if err := a.enter(l, false); err != nil {
		l.cancel()
		media.port.Close()
		s.refuseFor(a.refused(t, info.ID, info.From, info.To, bridge.CauseOf(err)))
		return
	}
	l.info, l.invite, s.leg = info, s, l
	l.dlg = dialogOfRequest(req, s.tag)
	l.notes(req)
	if info.Trace.ID != "" {
		l.session = sessionID{local: bridge.NewSessionID(), remote: info.Trace.ID}
	}
	m.legs = append(m.legs, l)
	s.respond(100, "", nil)
	identities := append(headerValues(req, "Identity"), headerValues(req, "y")...)
	a.work.Go(func() { l.admit(identities, place) })
}

// merged tells an INVITE that reached us twice over different ways (RFC 3261
// section 8.2.2.2).
func (m *mailbox) merged(req *sipgo.Request, s *serverTx) bool {
	tag, _ := req.From().Params.Get("tag")
	for _, other := range m.server {
		if other == s || !other.req.IsInvite() || other.leg == nil {
			continue
		}
		otherTag, _ := other.req.From().Params.Get("tag")
		if otherTag == tag && other.req.CSeq().SeqNo == req.CSeq().SeqNo {
			return true
		}
	}
	return false
}

// readOffer reads the offer of an INVITE; nil if it has none.
func readOffer(req *sipgo.Request) (*sdp.Description, error) {
	if len(req.Body()) == 0 {
		return nil, nil
	}
	d, err := sdp.Parse(req.Body())
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// describe reads from an INVITE what the bridge needs to know.
func (a *Agent) describe(req *sipgo.Request, t *trunk, s *serverTx, offer *sdp.Description) (bridge.LegInfo, error) {
	info := bridge.LegInfo{ID: req.CallID().Value(), Protocol: "sip", Trunk: t.Name, Hops: bridge.DefaultHops}
	if mf := req.MaxForwards(); mf != nil {
		info.Hops = min(info.Hops, int(*mf))
	}
	to, toErr := t.called(req)
	info.To = to
	from, privacy, err := t.callerOf(req)
	info.From = from
	switch {
	case toErr != nil:
		return info, t.uncallable(&req.Recipient, toErr)
	case err != nil:
		return info, err
	}
	info.Facts = t.Facts.Accepted(factsOf(req, t.Numbers, t.Facts.Carry, s.pidf))
	info.Facts.Privacy = privacy
	info.Trace = bridge.TraceOfSession(sessionOf(req))
	info.Media = bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA}, Digits: true, ComfortNoise: true}
	if offer != nil {
		sec := t.securityOver(s.flow.transport())
		if info.Media, err = sec.canTalk(*offer); err != nil {
			return info, err
		}
		info.Media.Digits = t.Media.DTMF.carries(info.Media.Digits)
	}
	return info, nil
}

// admit asks who is calling, and the bridge whether it takes the call.
func (l *Leg) admit(identities []string, place *replaces) {
	ctx, cancel := context.WithTimeout(l.ctx, admitTimeout)
	defer cancel()
	identity, err := l.agent.identify(ctx, l.trunk, identities, l.info.From, l.info.To)
	if err == nil && place != nil {
		var instead *Leg
		if instead, err = l.agent.toReplace(ctx, *place, l.trunk); err == nil {
			l.info.Instead = instead
		}
	}
	var cause bridge.Cause
	if err != nil {
		cause = l.agent.refused(l.trunk, l.info.ID, l.info.From, l.info.To, bridge.CauseOf(err))
	} else {
		l.info.Identity = identity
		if err = l.agent.cfg.Acceptor.Accept(ctx, l); err == nil {
			return
		}
		cause = bridge.CauseOf(err)
		l.agent.logRefused(l.trunk, l.info.ID, l.info.From, l.info.To, cause)
	}
	l.box.post(func() {
		if !l.closed && l.state == inviting {
			l.refuse(cause)
		}
	})
}

// refused reports a call that the bridge is not even asked about.
func (a *Agent) refused(t *trunk, leg string, from, to policy.Number, c bridge.Cause) bridge.Cause {
	if a.cfg.OnRefuse != nil {
		a.cfg.OnRefuse(c)
	}
	a.logRefused(t, leg, from, to, c)
	return c
}

// logRefused writes the one line there is about a call that never was.
func (a *Agent) logRefused(t *trunk, leg string, from, to policy.Number, c bridge.Cause) {
	status, _ := c.SIPStatus()
	a.cfg.Logger.Info("call refused", "trunk", t.Name, "from", from, "to", to, "leg", clip(leg, 128),
		"cause", c.Code, "status", status, "why", c.Text)
}

// identify verifies the caller's identity and applies the trunk's policy. The
// statuses of stir are the names of our causes.
func (a *Agent) identify(ctx context.Context, t *trunk, identities []string, from, to policy.Number) (bridge.Identity, error) {
	if len(identities) == 0 {
		if t.RequireIdentity {
			return bridge.Identity{}, bridge.CauseIdentityMissing.With("trunk %q must send an Identity with every call", t.Name)
		}
		return bridge.Identity{Verdict: stir.Verdict{Status: stir.Missing}}, nil
	}
	if a.cfg.Verifier == nil {
		if t.RequireIdentity {
			return bridge.Identity{}, bridge.CauseInternal.With("trunk %q requires identities, but nothing verifies them", t.Name)
		}
		return bridge.Identity{}, nil
	}
	found := a.cfg.Verifier.VerifyIdentities(ctx, identities, stir.Call{From: from, To: to}, a.cfg.Now())
	if found.Verdict.Status != stir.Valid && !t.AllowUnverified {
		return bridge.Identity{}, bridge.Cause{Code: bridge.Code(found.Verdict.Status)}.With("identity of %s on trunk %q: %s", from, t.Name, found.Verdict.Reason)
	}
	return bridge.Identity{Verdict: found.Verdict, Passport: found.Passport, Others: found.Others, Name: found.Name}, nil
}

// refuse ends an incoming leg before its answer.
func (l *Leg) refuse(c bridge.Cause) {
	l.invite.refuseFor(c)
	l.over()
}

// onCancel ends an incoming leg because the caller gave up.
func (l *Leg) onCancel(r reason) {
	if l.state != inviting {
		return
	}
	l.invite.respond(487, "", nil)
	l.ended(r.cancelled().EndedBy(bridge.ByCaller), nil)
	l.over()
}

// Progress implements bridge.Leg.
func (l *Leg) Progress(ctx context.Context, p bridge.Progress) error {
	return l.do(ctx, func() error { return l.progress(p) })
}

func (l *Leg) progress(p bridge.Progress) error {
	if !l.incoming {
		return fmt.Errorf("tell progress to trunk %q: the call was placed by us", l.trunk.Name)
	}
	if l.state != inviting {
		return nil
	}
	status := 183
	if p.Alerting {
		status = 180
	}
	first := l.last18 == nil
	if err := l.ring(status, p.Early); err != nil {
		return fmt.Errorf("early media for call %s of trunk %q: %w", l.info.ID, l.trunk.Name, err)
	}
	if first {
		l.keepRinging()
	}
	return nil
}

// ring sends a provisional answer.
func (l *Leg) ring(status int, early *bridge.MediaPlan) error {
	if l.reliably(early != nil) {
		l.last18 = func() {
			if l.rel.sent == nil {
				l.provideNow(&provisional{status: status})
			}
		}
		return l.provide(status, early)
	}
	var body []byte
	if early != nil && l.offered() && !l.rel.spoken {
		var err error
		if body, err = l.media.firstAnswer(*early); err != nil {
			return err
		}
	}
	l.last18 = func() { l.invite.respond(status, "", body, l.contactHeaders(body)...) }
	l.last18()
	return nil
}

// keepRinging repeats the last provisional answer each minute: proxies on the
// way give up calls that are silent for three.
func (l *Leg) keepRinging() {
	l.after(ringRepeat, func() {
		if l.state == inviting && l.last18 != nil {
			l.last18()
			l.keepRinging()
		}
	})
}

// offered tells whether the INVITE brought an offer. If not, ours goes out in
// the 200 (RFC 3261 section 13.3.1.4), and no SDP before: an unreliable
// provisional answer cannot carry an offer.
func (l *Leg) offered() bool { return len(l.invite.req.Body()) > 0 }

// contactHeaders go with every answer that makes a dialog.
func (l *Leg) contactHeaders(body []byte) []sipgo.Header {
	headers := append([]sipgo.Header{contact(l.dlg.local.User, l.flow, l.dlg.secure), allowHeader}, l.trunk.supported()...)
	headers = append(headers, l.session.headers()...)
	if len(body) > 0 {
		headers = append(headers, sipgo.NewHeader("Content-Type", "application/sdp"))
	}
	return headers
}

// Answer implements bridge.Leg.
func (l *Leg) Answer(ctx context.Context, a bridge.Answer) error {
	return l.do(ctx, func() error { return l.answer(a.Media, a.Facts) })
}

func (l *Leg) answer(plan bridge.MediaPlan, facts bridge.Facts) error {
	if !l.incoming {
		return fmt.Errorf("answer call %s of trunk %q: the call was placed by us", l.info.ID, l.trunk.Name)
	}
	if l.state != inviting || l.rel.answer != nil {
		return nil
	}
	if l.waits(func() { _ = l.answer(plan, facts) }) { // offer and answer are done then: nothing can fail
		return nil
	}
	var body []byte
	var err error
	switch {
	case l.rel.given: // RFC 6337 section 3.1.1: not said again
	case l.offered():
		body, err = l.media.firstAnswer(plan)
	default:
		body = l.media.firstOffer(offerOf(plan))
	}
	if err != nil {
		return fmt.Errorf("answer call %s of trunk %q: %w", l.info.ID, l.trunk.Name, err)
	}
	l.last18 = nil
	l.state = answered
	if l.session.local != "" && facts.Session != "" {
		l.session.local = facts.Session
	}
	headers := append(l.contactHeaders(body), l.agreeTimer(l.invite.req)...)
	l.accept(l.invite, body, append(headers, l.agent.answerHeaders(l.trunk, facts)...))
	return nil
}
