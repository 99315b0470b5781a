package sip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"riptide/bridge"
	"riptide/sip/rtp"
	"riptide/sip/sdp"
)

// A leg whose process is gone goes on in another one from its record. On the same
// addresses its peer notices nothing but a gap in the media: the dialog, its
// numbers, the session timer, the sources of media and their keys are as they
// were, a few numbers further on. Where our addresses are others, or keys are
// lost, the peer is told by a re-INVITE (moved.go). A call that was not answered
// can only be ended (unanswered.go).

const (
	// seqAhead is how far our CSeq moves on: beyond all that may have been sent
	// since the record. Gaps are allowed (RFC 3261 section 12.2.1.1).
	seqAhead = 100
	// firstRefresh is within which time the session is refreshed after a
	// restart if it is due: of all calls at once, each has its own moment.
	firstRefresh = 3 * time.Second
	// lateRefresh is what a peer who has to refresh the session is granted
	// after a restart at least: it may have tried meanwhile.
	lateRefresh = 32 * time.Second
	// sameClock is how far apart a record and its part of a leg are written at most.
	sameClock = 5 * time.Second
)

var _ bridge.Resumer = (*Agent)(nil)

// Resume implements bridge.Resumer. Before Serve, no packet is missed: they wait
// in the sockets.
func (a *Agent) Resume(ctx context.Context, r bridge.Resumption) (bridge.Leg, error) {
	t := a.byName[r.Trunk]
	if t == nil {
		return nil, bridge.CauseInternal.With("call %s cannot go on: no SIP trunk is named %q any more", r.ID, r.Trunk)
	}
	rec, err := parseState(r.LegRecord.State)
	if err == nil && rec.CallID != r.ID {
		err = errors.New("it is of another call")
	}
	if err != nil {
		return nil, bridge.CauseInternal.With("call %s of trunk %q cannot go on: its record: %v", r.ID, t.Name, err)
	}
	rec.clockOf(a.cfg.Now(), r.Idle)
	r.Moved = r.Moved || rec.Untold
	if rec.state == over {
		return nil, bridge.Cause{Code: "call-ended"}.With("call %s of trunk %q was over", r.ID, t.Name)
	}
	if r.Moved && t.Replaces && rec.state != inviting && r.State == bridge.StateAnswered {
		return a.replaceCall(ctx, t, &rec, r)
	}
	f, err := a.wayBack(t, &rec, r.Moved)
	if err != nil {
		return nil, bridge.CauseUnreachable.With("call %s cannot go on: %v", r.ID, err)
	}
	l, moved, err := a.revive(t, &rec, r, f)
	if err != nil {
		return nil, err
	}
	if err := l.start(ctx, &rec, r, moved); err != nil {
		return nil, fmt.Errorf("call %s of trunk %q cannot go on: %w", r.ID, t.Name, err)
	}
	return l, nil
}

// clockOf makes the times of a record those of our clock, where that was set since,
// or the record is of another box with another one: it was written when the call was
// served last, idle ago.
func (r *recorded) clockOf(now time.Time, idle time.Duration) {
	ahead := now.Add(-idle).Sub(r.Media.At)
	if ahead.Abs() < sameClock && !now.Before(r.Media.At) {
		return
	}
	r.Media.At = r.Media.At.Add(ahead)
	if r.Video != nil {
		r.Video.At = r.Video.At.Add(ahead)
	}
	if r.Refreshed > 0 {
		r.Refreshed += int64(ahead / time.Second)
	}
}

// revive makes the leg of a record, which nobody knows of yet. moved says that
// the peer has to be told new addresses or keys.
func (a *Agent) revive(t *trunk, rec *recorded, r bridge.Resumption, f flow) (l *Leg, moved bool, err error) {
	media, moved, err := a.reviveMedia(t, rec, r, f.self())
	if err != nil {
		return nil, false, fmt.Errorf("call %s of trunk %q cannot go on: %w", r.ID, t.Name, err)
	}
	r.Hear(media.port)
	l = a.newLeg(a.box(rec.CallID), t, f, media, r.Incoming)
	l.info = bridge.LegInfo{ID: r.ID, Protocol: "sip", Trunk: t.Name, From: r.From, To: r.To, Hops: bridge.DefaultHops, Trace: r.Trace}
	l.dlg, l.inviteSeq = rec.dlg, rec.InviteSeq
	if rec.state != inviting {
		l.state = confirmed
	}
	if !r.Exact {
		l.dlg.localSeq += seqAhead
	}
	if l.dlg.remoteSeq > 1 {
		l.dlg.remoteSeq-- // the last one comes again if its answer was lost
	}
	l.session = sessionID{local: rec.SessionID, remote: rec.PeerID}
	l.minSE, l.updates, l.spoke = rec.MinSE, rec.Updates, time.Now()
	l.takenUp = l.spoke
	if err := a.enter(l, true); err != nil {
		l.cancel()
		media.port.Close()
		return nil, false, err
	}
	return l, moved, nil
}

// start makes a leg known to the network.
func (l *Leg) start(ctx context.Context, rec *recorded, r bridge.Resumption, moved bool) error {
	var told chan error
	var err error
	begin := func() {
		if l.closed { // Shutdown was faster
			err = bridge.CauseShuttingDown
			return
		}
		l.box.legs = append(l.box.legs, l)
		if rec.state == inviting {
			if err = l.ready(rec, l.wayOut(rec)); err == nil && l.incoming && r.State == bridge.StateAnswered && r.Plan != nil {
				err = l.answerFirst(rec, *r.Plan)
			}
		} else {
			told, err = l.goOn(rec, moved && r.State == bridge.StateAnswered)
		}
		if err != nil {
			l.over()
		}
	}
	if doErr := l.enterBox(ctx, begin); doErr != nil {
		l.box.post(func() { l.recall(ctx, told != nil) }) // should it begin yet, or have begun
		l.drop()
		return doErr
	}
	if err != nil || told == nil || !r.Moved {
		return err
	}
	select {
	case err = <-told:
	case <-ctx.Done():
		err = l.tooLate(ctx, "that the call has moved")
	}
	return err
}

// drop forgets a leg that nobody has heard of.
func (l *Leg) drop() {
	l.agent.leave(l)
	l.cancel()
	l.media.port.Close()
}

// enterBox runs f in the leg's mailbox, or in a new one where that has died.
func (l *Leg) enterBox(ctx context.Context, f func()) error {
	for {
		err := l.box.do(ctx, f)
		if !errors.Is(err, errOver) || l.agent.base.Err() != nil {
			return err
		}
		l.agent.forget(l.box)
		l.box = l.agent.box(l.info.ID)
	}
}

// goOn takes up an answered call. What it returns, if not nil, says when the peer
// knows where the call is now.
func (l *Leg) goOn(rec *recorded, moved bool) (told chan error, err error) {
	l.takeUpTimer(rec)
	if rec.state == answered && rec.invite != nil && l.incoming {
		if err := l.answerAgain(rec); err != nil {
			return nil, err
		}
	}
	l.mindMedia()
	if moved {
		l.watch()
		if l.box.claims != nil && l.box.claims.first {
			l.tellLater(rec.SDP)
			return nil, nil
		}
		return l.tellMoved()
	}
	l.watchResumed()
	l.reconnect()
	if l.media.agreed != nil && l.media.held() {
		l.unchanged() // of the held party's side, the call knows by events alone
	}
	return nil, nil
}

// takeUpTimer goes on with the session timer where it was (RFC 4028 section 10).
func (l *Leg) takeUpTimer(rec *recorded) {
	if rec.Interval == 0 {
		return
	}
	l.keepAlive(sessionTerms{seconds: rec.Interval, ours: rec.Refresher})
	refresh, end := l.terms.due()
	passed := time.Duration(refresh) * l.trunk.second // if that is not known
	if rec.Refreshed > 0 {
		l.refreshedAt = time.Unix(rec.Refreshed, 0)
		passed = max(l.agent.cfg.Now().Sub(l.refreshedAt), 0)
	}
	if l.terms.ours {
		l.refreshIn(max(time.Duration(refresh)*l.trunk.second-passed, time.Duration(rand.Int64N(int64(firstRefresh)))))
	}
	l.stop(l.expiry)
	l.expiry = l.after(max(time.Duration(end)*l.trunk.second-passed, lateRefresh), l.expired)
}

// reviveMedia makes the media of a recorded leg. moved says that the peer has to
// be told of it before anything can be sent: there are other ports, or no keys.
func (a *Agent) reviveMedia(t *trunk, rec *recorded, r bridge.Resumption, shown origin) (s *session, moved bool, err error) {
	sec := t.securityOver(rec.over)
	if rec.Version < 2 && sec.travel && sec.policy != SRTPOff && sec.policy != SRTPDTLS {
		return nil, false, bridge.CauseInternal.With("its record is of an older release, which kept no keys of SRTP")
	}
	agreed, answered, err := rec.agreed(func(g sdp.Agreed) bool {
		plan, ok := rtp.PlanOf(g)
		return ok && (r.Plan == nil || plan.Speech == r.Plan.Speech)
	})
	if err != nil {
		return nil, false, bridge.CauseInternal.With("its record: what was agreed on: %v", err)
	}
	pool := a.poolFor(rec.Media.Local.Addr())
	if r.Moved {
		pool = shown.pool
	}
	port, there, err := reopen(pool, rtp.Options{Log: a.cfg.Logger, Tap: a.cfg.Tap.Media, Leg: rec.CallID, Restore: &rec.Media, Moved: r.Moved, Exact: r.Exact}, rec.Video)
	if err != nil {
		return nil, false, fmt.Errorf("open RTP port: %w", err)
	}
	s = &session{
		port: port, log: a.cfg.Logger, advertise: shown.media, codecs: t.Codecs, dtmf: t.Media.DTMF, sec: sec,
		id: rec.Session, version: rec.SDP, informs: rec.Informs, deaf: rec.Deaf,
		local: rec.local, settled: rec.local, remote: rec.remote, agreed: agreed, answered: answered,
	}
	s.sec.renew()
	s.sec.keepRecorded(rec.Keys)
	if s.sec.certificate, err = pool.Fingerprint(); err != nil {
		port.Close()
		return nil, false, fmt.Errorf("make a certificate for DTLS: %w", err)
	}
	moved = !there || rec.keyless(agreed)
	s.takeUp(r.Plan, moved)
	return s, moved, nil
}

// reopen binds the ports of a record, or others where another program has them.
// there tells whether they are the same.
func reopen(pool *rtp.Pool, o rtp.Options, video *rtp.State) (port *rtp.Port, there bool, err error) {
	port, err = pool.Open(o)
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL) {
		o.Moved = true
		port, err = pool.Open(o)
	}
	if err != nil || video == nil {
		return port, err == nil && !o.Moved, err
	}
	if err = port.OpenVideo(video, o.Moved); err != nil && !o.Moved {
		o.Moved = true
		err = port.OpenVideo(video, true)
	}
	if err != nil {
		o.Moved, err = true, nil // the call goes on without its picture
	}
	return port, !o.Moved, err
}

// keyless tells a call whose keys came of a handshake that its record does not
// hold: there has to be another one.
func (r *recorded) keyless(a *sdp.Agreed) bool {
	if a == nil {
		return false
	}
	lacks := func(s sdp.Stream, st *rtp.State) bool {
		return s.Protection.Keying == sdp.DTLS && !st.Keyed(s.RTCPMux)
	}
	return lacks(a.Audio, &r.Media) || a.Video.Agreed() && r.Video != nil && lacks(a.Video, r.Video)
}

// takeUp goes on with what was agreed on. Where the peer has yet to be told of
// new addresses or keys, nothing is sent before that: the process that had the
// call might be sending still, under the same numbers.
func (s *session) takeUp(plan *bridge.MediaPlan, moved bool) {
	if s.agreed == nil {
		s.offering = len(s.local.Media) > 0
		return
	}
	if p, ok := rtp.PlanOf(*s.agreed); ok {
		p.Digits = s.dtmf.carries(p.Digits)
		if plan != nil {
			p = *plan
		}
		s.plan, s.asked = &p, &p
		s.video = p.Video
	}
	if !moved { // else the peer gets new ones with the new addresses
		s.sec.keep(s.settled)
	}
	now := *s.agreed
	s.untold = moved
	if moved {
		now.Audio.Direction, now.Video.Direction = now.Audio.Direction.And(sdp.RecvOnly), now.Video.Direction.And(sdp.RecvOnly)
	}
	s.port.Configure(now)
	s.since = time.Now()
	s.direct()
	s.settle()
}

// keysOnRecord are our keys before there is a description that has them.
func (s *security) keysOnRecord() (out []rtp.Material) {
	for _, c := range slices.Concat(s.audio, s.video) {
		out = append(out, rtp.Material(c.Key))
	}
	return out
}

// keepRecorded goes on with them.
func (s *security) keepRecorded(keys []rtp.Material) {
	if len(keys) != len(s.audio)+len(s.video) {
		return
	}
	for i, k := range keys {
		of, at := s.audio, i
		if i >= len(s.audio) {
			of, at = s.video, i-len(s.audio)
		}
		if len(k) == len(of[at].Key) {
			of[at].Key = sdp.Secret(k)
		}
	}
}

// keep goes on with the keys of our own that a description has.
func (s *security) keep(own sdp.Description) {
	if s.audio == nil {
		return
	}
	take := func(keys []sdp.Crypto, said []sdp.Crypto) {
		for _, c := range said {
			named, _ := sdp.SuiteNamed(c.Suite)
			if i := slices.IndexFunc(keys, func(k sdp.Crypto) bool { return k.Suite == named.Name }); i >= 0 {
				keys[i].Key = c.Key
			}
		}
	}
	if m, ok := own.Audio(); ok {
		take(s.audio, m.Crypto)
	}
	if m, ok := own.Video(); ok {
		take(s.video, m.Crypto)
	}
}
