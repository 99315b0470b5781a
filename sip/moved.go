package sip

import (
	"context"
	"errors"
	"fmt"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// A call whose addresses or keys are others than its peer knows is moved by a
// re-INVITE: its Contact takes the dialog to us (RFC 3261 section 12.2.1.2), and
// its description the media.

const (
	// moveRetries is how often a peer that will not follow is asked again.
	moveRetries = 1
	movePause   = 500 * time.Millisecond
)

// busyLimit is how long a peer may say that it is busy: as long as it waits for the
// answer to its own INVITE (RFC 3261 section 17.1.1.2), and some.
func busyLimit() time.Duration { return 96 * sipgo.T1 }

// tellMoved asks the peer to follow. What is returned says what became of it.
func (l *Leg) tellMoved() (chan error, error) {
	if l.media.plan == nil {
		return nil, bridge.CauseMediaIncompatible.With("nothing was agreed on yet that could be moved")
	}
	r := &reinvite{offer: offerOf(*l.media.plan), moved: make(chan error, 1)}
	if err := l.reoffer(r); err != nil {
		return nil, err
	}
	return r.moved, nil
}

// tellLater leaves it to a request of the peer that waits to be served: our answer to
// its INVITE or UPDATE says where we are, and an INVITE of ours would meet it (RFC
// 3261 section 14.1); after its BYE there is nobody to be told.
// The peer is asked if nothing comes of it; version is that of the description
// which it knows.
func (l *Leg) tellLater(version uint64) {
	l.after(movePause, func() {
		if l.media.version == version && l.mayOffer() {
			_, _ = l.tellMoved() // where that fails, the session timer sees to it
		}
	})
}

// followed says what became of a move.
func (r *reinvite) followed(err error) {
	if r.moved == nil {
		return
	}
	select {
	case r.moved <- err:
	default: // it was said already
	}
}

// notMoved asks once more, and then gives the call up: the peer's media goes where
// nobody takes it.
func (l *Leg) notMoved(r *reinvite, why error, pause time.Duration) {
	if r.refusals++; r.refusals <= moveRetries {
		l.after(pause, func() {
			if !l.mayOffer() {
				r.refusals-- // something else is under way: after it
				l.notMoved(r, why, movePause)
				return
			}
			if err := l.reoffer(r); err != nil {
				l.notMoved(r, err, movePause)
			}
		})
		return
	}
	c := bridge.CauseSignallingLost.With("trunk %q at %s does not follow call %s to where it goes on: %v", l.trunk.Name, l.flow.remote(), l.info.ID, why).EndedBy(bridge.ByBridge)
	r.followed(c)
	l.ended(c, nil)
	_ = l.bye(c)
}

// unmoved judges a refusal to follow. A peer that is busy with an exchange of its
// own (RFC 3261 section 14.2) may have sent it to the node that is gone, and then is
// as long as it waits for an answer from there: the call goes on meanwhile, and who
// waits for it is told so.
func (l *Leg) unmoved(r *reinvite, res *sipgo.Response) {
	pause := movePause
	switch {
	case res.StatusCode == 491:
		pause = l.glarePause()
	case retryAfterOf(res) > 0:
		pause = min(retryAfterOf(res), 10*time.Second)
	}
	if res.StatusCode == 491 || res.StatusCode == 500 && retryAfterOf(res) > 0 {
		if r.busy.IsZero() {
			r.busy = time.Now()
		}
		if time.Since(r.busy) < busyLimit() {
			r.followed(nil)
			r.refusals-- // it does not refuse
		}
	}
	l.notMoved(r, fmt.Errorf("it says %d %s", res.StatusCode, clip(res.Reason, 100)), pause)
}

// tooLate lets go of a leg that is not waited for any longer: it is hung up, so that
// nothing of it stays at a peer which follows after all. Where the call is not ours
// any more the peer hears nothing.
func (l *Leg) tooLate(ctx context.Context, told string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		l.Abandon()
		return fmt.Errorf("tell the peer %s: %w", told, ctx.Err())
	}
	c := notInTime(told)
	_ = l.End(context.WithoutCancel(ctx), c) // what it says to that comes too late
	return c
}

func notInTime(told string) bridge.Cause {
	return bridge.CauseSignallingLost.With("the peer did not answer in time %s", told).EndedBy(bridge.ByBridge)
}

// recall is tooLate in the mailbox, for a leg that nobody has seen begin. asked is
// that its peer was asked to follow.
func (l *Leg) recall(ctx context.Context, asked bool) {
	if asked && !errors.Is(ctx.Err(), context.Canceled) {
		_ = l.end(notInTime("that the call has moved"))
		return
	}
	l.over()
	if len(l.box.legs) == 0 {
		l.box.clear()
	}
}

// errGone says that the peer is not in the call any more.
var errGone = bridge.CauseSignallingLost.With("the peer is in the call no more")
