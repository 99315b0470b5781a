package sip

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"riptide/bridge"
	"riptide/sip/rtp"
	"riptide/sip/sdp"
)

// session is the media of one leg: our description, the peer's, and the port.
// All three are made from one MediaPlan, so they cannot disagree.
type session struct {
	port      *rtp.Port
	log       *slog.Logger
	advertise netip.Addr

	codecs []bridge.Codec // of the trunk's policy

	id, version uint64
	local       sdp.Description // ours, as last sent
	remote      sdp.Description // the peer's, as last taken
	settled     sdp.Description // ours, as last agreed on
	answered    bool            // by our answering the peer's
	offering    bool            // local is an offer that has no answer yet
	untold      bool            // the peer does not know yet where we are, since the call has moved
	agreed      *sdp.Agreed     // nil: nothing agreed yet
	plan        *bridge.MediaPlan
	asked       *bridge.MediaPlan // the plan that the bridge wanted: without ports there is no video in ours
	video       *bridge.Format    // of the video there was, if it was taken away
	sec         security

	since   time.Time // of the last agreement
	dtmf    DTMF
	informs bool // the peer sends digits by INFO
	deaf    bool // the peer would not have one of ours
	inform  func(key byte, pressed time.Duration)
}

// ours is our end of the media under the current version.
func (s *session) ours(sec sdp.Security) sdp.Local {
	local := sdp.Local{
		RTP:      netip.AddrPortFrom(s.advertise, s.port.Local().Port()),
		Session:  s.id,
		Version:  s.version,
		RTCPMux:  true,
		Security: sec,
	}
	if v := s.port.VideoLocal(); v.IsValid() {
		local.Video = netip.AddrPortFrom(s.advertise, v.Port())
	}
	return local
}

// wantVideo takes ports for video. Without them the call goes on with audio.
func (s *session) wantVideo(wanted bool) {
	if !wanted {
		return
	}
	if err := s.port.OpenVideo(nil, false); err != nil {
		s.log.Warn("a call goes without its video", "error", err)
	}
}

// settle gives the ports of video back that came to nothing.
func (s *session) settle() {
	if s.agreed == nil || !s.agreed.Video.Agreed() {
		s.port.CloseVideo()
	}
}

// firstOffer offers what the other side of the call can do.
func (s *session) firstOffer(o bridge.MediaOffer) []byte {
	s.version++
	s.wantVideo(len(o.Video) > 0)
	sec := s.sec.offers(nil)
	s.local = sdp.MakeOffer(s.ours(sec), s.spoken(rtp.CapabilityOf(o)))
	s.offering = true
	var ready sdp.Agreed // media may be ahead of the answer
	if len(sec.Cryptos) > 0 || !sec.Fingerprint.IsZero() {
		// Whether and how it is protected, only the answer says.
		ready.Audio.Protection.Keying, ready.Video.Protection.Keying = sdp.Pending, sdp.Pending
	}
	if m, ok := s.local.Audio(); ok {
		ready.Audio.Receive = m.Formats
	}
	if m, ok := s.local.Video(); ok {
		ready.Video.Receive = m.Formats
	}
	s.port.Configure(ready)
	return s.local.Bytes()
}

// offerOf is what we offer where the plan is ours to propose: its codec first,
// then those we can convert to and from. A peer that leaves the offer to us may
// be bringing in a telephone that knows only one of them (RFC 6337 section 5.3).
func offerOf(p bridge.MediaPlan) bridge.MediaOffer {
	o := p.Offer().Offered()
	o.Digits, o.ComfortNoise = p.Digits, p.ComfortNoise
	return o
}

// repeatOffer offers anew all that the session could use, as it is in use
// first, for a re-INVITE without SDP (RFC 3261 section 14.2).
// Who asks for it may be bringing in somebody who knows nothing of the keys in use.
func (s *session) repeatOffer() []byte {
	s.sec.renew()
	return s.offer(offerOf(*s.plan))
}

// firstAnswer answers the peer's first offer on a plan, and starts media. Asked
// again with the same plan it says the same again: a 200 repeats the SDP of the
// 183 before it (RFC 3261 section 13.2.1).
func (s *session) firstAnswer(plan bridge.MediaPlan) ([]byte, error) {
	if s.asked != nil && s.asked.Equal(plan) {
		return s.local.Bytes(), nil
	}
	s.version++
	body, err := s.answer(s.remote, plan)
	if err == nil {
		s.asked = &plan
	}
	return body, err
}

// answer answers an offer on a plan and takes it over: afterwards the port
// sends and receives by it.
func (s *session) answer(offer sdp.Description, plan bridge.MediaPlan) ([]byte, error) {
	defer s.settle()
	c := s.spoken(rtp.AnswerOf(offer.Acceptable(s.sec.accepts()), plan))
	s.wantVideo(len(c.Video) > 0)
	answer, agreed, err := s.propose(offer, c)
	if err == nil && s.rekeyed(agreed) {
		s.sec.renew()
		answer, agreed, err = s.propose(offer, c)
	}
	if err != nil {
		return nil, bridge.CauseMediaIncompatible.With("%v", err)
	}
	s.take(answer, offer, agreed, plan)
	s.answered = true
	return answer.Bytes(), nil
}

// propose makes an answer, and finds what it comes to.
func (s *session) propose(offer sdp.Description, c sdp.Capability) (sdp.Description, sdp.Agreed, error) {
	sec := s.sec.accepts()
	sec.Passive = s.agreed != nil && s.agreed.Audio.Protection.Keying == sdp.DTLS && !s.agreed.Audio.Protection.Active
	answer, err := sdp.MakeAnswer(offer, s.ours(sec), c)
	if err != nil {
		return sdp.Description{}, sdp.Agreed{}, err
	}
	agreed, err := sdp.Answered(offer, answer)
	return answer, agreed, err
}

// accept takes the peer's answer to our offer.
func (s *session) accept(answer sdp.Description) error {
	agreed, err := sdp.Accepted(s.local, answer)
	if err != nil {
		return bridge.CauseMediaIncompatible.With("the peer's answer: %v", err)
	}
	if !s.sec.suffices(&agreed) {
		return bridge.CauseMediaIncompatible.With("the peer's answer leaves the media unprotected%s", s.sec.hint())
	}
	plan, ok := rtp.PlanOf(agreed)
	if !ok {
		return bridge.CauseMediaIncompatible.With("the peer answered with no codec of ours")
	}
	plan.Digits = s.dtmf.carries(plan.Digits)
	s.take(s.local, answer, agreed, plan)
	s.answered = false
	return nil
}

// take takes over what was agreed on. The plan says of the video what was agreed
// on, not what was wanted.
func (s *session) take(local, remote sdp.Description, agreed sdp.Agreed, plan bridge.MediaPlan) {
	if !agreed.Video.Agreed() {
		plan.Video = nil
	}
	if plan.Video != nil {
		s.video = plan.Video
	}
	s.local, s.remote, s.agreed, s.plan, s.offering, s.untold = local, remote, &agreed, &plan, false, false
	s.settled = local
	s.port.Configure(agreed)
	s.since = time.Now()
	s.direct()
}

// judge finds the plan for a new offer: the codec in use if it is offered at
// all, so that a re-INVITE that adds codecs changes nothing. Video comes back if
// there was any in this call; the other side has not heard that it was away.
func (s *session) judge(offer sdp.Description) (bridge.MediaPlan, error) {
	o, err := s.sec.canTalk(offer)
	if err != nil {
		return bridge.MediaPlan{}, err
	}
	o.Digits = s.dtmf.carries(o.Digits)
	current := bridge.MediaPlan{Ptime: bridge.DefaultPtime}
	if s.plan != nil {
		current = *s.plan
	}
	current.Video = s.video
	return bridge.PlanFor(o.Restrict(s.codecs), current)
}

// reanswer answers an offer in a running session. If nothing is different the
// answer is the description we sent before, under the same version: a refresh.
func (s *session) reanswer(offer sdp.Description, plan bridge.MediaPlan) ([]byte, error) {
	if s.plan != nil && s.agreed != nil && s.plan.Equal(plan) {
		c := s.spoken(rtp.AnswerOf(offer.Acceptable(s.sec.accepts()), plan))
		answer, agreed, err := s.propose(offer, c)
		if err == nil && bytes.Equal(answer.Bytes(), s.local.Bytes()) {
			if agreed.Audio.SameWay(s.agreed.Audio) && agreed.Video.SameWay(s.agreed.Video) {
				s.remote, s.settled, s.answered = offer, s.local, true
				return answer.Bytes(), nil
			}
		}
	}
	s.version++
	return s.answer(offer, plan)
}

// held tells that the peer wants to hear nothing. What becomes of its video is
// between it and the port.
func (s *session) held() bool { return s.agreed != nil && !s.agreed.Audio.Direction.Sends() }

// planCopy is the plan for an event, nil if there is none.
func (s *session) planCopy() *bridge.MediaPlan {
	if s.plan == nil {
		return nil
	}
	p := *s.plan
	return &p
}

// openSession takes an RTP port for a leg of a trunk, which is shown us as
// shown says. over is what its signalling goes over.
func (a *Agent) openSession(t *trunk, callID string, shown origin, over transport) (*session, error) {
	pool := shown.pool
	port, err := pool.Open(rtp.Options{Log: a.cfg.Logger, Tap: a.cfg.Tap.Media, Leg: callID})
	if err != nil {
		return nil, fmt.Errorf("open RTP port: %w", err)
	}
	id, err := randomUint63()
	if err != nil {
		port.Close()
		return nil, fmt.Errorf("make SDP session id: %w", err)
	}
	s := &session{port: port, log: a.cfg.Logger, advertise: shown.media, codecs: t.Codecs, id: id >> 1, sec: t.securityOver(over), dtmf: t.Media.DTMF}
	s.sec.renew()
	if s.sec.certificate, err = pool.Fingerprint(); err != nil {
		port.Close()
		return nil, fmt.Errorf("make a certificate for DTLS: %w", err)
	}
	return s, nil
}
