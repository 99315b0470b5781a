package h3

import (
	"context"
	"errors"
	"time"

	"riptide/bridge"
)

// away is the time between two links of a call: what an operator asks for after
// a fault.
type away struct {
	since time.Time // when the last link was lost
	found time.Time // when a node answered for the call; zero: it was not looked for
	open  time.Time // when there was a link again; zero: there is none yet
	why   error
	tries int // to open another
}

func (l *clientLeg) awayFor(why error) {
	if l.away.why == nil || !l.away.open.IsZero() {
		l.away = away{since: l.t.client.cfg.Now(), why: why}
	}
}

// back tells that the call has a link again.
func (l *clientLeg) back() {
	a := &l.away
	if a.why == nil || !a.open.IsZero() {
		return
	}
	a.open = l.t.client.cfg.Now()
	if a.found.IsZero() {
		a.found = a.since
	}
	l.t.client.cfg.OnPhase(bridge.PhaseSeek, a.found.Sub(a.since))
	l.t.client.cfg.OnPhase(bridge.PhaseByway, a.open.Sub(a.found))
	l.t.client.cfg.Logger.Info("byway opened again", "trunk", l.info.Trunk, "leg", l.info.ID,
		"away", a.open.Sub(a.since).Round(time.Millisecond), "sought", a.found.Sub(a.since).Round(time.Millisecond), "tries", a.tries, "why", a.why)
	select {
	case <-l.heard: // of a link before
	default:
	}
	l.media.Await(l.heard)
}

// heardAgain tells that media come by the new link, which is what the call's
// parties notice.
func (l *clientLeg) heardAgain(at time.Time) {
	a := l.away
	if a.open.IsZero() {
		return // it is lost again
	}
	l.away = away{}
	l.t.client.cfg.OnPhase(bridge.PhaseMedia, at.Sub(a.open))
	l.t.client.cfg.Logger.Info("media come again", "trunk", l.info.Trunk, "leg", l.info.ID,
		"away", at.Sub(a.since).Round(time.Millisecond))
}

// betweenLinks waits until the next link may be opened, or finds that the call
// is over.
func (l *clientLeg) betweenLinks(ctx context.Context, out outcome) outcome {
	if gone(out.err) {
		c := l.fate(ctx)
		return outcome{over: true, cause: &c}
	}
	l.away.tries++
	if l.flaps <= 1 && (out.silent || l.known && l.away.tries == 1 && !out.moved && !errors.Is(out.err, errConnect)) {
		found, ended := l.seek(ctx, out.silent)
		switch {
		case ended != nil:
			return l.hangUp(ctx, nil, *ended)
		case found:
			l.away.found = l.t.client.cfg.Now()
			return outcome{}
		}
	}
	wait := quickRetry()
	if l.flaps > 1 {
		wait = flapPause(l.flaps)
	}
	var cause bridge.Cause
	switch errors.As(out.err, &cause); {
	case out.moved, out.err == nil:
	case errors.Is(out.err, errConnect):
		// Only failures to connect at all back off; the hold is short, and so
		// is the longest pause.
		l.failures++
		l.media.Leave()
		wait = reconnectPause(l.failures)
	case cause.Code != "":
		l.failures++
		l.leavePlace(out.err)
		if l.failures > 1 {
			wait = max(jittered(cause.RetryAfter), refusedPause(l.failures))
		}
	}
	if l.t.client.cfg.Now().Add(wait).Sub(l.lastGood) > holdLimit {
		c := bridge.CauseSignallingLost.With("trunk %q: call %s: no byway for %v: %v", l.info.Trunk, l.info.ID, holdLimit, out.err).EndedBy(bridge.ByBridge)
		return outcome{over: true, cause: &c}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return outcome{}
	case c := <-l.ending:
		return l.hangUp(ctx, nil, c)
	case <-ctx.Done():
		return l.cutOff()
	}
}
