package sip

import (
	"errors"
	"net/netip"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// receive takes one message off the wire, on the goroutine that read it, and
// puts it into the mailbox of its Call-ID: from here on, messages of one call
// keep their order.
func (a *Agent) receive(b []byte, f flow, t *trunk) {
	a.cfg.Tap.message(t.Name, f.transport(), false, f.here(), f.remote(), b)
	msg, broken := parse(b)
	if msg == nil {
		a.counts.malformed.Add(1)
		return
	}
	msg.SetSource(f.remote().String())
	msg.SetTransport(f.transport().String())
	callID := ""
	if id := msg.CallID(); id != nil {
		callID = id.Value()
	}
	req, isRequest := msg.(*sipgo.Request)
	salvageVia(msg)
	if isRequest && req.Via() == nil || !isRequest && msg.Via() == nil {
		a.counts.malformed.Add(1) // nowhere to answer to
		return
	}
	strange := t.stranger(f)
	if isRequest {
		f = a.answerFlow(req, f, t)
	}
	if strange && !a.screen(msg, callID, f, t, broken) {
		return
	}
	if callID == "" || len(callID) > maxCallID || msg.CSeq() == nil {
		a.counts.malformed.Add(1)
		if isRequest && req.Method != sipgo.ACK {
			a.refuseStateless(req, f, broken)
		}
		return
	}
	if a.hasLeft(callID) {
		return
	}
	handle := func(m *mailbox) func() {
		return func() {
			if isRequest {
				m.onRequest(req, f, t, broken)
			} else {
				m.onResponse(msg.(*sipgo.Response), f, broken)
			}
		}
	}
	a.deliver(callID, handle, streamOf(f) != nil)
}

// deliver puts work into the mailbox of a Call-ID. patient says that its sender
// can be made to wait.
func (a *Agent) deliver(callID string, handle func(m *mailbox) func(), patient bool) {
	for {
		m := a.box(callID)
		err := m.deliver(handle(m), patient)
		if errors.Is(err, errOver) { // it died between the two lines: take a new one
			a.forget(m)
			if a.base.Err() != nil {
				return // nobody works here any more; other nodes may not know yet
			}
			continue
		}
		if err != nil {
			a.counts.full.Add(1)
		}
		return
	}
}

// answerFlow notes in the top Via where a request really came from, and finds
// where its answers go (RFC 3261 section 18.2, RFC 3581 section 4).
func (a *Agent) answerFlow(req *sipgo.Request, f flow, t *trunk) flow {
	via, source := req.Via(), f.remote()
	port := f.transport().port()
	if via.Port > 0 && via.Port <= 65535 {
		port = uint16(via.Port)
	}
	if s, ok := f.(*stream); ok && via.Params.Has("alias") {
		a.reuse(s, port)
	}
	if _, ok := via.Params.Get("rport"); ok {
		port = source.Port()
		via.Params.Add("rport", portText(port))
		via.Params.Add("received", source.Addr().String())
	} else if strings.Trim(via.Host, "[]") != source.Addr().String() {
		via.Params.Add("received", source.Addr().String())
	}
	to := netip.AddrPortFrom(source.Addr(), port)
	switch f := f.(type) {
	case *datagrams:
		if to == source {
			return f
		}
		return f.to(to)
	case *stream:
		if f.over.webSocket() { // its peer listens nowhere (RFC 7118 section 5)
			return f
		}
		return &reply{flow: f, again: func() (flow, error) {
			s, err := a.connect(a.base, t, f.over, to)
			if err != nil {
				return nil, err
			}
			return s, nil
		}}
	}
	return f
}

// refuseStateless answers a request that is too broken for a transaction.
func (a *Agent) refuseStateless(req *sipgo.Request, f flow, broken error) {
	r := checkSyntax(req, broken)
	if r == nil {
		r = refuse(400, "")
	}
	if err := f.WriteMsg(newResponse(req, r.status, r.phrase, nil)); err != nil {
		a.counts.unsent.Add(1)
	}
}

// refuseFrame tells a peer why its connection is closed, as far as the start
// of the message can be read.
func (a *Agent) refuseFrame(b []byte, s *stream, why error) {
	head := b
	if i := strings.Index(string(b[:min(len(b), maxMessage)]), "\r\n\r\n"); i >= 0 {
		head = b[:i+4]
	}
	msg, _ := parse(head[:min(len(head), maxMessage)])
	req, ok := msg.(*sipgo.Request)
	if !ok || req.Via() == nil || req.Method == sipgo.ACK {
		return
	}
	status := 400
	if errors.Is(why, errTooLarge) {
		status = 513
	}
	if s.WriteMsg(newResponse(req, status, "", nil)) != nil {
		a.counts.unsent.Add(1)
	}
}

// onRequest finds what a request belongs to: a transaction, a dialog, or
// nothing yet.
func (m *mailbox) onRequest(req *sipgo.Request, f flow, t *trunk, broken error) {
	if req.Method == sipgo.ACK {
		m.onACK(req, broken)
		return
	}
	if s := m.server[serverKey(req, req.Method)]; s != nil {
		s.repeat(req)
		return
	}
	s, err := m.serve(req, f)
	if err != nil {
		m.agent.counts.unsent.Add(1)
		return
	}
	if r := checkSyntax(req, broken); r != nil {
		s.refuse(r)
		return
	}
	if r := checkSips(req, f.transport()); r != nil {
		s.refuse(r)
		return
	}
	if req.Method == sipgo.CANCEL {
		m.onCancel(req, s)
		return
	}
	if req.Method == sipgo.INVITE || req.Method == sipgo.UPDATE {
		var r *refusal
		if s.pidf, r = unpack(req); r != nil {
			s.refuse(r)
			return
		}
	}
	localTag, _ := req.To().Params.Get("tag")
	remoteTag, _ := req.From().Params.Get("tag")
	if localTag == "" {
		m.outOfDialog(req, s, t)
		return
	}
	serve := func(err error) {
		switch l := m.leg(localTag, remoteTag); {
		case l != nil:
			l.onRequest(req, s)
		case err != nil && m.forward(s, t):
		case err != nil:
			s.refuse(refuse(500, "", pauseHeader())) // 481 would end a call that there may be
		case req.Method == sipgo.OPTIONS:
			m.options(s, t) // some probe with tags of dialogs that are long gone
		default:
			s.refuse(refuse(481, ""))
		}
	}
	if m.claims == nil && m.leg(localTag, remoteTag) != nil || !m.claim(serve) {
		serve(nil)
		return
	}
	switch req.Method {
	case sipgo.INVITE, sipgo.UPDATE, sipgo.BYE:
		m.claims.first = true
	}
}

func (s *serverTx) refuse(r *refusal) { s.respond(r.status, r.phrase, nil, r.headers...) }

// refuseFor refuses with a cause, and says it in the words of SIP and Q.850.
func (s *serverTx) refuseFor(c bridge.Cause) {
	status, phrase := c.SIPStatus()
	headers := reasonHeaders(c, status, phrase, s.trunk)
	if c.RetryAfter > 0 {
		headers = append(headers, retryAfter(c.RetryAfter))
	}
	if status == 488 || status == 606 {
		headers = append(headers, warning(s.flow, 305, discreet(c.Text, s.trunk)))
	}
	if s.leg != nil {
		headers = append(headers, s.leg.session.headers()...)
	}
	s.respond(status, phrase, nil, headers...)
}

// outOfDialog serves requests that belong to no dialog.
func (m *mailbox) outOfDialog(req *sipgo.Request, s *serverTx, t *trunk) {
	if req.Method == sipgo.REGISTER && t.Accept != nil && t.Accept.Register {
		m.onRegister(req, s, t)
		return
	}
	if r := checkMethod(req); r != nil {
		s.refuse(r)
		return
	}
	if r := t.checkContent(req); r != nil {
		s.refuse(r)
		return
	}
	if req.Method == sipgo.OPTIONS {
		m.options(s, t)
		return
	}
	if r := t.checkRequired(req); r != nil {
		s.refuse(r)
		return
	}
	if _, ok := m.authenticate(req, s, t); ok {
		m.onInvite(req, s, t)
	}
}

// options says what we can do, and by its status whether we take calls.
func (m *mailbox) options(s *serverTx, t *trunk) {
	m.agent.mu.Lock()
	draining := m.agent.draining || m.agent.retiring
	m.agent.mu.Unlock()
	if draining {
		s.respond(503, "", nil, retryAfter(retryAfterOverload))
		return
	}
	s.respond(200, "", nil, t.capabilities()...)
}

// onACK stops the repetitions of a refusal, or confirms a 2xx. It is never
// answered.
func (m *mailbox) onACK(req *sipgo.Request, broken error) {
	if s := m.server[serverKey(req, sipgo.INVITE)]; s != nil && s.status >= 300 {
		s.ack(req)
		m.forwardAlong(s, req)
		return
	}
	if req.To() == nil || req.From() == nil {
		m.agent.counts.malformed.Add(1)
		return
	}
	localTag, _ := req.To().Params.Get("tag")
	remoteTag, _ := req.From().Params.Get("tag")
	l := m.leg(localTag, remoteTag)
	if l == nil && broken == nil && m.forwardACK(req) {
		return
	}
	if l == nil || broken != nil {
		m.agent.counts.stray.Add(1)
		return
	}
	if _, r := unpack(req); r != nil {
		m.agent.counts.malformed.Add(1)
		return
	}
	l.onACK(req)
}

// onCancel answers a CANCEL and ends the INVITE it is for, if that has no
// final answer yet (RFC 3261 section 9.2).
func (m *mailbox) onCancel(req *sipgo.Request, s *serverTx) {
	invite := m.server[serverKey(req, sipgo.INVITE)]
	if invite == nil {
		// If the INVITE was overtaken and comes yet, onInvite finds this
		// transaction and knows that nobody wants the call any more.
		s.refuse(refuse(481, ""))
		return
	}
	s.tag = invite.tag
	s.respond(200, "", nil)
	m.forwardAlong(invite, req)
	if invite.status < 200 && invite.leg != nil {
		invite.leg.onCancel(parseReason(headerValues(req, "Reason")))
	}
}

// onResponse finds the request a response is for.
func (m *mailbox) onResponse(res *sipgo.Response, f flow, broken error) {
	branch, _ := res.Via().Params.Get("branch")
	method := sipgo.RequestMethod(strings.TrimSpace(string(res.CSeq().MethodName)))
	if broken != nil || res.SipVersion != "SIP/2.0" || res.StatusCode < 100 || res.StatusCode > 699 ||
		len(res.GetHeaders("Via")) > 1 { // not ours alone: misrouted (RFC 3261 section 8.1.3.3)
		m.agent.counts.malformed.Add(1)
		return
	}
	if _, r := unpack(res); r != nil {
		m.agent.counts.malformed.Add(1)
		return
	}
	if c := m.client[clientKey(branch, method)]; c != nil {
		c.deliver(res)
		return
	}
	if m.strayAnswer(res) {
		return
	}
	m.agent.counts.stray.Add(1)
}
