package sip

import (
	"context"
	"errors"
	"math"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// legState is where a leg is in its life. It never goes back.
type legState uint8

const (
	inviting  legState = iota // the INVITE has no final answer
	answered                  // a 2xx was sent and not acknowledged yet
	confirmed                 // both sides know
	ending                    // we ended it, and wait for the peer to confirm
	over
)

// Event channels hold this many; two places are kept for Answered and Ended,
// which must never be lost.
const (
	maxEvents      = 16
	reservedEvents = 2
)

// Leg is a call with a SIP peer. It implements bridge.Leg. Below the line,
// everything belongs to its mailbox.
type Leg struct {
	agent    *Agent
	box      *mailbox
	trunk    *trunk
	incoming bool
	info     bridge.LegInfo // complete before the bridge sees the leg
	media    *session
	events   chan bridge.Event
	ctx      context.Context // ends with the leg
	cancel   context.CancelFunc

	// ----
	state   legState
	muted   bool        // the bridge knows that it is over
	closed  bool        // no more events
	yielded atomic.Bool // but its media are heard on, until Abandon
	dlg     *dialog
	flow    flow
	timers  map[*time.Timer]struct{}
	pending *acceptance // a 2xx of ours that waits for its ACK
	changed bool        // by one of these, at least once
	changer *serverTx   // a re-INVITE or UPDATE that waits for the record
	hangup  *bridge.Cause

	farewell func() // answers the peer's BYE, which waits for the record

	reinvite *reinvite          // of ours, that has no answer
	wanted   *bridge.MediaOffer // what it will ask for when the peer has our answer

	session sessionID
	digits  []digit // to be sent by INFO; the first is on its way

	terms       sessionTerms // of the session timer
	minSE       int          // the interval on which the peer's network insists; 0 = not said
	refreshing  *time.Timer  // until our next refresh
	expiry      *time.Timer  // until the call ends without one
	refreshedAt time.Time    // when that was last put off
	updates     bool         // the peer takes UPDATE

	spoke    time.Time // when the peer's last request in the dialog came
	takenUp  time.Time // when this process began with a call of another's; zero = it was ours from the start
	failures int       // probes without an answer, in a row

	resettled bool   // a description was sent again, since the last one's fate was not known
	inviteSeq uint32 // of an INVITE that another process has sent or taken

	invite *serverTx // incoming
	last18 func()    // repeats the last provisional answer
	rel    reliable

	referral *referral // the last one

	out     *outgoing      // outgoing
	invited *sipgo.Request // last re-INVITE of ours, whose credentials its ACK repeats
}

// Info implements bridge.Leg.
func (l *Leg) Info() bridge.LegInfo { return l.info }

// Events implements bridge.Leg.
func (l *Leg) Events() <-chan bridge.Event { return l.events }

// Media implements bridge.Leg.
func (l *Leg) Media() bridge.MediaPort { return l.media.port }

func (a *Agent) newLeg(m *mailbox, t *trunk, f flow, s *session, incoming bool) *Leg {
	l := &Leg{
		agent: a, box: m, trunk: t, incoming: incoming, media: s, flow: f,
		events: make(chan bridge.Event, maxEvents), timers: map[*time.Timer]struct{}{},
	}
	s.inform = func(key byte, pressed time.Duration) { m.post(func() { l.inform(digit{key, pressed}) }) }
	l.ctx, l.cancel = context.WithCancel(a.base)
	return l
}

// emit tells the bridge, unless it has too much to do already. Only the
// mailbox sends, so a place that is free stays free until it does.
func (l *Leg) emit(ev bridge.Event) bool {
	reserved := reservedEvents
	if ev.Kind == bridge.Answered || ev.Kind == bridge.Ended {
		reserved = 0
	}
	if l.muted || len(l.events) >= cap(l.events)-reserved {
		return false
	}
	ev.At = l.agent.cfg.Now()
	l.events <- ev
	return true
}

// ended tells the bridge that the peer, or the network, ended the leg. stored
// may be nil.
func (l *Leg) ended(c bridge.Cause, stored func()) {
	l.emit(bridge.Event{Kind: bridge.Ended, Cause: c, Stored: stored})
	l.quiet()
}

// quiet stops what belongs to a living call: timers, media, events. What is
// left is signalling. A change that waits for the record is not made any more.
func (l *Leg) quiet() {
	l.stopTimers()
	l.dropChange()
	l.last18, l.muted = nil, true
	l.cancel()
	if !l.yielded.Load() {
		l.media.port.Close()
	}
}

// dropChange answers a re-INVITE, UPDATE or PRACK that has no answer yet when the
// call ends (RFC 3261 section 15.1.2).
func (l *Leg) dropChange() {
	if l.changer != nil {
		l.changer.refuse(refuse(487, ""))
		l.changer = nil
	}
}

// over is the end of a leg, on every path.
func (l *Leg) over() {
	if l.closed {
		return
	}
	if l.farewell != nil {
		l.farewell() // and then it is over
		return
	}
	l.quiet()
	l.state, l.closed = over, true
	close(l.events)
	l.box.dropLeg(l)
	l.agent.leave(l)
}

// after runs f in the mailbox after d, unless the leg is over or quiet before.
func (l *Leg) after(d time.Duration, f func()) *time.Timer {
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		l.box.post(func() {
			if _, ok := l.timers[t]; ok {
				delete(l.timers, t)
				f()
			}
		})
	})
	l.timers[t] = struct{}{}
	return t
}

func (l *Leg) stop(t *time.Timer) {
	if t == nil {
		return
	}
	t.Stop()
	delete(l.timers, t)
}

func (l *Leg) stopTimers() {
	for t := range l.timers {
		l.stop(t)
	}
}

// notes keeps what a message says of the peer's abilities.
func (l *Leg) notes(msg sipgo.Message) {
	if values := headerValues(msg, "Allow"); len(values) > 0 {
		l.updates = hasOption(msg, "Allow", string(sipgo.UPDATE))
	}
}

// peerParty is who ended a call that our peer ended.
func (l *Leg) peerParty() bridge.Party { return partyOf(l.incoming) }

// partyOf is who the peer of a leg is.
func partyOf(incoming bool) bridge.Party {
	if incoming {
		return bridge.ByCaller
	}
	return bridge.ByCallee
}

// do runs f in the leg's mailbox. A leg that is over has nothing to do: its
// Ended event says why, so that is no error.
func (l *Leg) do(ctx context.Context, f func() error) error {
	var err error
	if doErr := l.box.do(ctx, func() {
		if !l.closed {
			err = f()
		}
	}); doErr != nil && !errors.Is(doErr, errOver) {
		return doErr
	}
	return err
}

// End implements bridge.Leg.
func (l *Leg) End(ctx context.Context, c bridge.Cause) error {
	return l.do(ctx, func() error { return l.end(c) })
}

func (l *Leg) end(c bridge.Cause) error {
	switch {
	case l.state >= ending || l.hangup != nil:
		return nil
	case l.state == inviting && l.invite == nil && l.out == nil:
		l.over() // it is being taken up from its record
		return nil
	case l.incoming && l.state == inviting:
		l.refuse(c)
		return nil
	case l.state == inviting && l.out.tx == nil:
		l.over() // nothing was sent yet
		return nil
	case l.state == inviting:
		l.quiet()
		return l.giveUp(c)
	case l.incoming && l.state == answered:
		// The callee must not send BYE before the ACK or its time-out (RFC
		// 3261 section 15).
		l.hangup = &c
		return nil
	}
	l.quiet()
	return l.bye(c)
}

// bye ends a confirmed dialog.
func (l *Leg) bye(c bridge.Cause) error {
	l.quiet()
	l.state = ending
	l.pending = nil
	status, phrase := c.SIPStatus()
	if c.Code == bridge.CauseNormal.Code {
		status = 0 // a plain hang-up needs no SIP reason
	}
	req := l.dlg.request(sipgo.BYE)
	for _, h := range append(reasonHeaders(c, status, phrase, l.trunk.Name), l.session.headers()...) {
		req.AppendHeader(h)
	}
	req.SetBody(nil)
	f, err := l.route(l.dlg)
	if err == nil {
		err = l.request(l.dlg, req, f,
			func(res *sipgo.Response) {
				if res.StatusCode >= 200 {
					l.over()
				}
			},
			func(error) { l.over() })
	}
	if err != nil {
		l.over()
	}
	return err
}

// acknowledge sends an ACK, which has no transaction.
func (l *Leg) acknowledge(d *dialog, seq uint32) (repeat func()) {
	ack := d.ack(seq)
	for _, invite := range []*sipgo.Request{l.placed(), l.invited} {
		if invite != nil && invite.CSeq().SeqNo == seq {
			copyCredentials(ack, invite)
			break
		}
	}
	ack.SetBody(nil)
	f, err := l.route(d)
	if err != nil {
		l.agent.counts.unsent.Add(1)
		return func() {}
	}
	f = l.agent.fitting(f, ack)
	ack.PrependHeader(via(f, sipgo.GenerateBranch()))
	repeat = func() {
		if f.WriteMsg(ack) != nil {
			l.agent.counts.unsent.Add(1)
		}
	}
	repeat()
	return repeat
}

// placed is the INVITE that we sent to begin the call, nil if the peer did.
func (l *Leg) placed() *sipgo.Request {
	if l.out == nil {
		return nil
	}
	return l.out.invite
}

func retryAfter(d time.Duration) sipgo.Header {
	return sipgo.NewHeader("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
}

// warning explains a refusal (RFC 3261 section 20.43).
func warning(f flow, code int, text string) sipgo.Header {
	if text == "" {
		text = "Incompatible media"
	}
	o := f.self()
	return sipgo.NewHeader("Warning", strconv.Itoa(code)+" "+net.JoinHostPort(o.host, portText(o.port))+" "+quote(clip(text, 200)))
}

func portText(p uint16) string { return strconv.Itoa(int(p)) }
