package sip

import (
	"context"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// attempt is one INVITE of a call that we place. A call makes another when the
// peer asks who we are, and when a target fails and the trunk has one more (RFC
// 3263 section 4.3). What is answered to one that was left is ended at once.
type attempt struct {
	to     target
	invite *sipgo.Request
	tx     *clientTx
	heard  bool // a provisional answer came: CANCEL is allowed
	left   bool
	before bool              // of a process that is gone: what it heard of the target is not known
	acks   map[string]func() // of answers that came after it was left, by tag
}

// tryTimeout is how long a target may say nothing before the next one is tried:
// by then it was asked four times over UDP. The last one has all of Timer B.
func tryTimeout() time.Duration { return 8 * sipgo.T1 }

// try sends an INVITE. It runs in the mailbox.
func (l *Leg) try(at *attempt, f flow) error {
	l.flow, l.out.attempt = f, at
	if l.out.called == nil {
		l.out.called = at.invite.Recipient.Clone()
	}
	at.invite.Recipient = *l.out.called.Clone()
	if at.to.uri != nil {
		at.invite.Recipient = *at.to.uri.Clone()
	}
	if at.to.binding != nil {
		at.to.binding.address(at.invite, l.trunk.Numbers.Format(l.info.To))
	}
	if r := l.trunk.registrant; r != nil {
		_, service := r.home()
		routeThrough(at.invite, service)
	}
	at.invite.RemoveHeader("Contact")
	at.invite.AppendHeader(contact(l.contactUser(), f, false))
	l.trunk.wallet.authorize(at.invite)
	tx, err := l.box.request(at.invite, f,
		func(res *sipgo.Response) { l.onAttempt(at, res) },
		func(err error) { l.onAttemptFailed(at, err) })
	if err != nil {
		return err
	}
	at.tx = tx
	if len(l.out.rest) > 0 {
		l.after(tryTimeout(), func() {
			if l.out.attempt == at && !at.heard && at.tx.final == 0 && l.state == inviting {
				l.trunk.failed(at.to, failure{why: "no answer to INVITE within " + tryTimeout().String()})
				l.next()
			}
		})
	}
	return nil
}

// routeThrough makes a request take a route of the peer's choice.
func routeThrough(req *sipgo.Request, route []string) {
	for req.RemoveHeader("Route") {
	}
	for _, r := range route {
		req.AppendHeader(sipgo.NewHeader("Route", r))
	}
}

// onAttempt takes a response to an INVITE, and sorts out those that only lead
// to another one.
func (l *Leg) onAttempt(at *attempt, res *sipgo.Response) {
	switch {
	case at.left:
		l.leftOver(at, res)
		return
	case res.StatusCode >= 300 && res.StatusCode < 400 && l.redirected(res):
		return
	case res.StatusCode == 503:
		l.blame(at, failure{why: "503 " + clip(res.Reason, 100), pause: retryAfterOf(res), alive: true})
		if l.next() {
			return
		}
	case res.StatusCode >= 200:
		l.trunk.succeeded(at.to)
		if l.state == inviting && l.trunk.wallet.learn(res, &l.out.tries) && l.retry(at) == nil {
			return
		}
	}
	l.onAnswer(res)
}

// onAttemptFailed judges an INVITE without a final answer.
func (l *Leg) onAttemptFailed(at *attempt, err error) {
	if at.left {
		return
	}
	why := err.Error()
	if timedOut(err) {
		why = "no answer to INVITE within " + (64 * sipgo.T1).String() // sipgo names a timer
	}
	l.blame(at, failure{why: why})
	if !l.next() {
		l.onSilence(err)
	}
}

// blame notes that the target of an attempt failed. That an INVITE of a process
// which is gone gets no final answer is not its fault: the answer may have come
// while nobody was there, and a crash in a busy hour leaves many such.
func (l *Leg) blame(at *attempt, f failure) {
	if !at.before {
		l.trunk.failed(at.to, f)
	}
}

// retry sends the INVITE of an attempt again, to the same target.
func (l *Leg) retry(at *attempt) error {
	return l.try(&attempt{to: at.to, invite: again(at.invite, at.invite.CSeq().SeqNo+1)}, at.tx.flow)
}

// next leaves the attempt there is for the trunk's next target. It says whether
// there is one; a telephone that rings already is not left.
func (l *Leg) next() bool {
	if l.state != inviting || len(l.out.rest) == 0 || l.dlg != nil {
		return false
	}
	at := l.out.attempt
	at.left = true
	l.out.between = true
	rest := l.out.rest
	l.out.rest = nil
	l.agent.work.Go(func() {
		f, to, rest, err := l.agent.reach(l.ctx, l.trunk, rest, len(encode(at.invite)))
		l.box.post(func() {
			l.out.between = false
			if l.state != inviting || l.closed {
				return
			}
			l.out.rest = rest
			if err == nil {
				err = l.try(&attempt{to: to, invite: again(at.invite, at.invite.CSeq().SeqNo)}, f)
			}
			if err != nil {
				l.ended(bridge.CauseUnreachable.With("trunk %q: %v", l.trunk.Name, err).EndedBy(bridge.ByBridge), nil)
				l.over()
			}
		})
	})
	return true
}

// leftOver ends what comes of an attempt that was left: nobody waits for it.
func (l *Leg) leftOver(at *attempt, res *sipgo.Response) {
	switch {
	case res.StatusCode < 200 && !at.heard:
		at.heard = true
		req := cancelOf(at.invite)
		req.SetBody(nil)
		if _, err := l.box.request(req, at.tx.flow, nil, nil); err != nil {
			l.agent.counts.unsent.Add(1)
		}
	case res.IsSuccess():
		tag := toTag(res)
		if again := at.acks[tag]; again != nil {
			again()
			return
		}
		if at.acks == nil {
			at.acks = map[string]func(){}
		}
		if len(at.acks) < maxForks {
			d := dialogOfResponse(at.invite, res)
			at.acks[tag] = l.acknowledge(d, at.invite.CSeq().SeqNo)
			l.dismiss(d)
		}
	}
}

// reach finds the way to the first of several targets that can be reached, and
// returns those that are left for later.
func (a *Agent) reach(ctx context.Context, t *trunk, targets []target, size int) (flow, target, []target, error) {
	var last error
	for i, to := range targets {
		f, err := a.flowTo(ctx, t, to, size)
		if err == nil {
			return f, to, targets[i+1:], nil
		}
		if last = err; ctx.Err() != nil {
			return nil, target{}, nil, bridge.CauseCancelled.With("the caller gave up")
		}
		t.failed(to, failure{why: err.Error()})
	}
	return nil, target{}, nil, bridge.CauseUnreachable.With("%v", last)
}

// retryAfterOf is what a response asks us to wait, in seconds; 0 if it does not.
func retryAfterOf(res *sipgo.Response) time.Duration {
	values := headerValues(res, "Retry-After")
	if len(values) == 0 {
		return 0
	}
	seconds, _, _ := strings.Cut(values[0], ";")
	seconds, _, _ = strings.Cut(seconds, "(")
	n, err := strconv.Atoi(strings.TrimSpace(seconds))
	if err != nil || n <= 0 || n > 3600 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// place sends the INVITE.
func (l *Leg) place(ctx context.Context) error {
	var err error
	doErr := l.box.do(ctx, func() {
		if l.closed { // Shutdown was faster
			err = bridge.CauseShuttingDown
			return
		}
		if err = l.try(l.out.attempt, l.flow); err != nil {
			l.trunk.failed(l.out.to, failure{why: err.Error()})
			err = bridge.CauseUnreachable.With("%v", err)
			return
		}
		l.box.legs = append(l.box.legs, l)
		l.out.ringing = l.after(l.trunk.RingTimeout, l.onRingTimeout)
	})
	if doErr != nil {
		// It may be sent yet: then it is cancelled right behind.
		l.box.post(func() {
			if l.out.tx != nil {
				_ = l.end(bridge.CauseCancelled)
			}
		})
		return bridge.CauseCancelled.With("the caller gave up: %v", doErr)
	}
	return err
}
