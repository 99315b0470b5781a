package sip

import (
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// giveUp ends a call of ours that is not answered yet. CANCEL has to wait for
// a provisional answer (RFC 3261 section 9.1): before it, the peer may not know
// of the call at all.
func (l *Leg) giveUp(c bridge.Cause) error {
	l.state = ending
	l.out.given = &c
	switch {
	case l.out.between: // the last attempt was left, and there is no other yet
		l.over()
		return nil
	case !l.out.heard:
		return nil
	}
	return l.sendCancel()
}

func (l *Leg) sendCancel() error {
	req := cancelOf(l.out.invite)
	status, phrase := l.out.given.SIPStatus()
	if l.out.given.Code == bridge.CauseCancelled.Code || l.out.given.Code == bridge.CauseNormal.Code {
		status = 0
	}
	for _, h := range reasonHeaders(*l.out.given, status, phrase, l.trunk.Name) {
		req.AppendHeader(h)
	}
	req.SetBody(nil)
	// RFC 3261 section 9.1: without a final answer within 64*T1 there will be
	// none.
	l.after(64*sipgo.T1, l.over)
	_, err := l.box.request(req, l.out.tx.flow, nil, nil)
	return err
}

// onRingTimeout gives up a call that nobody answers.
func (l *Leg) onRingTimeout() {
	if l.state != inviting {
		return
	}
	c := bridge.CauseNoAnswer.With("not answered within %v (ring timeout of trunk %q)", l.trunk.RingTimeout, l.trunk.Name).EndedBy(bridge.ByBridge)
	l.ended(c, nil)
	_ = l.giveUp(c) // if it cannot be sent, onSilence follows
}

// onSilence ends a call whose INVITE got no final answer: Timer B, or a
// connection that broke.
func (l *Leg) onSilence(err error) {
	if l.closed {
		return
	}
	if l.state == inviting {
		c := bridge.CauseUnreachable.With("trunk %q at %s: %v", l.trunk.Name, l.flow.remote(), err)
		if timedOut(err) {
			c = bridge.CauseNoResponse.With("trunk %q at %s did not answer the INVITE within %v", l.trunk.Name, l.flow.remote(), 64*sipgo.T1)
		}
		l.ended(c.EndedBy(bridge.ByBridge), nil)
	}
	if l.state < confirmed || l.state == ending {
		l.over()
	}
}

// causeOf is why a peer refused our INVITE. The table in bridge decides; what
// the peer said travels along.
func (l *Leg) causeOf(res *sipgo.Response) bridge.Cause {
	r := parseReason(headerValues(res, "Reason"))
	c := bridge.CauseFromSIP(res.StatusCode, r.q850)
	c.Location = r.place
	c.Text = strings.TrimSpace("trunk " + strconv.Quote(l.trunk.Name) + " answered " + strconv.Itoa(res.StatusCode) + " " + clip(res.Reason, 100))
	switch {
	case res.StatusCode == 401 || res.StatusCode == 407:
		c.SIP = 0 // the challenge is for us, and no use to the caller
		c.Text += l.trunk.wallet.complaint(l.trunk.Name)
	case res.StatusCode >= 300 && res.StatusCode < 400:
		if contact := res.Contact(); contact != nil {
			c.Text += ": moved to " + clip(contact.Address.Addr(), 100)
		}
	case r.text != "":
		c.Text += ": " + r.text
	}
	c.RetryAfter = retryAfterOf(res)
	return c.EndedBy(bridge.ByCallee)
}
