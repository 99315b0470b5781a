package sip

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// What a trunk does about session timers (RFC 4028).
const (
	TimerNever   = "never"   // we know nothing of them
	TimerAccept  = "accept"  // a peer that wants one gets it (default)
	TimerRequire = "require" // every call has one; where the peer knows none, we refresh alone
)

const (
	// minSessionExpires is the shortest session interval we go along with (RFC
	// 4028 section 4).
	minSessionExpires = 90
	// maxSessionExpires bounds what a peer may make of ours by 422.
	maxSessionExpires      = 24 * 3600
	defaultSessionInterval = 30 * time.Minute
	// maxTooSmall is how often we raise the interval of one request.
	maxTooSmall = 3
)

// sessionTerms is what was agreed on about refreshing a call. The zero value is
// a session that does not expire.
type sessionTerms struct {
	seconds int
	ours    bool // we refresh
}

// due is when the session has to be refreshed, and when it is over if it was
// not: the lesser of 32 s and a third of the interval before it would be (RFC
// 4028 section 10), so that the BYE still finds the peer in the call.
func (s sessionTerms) due() (refresh, end int) {
	return s.seconds / 2, s.seconds - min(32, s.seconds/3)
}

// refresher is who refreshes, in the words of a request or response: "uac" is
// whoever sent the request.
func refresher(uac bool) string {
	if uac {
		return "uac"
	}
	return "uas"
}

func (s sessionTerms) header(uac bool) sipgo.Header {
	return sipgo.NewHeader("Session-Expires", strconv.Itoa(s.seconds)+";refresher="+refresher(uac))
}

// timerRequest is what a request says about session timers.
type timerRequest struct {
	seconds   int    // 0: nothing asked
	refresher string // "uac", "uas" or ""
	supports  bool   // the sender knows of timers; else a proxy has asked
}

func readTimer(req *sipgo.Request) timerRequest {
	seconds, refresher, ok := sessionExpires(req)
	t := timerRequest{supports: offers(req, "timer")}
	if ok {
		t.seconds, t.refresher = seconds, refresher
	}
	return t
}

// agreeTimer is what we, the UAS, make of a request (RFC 4028 section 9, table
// 2). now are the terms so far. Who asks is who refreshes, unless it says
// otherwise or cannot.
func agreeTimer(policy string, interval int, now sessionTerms, r timerRequest) sessionTerms {
	switch {
	case policy == TimerNever:
		return sessionTerms{}
	case r.seconds > 0:
		terms := sessionTerms{seconds: r.seconds, ours: !r.supports || r.refresher == "uas"}
		if policy == TimerRequire {
			terms.seconds = min(r.seconds, max(interval, minSessionExpires))
		}
		return terms
	case now.ours:
		return now // the peer may still count on us
	case policy == TimerRequire:
		return sessionTerms{seconds: interval, ours: true}
	}
	return sessionTerms{}
}

// answeredTimer is what a 2xx makes of a request of ours (section 7.2). asked is
// what the request said; nothing, if it left the matter to the peer.
func answeredTimer(policy string, asked sessionTerms, res *sipgo.Response) sessionTerms {
	seconds, refresher, ok := sessionExpires(res)
	switch {
	case policy == TimerNever:
		return sessionTerms{}
	case ok && seconds > 0:
		return sessionTerms{seconds: max(seconds, minSessionExpires), ours: refresher != "uas"}
	case policy == TimerRequire && asked.seconds > 0, asked.ours:
		return sessionTerms{seconds: asked.seconds, ours: true} // it knows of none
	}
	return sessionTerms{}
}

// tooSmall is the interval that a 422, or whoever else on the way, demands at
// least; ok is false where asked will do, or it makes no sense.
func tooSmall(msg sipgo.Message, asked int) (seconds int, ok bool) {
	for _, v := range headerValues(msg, "Min-SE") {
		v, _, _ = strings.Cut(v, ";")
		n, err := strconv.Atoi(strings.TrimSpace(v))
		if err == nil && n > asked && n <= maxSessionExpires {
			return n, true
		}
	}
	return 0, false
}

// checkTimerPolicy checks the trunk's keys about timers and fills them in.
func (t *Trunk) checkTimerPolicy() error {
	switch t.Timer {
	case "":
		t.Timer = TimerAccept
	case TimerNever, TimerAccept, TimerRequire:
	default:
		return fmt.Errorf("session timer %q is not known, use never, accept or require", t.Timer)
	}
	if t.second == 0 {
		t.second = time.Second
	}
	if t.SessionInterval == 0 {
		t.SessionInterval = defaultSessionInterval
	}
	if t.SessionInterval < minSessionExpires*time.Second || t.SessionInterval > maxSessionExpires*time.Second {
		return fmt.Errorf("session interval %v is not between 90 s and 24 h", t.SessionInterval)
	}
	return nil
}

// interval is what the trunk asks for, in seconds.
func (t *trunk) interval() int { return int(t.SessionInterval / time.Second) }

// asksTimer are the terms of an INVITE that begins a call.
func (t *trunk) asksTimer() sessionTerms {
	if t.Timer != TimerRequire {
		return sessionTerms{}
	}
	return sessionTerms{seconds: t.interval(), ours: true}
}

// timerOf are the header fields of an INVITE that begins a call: who refreshes
// is left to the peer.
func timerOf(asked sessionTerms, minSE int) []sipgo.Header {
	if asked.seconds == 0 {
		return nil
	}
	return append([]sipgo.Header{sipgo.NewHeader("Session-Expires", strconv.Itoa(asked.seconds))}, minimum(minSE)...)
}

func minimum(seconds int) []sipgo.Header {
	if seconds == 0 {
		return nil
	}
	return []sipgo.Header{sipgo.NewHeader("Min-SE", strconv.Itoa(seconds))}
}

// refreshHeaders go with every request of ours that refreshes the session:
// whoever refreshed goes on doing it (section 7.4).
func (l *Leg) refreshHeaders() []sipgo.Header {
	if l.terms.seconds == 0 {
		return nil
	}
	return append([]sipgo.Header{l.terms.header(l.terms.ours)}, minimum(l.minSE)...)
}

// agreeTimer settles the session timer that a request is about and returns what
// the 2xx says of it.
func (l *Leg) agreeTimer(req *sipgo.Request) []sipgo.Header {
	r, interval := readTimer(req), l.trunk.interval()
	if least, ok := tooSmall(req, interval); ok { // RFC 4028 section 9: not made shorter than that
		interval = least
	}
	l.keepAlive(agreeTimer(l.trunk.Timer, interval, l.terms, r))
	if l.terms.seconds == 0 {
		return nil
	}
	out := []sipgo.Header{l.terms.header(!l.terms.ours)}
	if r.supports {
		out = append(out, sipgo.NewHeader("Require", "timer"))
	}
	return out
}

// keepAlive takes terms over, and counts from now.
func (l *Leg) keepAlive(s sessionTerms) {
	l.stop(l.refreshing)
	l.stop(l.expiry)
	l.terms, l.refreshing, l.expiry = s, nil, nil
	if s.seconds == 0 {
		return
	}
	l.refreshedAt = l.agent.cfg.Now()
	refresh, end := s.due()
	if s.ours {
		l.refreshing = l.after(time.Duration(refresh)*l.trunk.second, l.refresh)
	}
	l.expiry = l.after(time.Duration(end)*l.trunk.second, l.expired)
}

// expired ends a call that was not refreshed in time.
func (l *Leg) expired() {
	who := "did not refresh it"
	if l.terms.ours {
		who = "answered no refresh of ours"
	}
	c := bridge.CauseSignallingLost.With("the session of call %s expired: trunk %q %s within its interval of %d s (trunks.%s.sip.timer)",
		l.info.ID, l.trunk.Name, who, l.terms.seconds, l.trunk.Name).EndedBy(bridge.ByBridge)
	l.ended(c, nil)
	_ = l.bye(c) // perhaps somebody hears it after all
}

// refresh renews the session: by UPDATE where the peer takes it, since that
// touches nothing else, and by a re-INVITE with the description as it is where
// not.
func (l *Leg) refresh() {
	switch {
	case l.state == answered || l.reinvite != nil || l.changer != nil || l.media.offering:
		l.refreshIn(time.Second) // another exchange is under way, and may do
	case l.state != confirmed:
	case l.updates:
		l.refreshByUpdate(0)
	case l.mayOffer():
		r := &reinvite{refresh: true}
		if l.media.untold { // our description as it was leads to the node that had the call
			r = &reinvite{offer: offerOf(*l.media.plan)}
		}
		if err := l.reoffer(r); err != nil {
			l.refreshIn(l.retryAfterFailure())
		}
	default:
		l.refreshIn(time.Second) // an answer of ours has no ACK yet
	}
}

func (l *Leg) refreshIn(d time.Duration) {
	l.stop(l.refreshing)
	l.refreshing = l.after(d, l.refresh)
}

// retryAfterFailure is how long to wait after a refresh that came to nothing:
// several fit in before the session is over.
func (l *Leg) retryAfterFailure() time.Duration {
	return max(time.Duration(l.terms.seconds)*l.trunk.second/20, sipgo.T1)
}

func (l *Leg) refreshByUpdate(raised int) {
	req := l.dlg.request(sipgo.UPDATE)
	for _, h := range append(l.contactHeaders(nil), l.refreshHeaders()...) {
		req.AppendHeader(h)
	}
	req.SetBody(nil)
	f, err := l.route(l.dlg)
	if err == nil {
		err = l.request(l.dlg, req, f,
			func(res *sipgo.Response) {
				if res.StatusCode < 200 || l.muted {
					return
				}
				if seconds, ok := tooSmall(res, l.terms.seconds); res.StatusCode == 422 && ok && raised < maxTooSmall {
					l.terms.seconds, l.minSE = seconds, seconds
					l.refreshByUpdate(raised + 1)
					return
				}
				l.refreshed(res)
			},
			func(err error) {
				if !l.muted {
					l.notRefreshed(err)
				}
			})
	}
	if err != nil {
		l.refreshIn(l.retryAfterFailure())
	}
}

// refreshed judges the final response to a refresh (RFC 4028 section 10): only
// 481 and 408 end the call, anything else leaves the session as it was, and is
// tried again.
func (l *Leg) refreshed(res *sipgo.Response) {
	switch {
	case res.IsSuccess():
		l.dlg.refresh(res)
		l.notes(res)
		l.keepAlive(answeredTimer(l.trunk.Timer, l.terms, res))
	case res.StatusCode == 481:
		l.endUnknown("a session refresh")
	case res.StatusCode == 408:
		l.lost("a session refresh", "is reported not to answer (408)")
	case l.updates && (res.StatusCode == 405 || res.StatusCode == 501):
		l.updates = false
		l.refresh()
	case res.StatusCode == 491:
		l.refreshIn(l.glarePause())
	default:
		l.refreshIn(max(l.retryAfterFailure(), min(retryAfterOf(res), 10*time.Second)))
	}
}

// notRefreshed judges a refresh without an answer: a connection that broke may
// be made anew, a peer that is silent is gone.
func (l *Leg) notRefreshed(err error) {
	if timedOut(err) {
		l.lost("a session refresh", "does not answer")
		return
	}
	l.refreshIn(l.retryAfterFailure())
}

// longerSession calls again with the session interval that a 422 demands (RFC
// 4028 section 7.3).
func (l *Leg) longerSession(res *sipgo.Response) bool {
	seconds, ok := tooSmall(res, l.terms.seconds)
	if !ok || l.out.raised >= maxTooSmall || l.trunk.Timer == TimerNever || l.state != inviting {
		return false
	}
	l.out.raised++
	l.terms, l.minSE = sessionTerms{seconds: seconds, ours: true}, seconds
	at := l.out.attempt
	replaceHeader(at.invite, sipgo.NewHeader("Session-Expires", strconv.Itoa(seconds)))
	replaceHeader(at.invite, sipgo.NewHeader("Min-SE", strconv.Itoa(seconds)))
	l.dlg, l.out.early, l.out.sdpFrom, l.media.offering = nil, map[string]*dialog{}, "", true
	return l.retry(at) == nil
}

// replaceHeader sets a header field of a request, whether or not it is there.
func replaceHeader(req *sipgo.Request, h sipgo.Header) {
	req.RemoveHeader(h.Name())
	req.AppendHeader(h)
}
