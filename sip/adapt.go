package sip

import (
	"context"
	"math/rand/v2"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/rtp"
	"riptide/sip/sdp"
)

// maxGlares is how often our re-INVITE gives way to the peer's.
const maxGlares = 3

// reinvite is a re-INVITE of ours: the bridge wants other media. Whatever comes
// of it, the bridge hears of it as one change of media, perhaps to what was
// before; the call goes on in any case but one, that the peer knows of none
// (RFC 3261 section 14.1).
type reinvite struct {
	offer   bridge.MediaOffer
	refresh bool    // nothing is wanted but that the session goes on
	raised  int     // times the peer found the session interval too small
	before  session // what to go back to
	ack     func()  // repeats the ACK; nil before there is one
	glares  int

	moved    chan error // of a call that goes on elsewhere: told what became of it
	refusals int        // to follow it there
	busy     time.Time  // since when the peer says that it is busy with another exchange
}

var _ bridge.Adapter = (*Leg)(nil)

// Adapt implements bridge.Adapter.
func (l *Leg) Adapt(ctx context.Context, o bridge.MediaOffer) error {
	return l.do(ctx, func() error {
		o = o.Restrict(l.trunk.Codecs)
		switch {
		case o.Sealed || len(o.Speech) == 0:
			return bridge.CauseMediaIncompatible.With("trunk %q has none of what is wanted", l.trunk.Name)
		case (l.state == answered || l.reinvite != nil && l.reinvite.refresh) && l.wanted == nil:
			l.wanted = &o // when the peer has acknowledged our answer, or the refresh is done
			return nil
		case !l.mayOffer():
			return bridge.CauseOverloaded.With("call %s: another change of its media is under way", l.info.ID)
		}
		return l.reoffer(&reinvite{offer: o})
	})
}

// mayOffer tells whether no other exchange is under way (RFC 3261 section 14.1).
func (l *Leg) mayOffer() bool {
	return l.state == confirmed && l.reinvite == nil && !l.media.offering && l.changer == nil && l.pending == nil && l.media.plan != nil
}

// wish does what the bridge wanted before the peer had acknowledged our answer.
func (l *Leg) wish() {
	if l.wanted == nil || l.state != confirmed || l.muted {
		return
	}
	o := *l.wanted
	l.wanted = nil
	if !l.mayOffer() || l.reoffer(&reinvite{offer: o}) != nil {
		l.unchanged()
	}
}

// reoffer sends the re-INVITE.
func (l *Leg) reoffer(r *reinvite) error {
	r.before, r.ack = *l.media, nil
	var body []byte
	if r.refresh {
		body = l.media.sameOffer()
	} else {
		body = l.media.offer(r.offer)
	}
	req := l.dlg.request(sipgo.INVITE)
	for _, h := range append(append(l.contactHeaders(body), acceptHeader), l.refreshHeaders()...) {
		req.AppendHeader(h)
	}
	req.SetBody(body)
	l.reinvite = r
	f, err := l.route(l.dlg)
	if err == nil {
		err = l.request(l.dlg, req, f,
			func(res *sipgo.Response) { l.onReoffered(r, res) },
			func(err error) { l.onUnoffered(r, err) })
	}
	if err != nil {
		l.rollBack(r)
		return bridge.CauseUnreachable.With("re-INVITE of call %s: %v", l.info.ID, err)
	}
	return nil
}

// onReoffered takes a response to our re-INVITE.
func (l *Leg) onReoffered(r *reinvite, res *sipgo.Response) {
	switch {
	case res.StatusCode < 200:
	case res.StatusCode < 300:
		l.onReaccepted(r, res)
	case l.reinvite != r || l.muted:
	case res.StatusCode == 481:
		r.followed(l.unknown("a re-INVITE"))
		l.rollBack(r)
		l.endUnknown("a re-INVITE")
	case res.StatusCode == 408:
		r.followed(errGone)
		l.rollBack(r)
		l.lost("a re-INVITE", "is reported not to answer (408)")
	case l.raise(r, res):
	case r.moved != nil:
		l.rollBack(r)
		l.unmoved(r, res)
	case r.refresh:
		l.rollBack(r)
		l.refreshed(res)
		l.wish()
	case res.StatusCode == 491 && r.glares < maxGlares:
		l.rollBack(r)
		r.glares++
		l.after(l.glarePause(), func() {
			if !l.mayOffer() || l.reoffer(r) != nil {
				l.unchanged()
			}
		})
	default:
		l.rollBack(r)
		l.unchanged()
	}
}

// glarePause is how long to wait after a 491: who made the Call-ID waits longer
// (RFC 3261 section 14.1).
func (l *Leg) glarePause() time.Duration {
	if l.incoming {
		return time.Duration(rand.IntN(200)) * 10 * time.Millisecond
	}
	return 2100*time.Millisecond + time.Duration(rand.IntN(190))*10*time.Millisecond
}

// onReaccepted takes the peer's answer. A repetition means that our ACK was lost.
func (l *Leg) onReaccepted(r *reinvite, res *sipgo.Response) {
	if r.ack != nil {
		r.ack()
		return
	}
	l.dlg.refresh(res)
	r.ack = l.acknowledge(l.dlg, res.CSeq().SeqNo)
	if l.reinvite != r || l.muted {
		return
	}
	l.reinvite = nil
	l.notes(res)
	l.keepAlive(answeredTimer(l.trunk.Timer, l.terms, res))
	if r.refresh && l.media.same(res.Body()) {
		l.wish()
		return
	}
	answer, err := sdp.Parse(res.Body())
	if err == nil {
		err = l.media.accept(answer)
	}
	if err != nil {
		// The peer has changed over to something that we cannot follow.
		c := bridge.CauseMediaIncompatible.With("answer of trunk %q to our re-INVITE: %v", l.trunk.Name, err).EndedBy(l.peerParty())
		r.followed(c)
		l.ended(c, nil)
		_ = l.bye(c)
		return
	}
	r.followed(nil)
	l.media.settle()
	l.unchanged()
	l.wish()
}

// onUnoffered judges a re-INVITE without a final answer.
func (l *Leg) onUnoffered(r *reinvite, err error) {
	if l.reinvite != r || l.muted {
		return
	}
	l.rollBack(r)
	switch {
	case r.refresh:
		l.notRefreshed(err)
		l.wish()
	case timedOut(err):
		r.followed(errGone)
		l.lost("a re-INVITE", "does not answer")
	case r.moved != nil:
		l.notMoved(r, err, movePause)
	default:
		l.unchanged()
	}
}

// raise sends a re-INVITE again whose session interval was too small for the
// peer (RFC 4028 section 7.3).
func (l *Leg) raise(r *reinvite, res *sipgo.Response) bool {
	seconds, ok := tooSmall(res, l.terms.seconds)
	if res.StatusCode != 422 || !ok || r.raised >= maxTooSmall {
		return false
	}
	l.rollBack(r)
	r.raised++
	l.terms.seconds, l.minSE = seconds, seconds
	switch {
	case l.reoffer(r) == nil:
	case r.refresh:
		l.refreshIn(l.retryAfterFailure()) // without another one the session would run out
		l.wish()
	default:
		l.unchanged()
	}
	return true
}

// rollBack goes back to what was agreed on before. The version of our
// description is not used again.
func (l *Leg) rollBack(r *reinvite) {
	version := l.media.version
	*l.media = r.before
	l.media.version = version
	l.media.settle()
	l.reinvite = nil
}

// unchanged tells the bridge what is in force, which may be what was before.
func (l *Leg) unchanged() {
	l.emit(bridge.Event{Kind: bridge.MediaChanged, Plan: l.media.planCopy(), Held: l.media.held()})
}

// lost ends a call whose peer is no longer in it, as a request of ours has shown.
func (l *Leg) lost(asked, why string) {
	c := l.lostFor(asked, why)
	l.ended(c, nil)
	_ = l.bye(c)
}

func (l *Leg) lostFor(asked, why string) bridge.Cause {
	return bridge.CauseSignallingLost.With("trunk %q at %s, sent %s, %s", l.trunk.Name, l.flow.remote(), asked, why).EndedBy(bridge.ByBridge)
}

// offer offers other media in a running session.
func (s *session) offer(o bridge.MediaOffer) []byte {
	s.version++
	s.wantVideo(len(o.Video) > 0)
	s.local = s.local.Reoffer(s.ours(s.sec.offers(s.agreed)), s.spoken(rtp.CapabilityOf(o)))
	s.offering = true
	return s.local.Bytes()
}

// sameOffer is our description as it is, as an offer that changes nothing: the
// version stays (RFC 3264 section 8).
func (s *session) sameOffer() []byte {
	s.offering = true
	return s.local.Bytes()
}

// same tells whether an answer to sameOffer says what was said before, or
// nothing at all. Then nothing is learnt anew.
func (s *session) same(answer []byte) bool {
	if len(answer) > 0 {
		d, err := sdp.Parse(answer)
		if err != nil || d.Origin != s.remote.Origin {
			return false
		}
		// Some change the address, or hold, and forget to raise the version.
		now, _ := d.Audio()
		before, _ := s.remote.Audio()
		if now.Remote() != before.Remote() || now.Direction != before.Direction {
			return false
		}
	}
	s.offering = false
	return true
}
