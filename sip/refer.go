package sip

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/policy"
)

// A REFER within a call asks that the other party be connected elsewhere (RFC
// 3515). The bridge decides and carries it out; here is what the peer sees of
// it: a refusal, or 202 and NOTIFYs of how far it is.

const (
	norefersub = "norefersub" // no NOTIFYs wanted (RFC 4488)
	sipfrag    = "message/sipfrag;version=2.0"
	// referralExpires is what is said of the subscription's life: longer than a
	// telephone rings.
	referralExpires = 10 * time.Minute
	maxReferTo      = 2048
)

// target is where a REFER points to.
type referTarget struct {
	number   policy.Number
	replaces *replaces // an attended transfer: the call there that is to be taken over
}

// parseReferTo reads a Refer-To value.
func parseReferTo(value string, rules NumberRules) (referTarget, error) {
	if len(value) > maxReferTo {
		return referTarget{}, fmt.Errorf("Refer-To of %d bytes", len(value))
	}
	var uri sipgo.Uri
	if _, err := sipgo.ParseAddressValue(value, &uri, &sipgo.HeaderParams{}); err != nil {
		return referTarget{}, fmt.Errorf("Refer-To %q: %w", clip(value, 128), err)
	}
	if method, ok := uri.UriParams.Get("method"); ok && !strings.EqualFold(method, "INVITE") {
		return referTarget{}, fmt.Errorf("Refer-To with method %q: only calls can be transferred", clip(method, 32))
	}
	var t referTarget
	for _, name := range uri.Headers.Keys() {
		if !strings.EqualFold(name, "Replaces") {
			continue
		}
		text, _ := uri.Headers.Get(name)
		r, err := parseReplaces(unescape(text))
		if err != nil {
			return referTarget{}, err
		}
		t.replaces = &r
	}
	var err error
	if t.number, err = rules.numberOf(&uri); err != nil {
		return referTarget{}, fmt.Errorf("Refer-To %q: %w", clip(value, 128), err)
	}
	return t, nil
}

// referral is a REFER that the bridge is asked to carry out.
type referral struct {
	tx       *serverTx
	id       uint32 // CSeq of the REFER; 0 for the first of the call, which needs none
	silent   bool   // no NOTIFYs
	accepted bool
	over     bool
	told     int // status in the last NOTIFY
}

// onREFER hands a REFER to the bridge.
func (l *Leg) onREFER(req *sipgo.Request, s *serverTx) {
	s.tag = l.dlg.localTag
	if r := l.trunk.checkContent(req); r != nil {
		s.refuse(r)
		return
	}
	values := append(headerValues(req, "Refer-To"), headerValues(req, "r")...)
	if len(values) != 1 {
		s.refuse(refuse(400, "One Refer-To Header Wanted"))
		return
	}
	target, err := parseReferTo(values[0], l.trunk.Numbers)
	switch {
	case err != nil:
		l.declineReferral(s, bridge.CauseTransferRefused.With("%v", err))
		return
	case l.state != confirmed:
		l.declineReferral(s, bridge.CauseTransferRefused.With("the call is not answered"))
		return
	case l.referral != nil && !l.referral.over:
		l.declineReferral(s, bridge.CauseTransferRefused.With("the call is being transferred already"))
		return
	}
	r := &referral{tx: s, silent: wantsNoNotify(req)}
	if l.referral != nil {
		r.id = req.CSeq().SeqNo
	}
	l.referral = r // from here on: the call to be taken over is looked for beside the mailbox
	ask := func(instead bridge.Leg) {
		ev := l.transferEvent(r, target)
		ev.Instead = instead
		if l.closed || !l.emit(ev) {
			r.over = true
			s.refuse(refuse(500, "Too Many Changes", pauseHeader()))
			return
		}
		l.after(storedTimeout, func() { l.acceptReferral(r) })
	}
	if target.replaces == nil {
		ask(nil)
		return
	}
	l.agent.find(*target.replaces, l.trunk, func(other *Leg) {
		l.box.post(func() {
			if other == nil || other == l {
				ask(nil)
			} else {
				ask(other)
			}
		})
	})
}

// transferEvent is what the bridge is told. It answers on any goroutine.
func (l *Leg) transferEvent(r *referral, target referTarget) bridge.Event {
	ev := bridge.Event{
		Kind: bridge.Transfer, Target: target.number,
		Moving: func(k bridge.EventKind) {
			l.box.post(func() {
				l.acceptReferral(r)
				if k == bridge.Alerting {
					l.notify(r, 180, "", false)
				}
			})
		},
		Transferred: func(err error) {
			l.box.post(func() { l.transferred(r, err) })
		},
	}
	if target.replaces != nil {
		ev.Replaces = target.replaces.String()
	}
	return ev
}

// wantsNoNotify tells a REFER whose sender does not want to hear what becomes
// of it (RFC 4488 section 4).
func wantsNoNotify(req *sipgo.Request) bool {
	values := headerValues(req, "Refer-Sub")
	return len(values) > 0 && strings.EqualFold(strings.TrimSpace(values[0]), "false")
}

// declineReferral refuses a REFER with the reason in words.
func (l *Leg) declineReferral(s *serverTx, c bridge.Cause) {
	s.respond(603, "", nil, append(reasonHeaders(c, 603, statusPhrase(603), l.trunk.Name), warning(s.flow, 399, discreet(c.Text, l.trunk.Name)))...)
}

// acceptReferral answers 202, once.
func (l *Leg) acceptReferral(r *referral) {
	if r.accepted || r.over {
		return
	}
	r.accepted = true
	headers := l.contactHeaders(nil)
	if r.silent {
		headers = append(headers, sipgo.NewHeader("Refer-Sub", "false"))
	}
	r.tx.respond(202, "", nil, headers...)
	l.notify(r, 100, "", false)
}

// transferred tells how the transfer ended.
func (l *Leg) transferred(r *referral, err error) {
	if r.over {
		return
	}
	if err != nil && !r.accepted {
		r.over = true
		l.declineReferral(r.tx, bridge.CauseOf(err))
		return
	}
	l.acceptReferral(r)
	status, text := 200, ""
	if err != nil {
		c := bridge.CauseOf(err)
		status, text = c.SIPStatus()
	}
	l.notify(r, status, text, true)
	r.over = true
}

// notify tells the peer how far its transfer is, in the words of the response
// that it would have had itself. Nobody minds if it does not want to know any
// more.
func (l *Leg) notify(r *referral, status int, phrase string, last bool) {
	if r.silent || r.over || status == r.told || l.agent.base.Err() != nil {
		return
	}
	r.told = status
	if phrase == "" {
		phrase = statusPhrase(status)
	}
	event, state := "refer", "active;expires="+strconv.Itoa(int(referralExpires.Seconds()))
	if r.id != 0 {
		event += ";id=" + strconv.FormatUint(uint64(r.id), 10)
	}
	if last {
		state = "terminated;reason=noresource"
	}
	req := l.dlg.request(sipgo.NOTIFY)
	for _, h := range append(l.contactHeaders(nil),
		sipgo.NewHeader("Event", event), sipgo.NewHeader("Subscription-State", state), sipgo.NewHeader("Content-Type", sipfrag)) {
		req.AppendHeader(h)
	}
	req.SetBody(fmt.Appendf(nil, "SIP/2.0 %d %s\r\n", status, phrase))
	f, err := l.route(l.dlg)
	if err == nil {
		err = l.request(l.dlg, req, f, func(res *sipgo.Response) {
			if res.StatusCode == 481 && !l.closed {
				r.silent = true // it has forgotten what it asked for
			}
		}, nil)
	}
	if err != nil {
		l.agent.counts.unsent.Add(1)
	}
}

// onSUBSCRIBE serves a peer that wants more, or nothing, of the NOTIFYs of its
// REFER (RFC 3515 section 2.4.4); there is nothing else to subscribe to.
func (l *Leg) onSUBSCRIBE(req *sipgo.Request, s *serverTx) {
	event := append(headerValues(req, "Event"), headerValues(req, "o")...)
	name := ""
	if len(event) == 1 {
		name, _, _ = strings.Cut(event[0], ";")
	}
	r := l.referral
	if !strings.EqualFold(strings.TrimSpace(name), "refer") || r == nil {
		s.refuse(refuse(489, "Bad Event"))
		return
	}
	if r.over {
		s.refuse(refuse(481, ""))
		return
	}
	expires := int(referralExpires.Seconds())
	if v := headerValues(req, "Expires"); len(v) > 0 {
		if n, err := strconv.Atoi(strings.TrimSpace(v[0])); err == nil && n >= 0 {
			expires = min(n, expires)
		}
	}
	s.respond(200, "", nil, append(l.contactHeaders(nil), sipgo.NewHeader("Expires", strconv.Itoa(expires)))...)
	if expires == 0 {
		r.silent = true
	}
}

// find looks for a leg of a trunk by its dialog, in the leg's own mailbox, and
// hands it, or nil, to then.
func (a *Agent) find(r replaces, t *trunk, then func(*Leg)) {
	a.mu.Lock()
	m := a.boxes[r.callID]
	a.mu.Unlock()
	search := func() {
		l := m.leg(r.toTag, r.fromTag)
		if l != nil && l.trunk != t {
			l = nil
		}
		then(l)
	}
	if m == nil || !m.post(search) {
		then(nil)
	}
}

// transferHeaders are those of a call that a transfer places.
func (a *Agent) transferHeaders(in bridge.Intent, t *trunk) []sipgo.Header {
	var out []sipgo.Header
	if in.ReferredBy != "" && !in.Facts.Anonymous() {
		by := sipgo.Uri{Scheme: "sip", User: t.Numbers.Format(in.ReferredBy), Host: a.originOf(t).host}
		out = append(out, sipgo.NewHeader("Referred-By", "<"+by.String()+">"))
	}
	if in.Replaces != "" {
		out = append(out, sipgo.NewHeader("Replaces", in.Replaces))
	}
	return out
}
