package sip

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// serverTx is a request from a peer and our answer to it. sipgo's state
// machine repeats the answer when the request is repeated; the tables and the
// order are ours.
//
// CANCEL has no sipgo transaction: sipgo sends the answer to one past its state
// machine, which then would never end. It is repeated and forgotten here.
type serverTx struct {
	box    *mailbox
	key    string
	tx     *sipgo.ServerTx
	req    *sipgo.Request
	flow   flow
	status int // last status sent
	last   *sipgo.Response
	expiry *time.Timer
	tag    string // our tag in the answers to an INVITE; "" = any
	leg    *Leg   // of an INVITE
	trunk  string // name of the trunk an INVITE came from
	pidf   string // location document that came with an INVITE
	away   []byte // what was sent to the node that is to answer; nil: we do
}

// serverKey identifies a request and its repetitions (RFC 3261 section
// 17.2.3). Requests without the magic cookie are told apart by more fields.
func serverKey(req *sipgo.Request, method sipgo.RequestMethod) string {
	via := req.Via()
	branch, _ := via.Params.Get("branch")
	sentBy := via.Host + ":" + strconv.Itoa(via.Port)
	if strings.HasPrefix(branch, sipgo.RFC3261BranchMagicCookie) && len(branch) > len(sipgo.RFC3261BranchMagicCookie) {
		return strings.Join([]string{branch, strings.ToLower(sentBy), string(method)}, "|")
	}
	tag := ""
	if from := req.From(); from != nil {
		tag, _ = from.Params.Get("tag")
	}
	return strings.Join([]string{"rfc2543", tag, strconv.Itoa(int(req.CSeq().SeqNo)), via.Value(), string(method)}, "|")
}

// serve starts the transaction of a new request.
func (m *mailbox) serve(req *sipgo.Request, f flow) (*serverTx, error) {
	s := &serverTx{box: m, key: serverKey(req, req.Method), req: req, flow: f}
	if req.IsCancel() {
		m.server[s.key] = s
		s.expiry = time.AfterFunc(64*sipgo.T1, func() { m.post(s.forget) })
		return s, nil
	}
	s.tx = sipgo.NewServerTx(s.key, req, f, m.agent.quiet)
	if err := s.tx.Init(); err != nil {
		return nil, fmt.Errorf("take %s of call %s: %w", req.Method, m.callID, err)
	}
	m.server[s.key] = s
	s.tx.OnTerminate(func(string, error) { m.post(s.forget) })
	return s, nil
}

func (s *serverTx) forget() { delete(s.box.server, s.key) }

// terminate ends the transaction whatever it still waits for.
func (s *serverTx) terminate() {
	if s.tx == nil {
		s.expiry.Stop()
		s.forget()
		return
	}
	s.tx.Terminate()
}

// respond answers the request. A failure to send is the network's affair: the
// peer repeats its request, or gives up.
func (s *serverTx) respond(status int, phrase string, body []byte, headers ...sipgo.Header) {
	res := s.response(status, phrase, body, headers...)
	s.status = status
	s.send(res)
}

func (s *serverTx) send(res *sipgo.Response) {
	var err error
	if s.tx == nil {
		s.last = res
		err = s.flow.WriteMsg(res)
	} else {
		err = s.tx.Respond(res)
	}
	if err != nil {
		s.box.agent.counts.unsent.Add(1)
	}
}

func (s *serverTx) response(status int, phrase string, body []byte, headers ...sipgo.Header) *sipgo.Response {
	res := newResponse(s.req, status, phrase, body)
	if to := res.To(); s.tag != "" && to != nil && status > 100 {
		to.Params.Add("tag", s.tag)
	}
	for _, h := range headers {
		res.AppendHeader(h)
	}
	return res
}

// newResponse answers a request by RFC 3261 section 8.2.6.
func newResponse(req *sipgo.Request, status int, phrase string, body []byte) *sipgo.Response {
	if phrase == "" {
		phrase = statusPhrase(status)
	}
	res := sipgo.NewResponseFromRequest(req, status, phrase, body)
	res.SipVersion = "SIP/2.0" // not what the request claims
	for _, h := range req.Headers() {
		// A peer finds its broken request again by what it wrote itself.
		if name, ok := strings.CutPrefix(h.Name(), unparsed); ok && echoed[canonicalName(name)] {
			res.AppendHeader(sipgo.NewHeader(name, h.Value()))
		}
	}
	return res
}

// echoed are the header fields that an answer repeats.
var echoed = map[string]bool{"from": true, "to": true, "call-id": true, "cseq": true}

// ack hands the ACK of a refused INVITE to the state machine, which then stops
// repeating the refusal.
func (s *serverTx) ack(req *sipgo.Request) {
	// sipgo offers the ACK on a channel, from a goroutine that waits for a
	// taker until the transaction ends: take it.
	s.box.agent.work.Go(func() {
		select {
		case <-s.tx.Acks():
		case <-s.tx.Done():
		}
	})
	if err := s.tx.Receive(req); err != nil {
		s.box.agent.counts.malformed.Add(1)
	}
}

// repeat hands a repetition of the request to the state machine.
func (s *serverTx) repeat(req *sipgo.Request) {
	if s.away != nil && s.status < 200 {
		s.box.agent.cfg.Forward(s.box.callID, "", s.away) // it may have been lost
	}
	if s.tx == nil {
		if s.last != nil {
			s.send(s.last)
		}
		return
	}
	if err := s.tx.Receive(req); err != nil {
		s.box.agent.counts.malformed.Add(1)
	}
}

// clientTx is a request of ours and what the peer answers.
type clientTx struct {
	box   *mailbox
	key   string
	tx    *sipgo.ClientTx
	req   *sipgo.Request
	flow  flow
	final int // first final status; -1 = ended without one

	onResponse func(*sipgo.Response)
	onFailure  func(error) // no answer came, or the request cannot be sent any more
}

func clientKey(branch string, method sipgo.RequestMethod) string {
	return branch + "|" + string(method)
}

// request sends a request over a flow. The top Via is ours to add. Both
// functions are called in the mailbox; nil means that nobody cares.
func (m *mailbox) request(req *sipgo.Request, f flow, onResponse func(*sipgo.Response), onFailure func(error)) (*clientTx, error) {
	f = m.agent.fitting(f, req)
	branch := sipgo.GenerateBranch()
	if top := req.Via(); req.IsCancel() && top != nil {
		branch, _ = top.Params.Get("branch") // a CANCEL has that of its INVITE
	} else {
		req.PrependHeader(via(f, branch))
	}
	req.SetTransport(f.transport().String())
	c := &clientTx{
		box: m, key: clientKey(branch, req.Method), req: req, flow: f,
		onResponse: onResponse, onFailure: onFailure,
	}
	c.tx = sipgo.NewClientTx(c.key, req, f, m.agent.quiet)
	c.tx.OnTerminate(func(_ string, err error) {
		m.post(func() { c.ended(err) })
	})
	m.client[c.key] = c
	if err := c.tx.Init(); err != nil {
		c.final = -1
		c.tx.Terminate()
		return nil, fmt.Errorf("send %s of call %s: %w", req.Method, m.callID, err)
	}
	return c, nil
}

// forsake ends a transaction that nobody waits for any more, if it has no final
// answer by then: a peer that has said that it rings, and nothing after that,
// would keep it for ever (RFC 3261 section 9.1).
func (c *clientTx) forsake() {
	time.AfterFunc(64*sipgo.T1, func() {
		c.box.post(func() {
			if c.final == 0 {
				c.final = -1
				c.tx.Terminate()
			}
		})
	})
}

func (c *clientTx) ended(err error) {
	delete(c.box.client, c.key)
	if c.final != 0 {
		return
	}
	c.final = -1
	if c.onFailure != nil {
		c.onFailure(err)
	}
}

// deliver takes a response. Repetitions end here, but for the 2xx of an
// INVITE: those are the dialog's to acknowledge (RFC 3261 section 13.2.2.4),
// and may come from other forks.
func (c *clientTx) deliver(res *sipgo.Response) {
	invite := c.req.IsInvite()
	switch {
	case c.final == 0:
	case invite && res.IsSuccess():
		if c.onResponse != nil {
			c.onResponse(res)
		}
		return
	case invite && c.final >= 300 && res.StatusCode >= 300:
		// Our ACK was lost. sipgo would repeat it too, but only after T2, with
		// this call's mailbox waiting.
		if err := c.flow.WriteMsg(ackRefusal(c.req, res)); err != nil {
			c.box.agent.counts.unsent.Add(1)
		}
		return
	default:
		return
	}
	if res.StatusCode >= 200 {
		c.final = res.StatusCode
	}
	c.spin(res)
	if c.onResponse != nil {
		c.onResponse(res)
	}
}

// spin runs the state machine: it stops the retransmissions and acknowledges
// refusals. It hands responses over on a channel, inside its lock; we have the
// response already.
func (c *clientTx) spin(res *sipgo.Response) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.tx.Receive(res)
	}()
	for {
		select {
		case <-c.tx.Responses():
		case <-done:
			return
		}
	}
}

// timedOut tells a peer that did not answer from a path that is broken.
func timedOut(err error) bool { return errors.Is(err, sipgo.ErrTransactionTimeout) }

// ackRefusal acknowledges a non-2xx response (RFC 3261 section 17.1.1.3).
func ackRefusal(invite *sipgo.Request, res *sipgo.Response) *sipgo.Request {
	ack := sipgo.NewRequest(sipgo.ACK, *invite.Recipient.Clone())
	ack.AppendHeader(sipgo.HeaderClone(invite.Via()))
	for _, h := range invite.GetHeaders("Route") {
		ack.AppendHeader(sipgo.HeaderClone(h))
	}
	forwards := sipgo.MaxForwardsHeader(70)
	ack.AppendHeader(&forwards)
	ack.AppendHeader(sipgo.HeaderClone(invite.From()))
	if to := res.To(); to != nil {
		ack.AppendHeader(sipgo.HeaderClone(to))
	}
	ack.AppendHeader(sipgo.HeaderClone(invite.CallID()))
	ack.AppendHeader(&sipgo.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sipgo.ACK})
	ack.SetBody(nil)
	return ack
}

// cancelOf is the CANCEL of an INVITE (RFC 3261 section 9.1): the same Via,
// tags and number, and the way of the INVITE.
func cancelOf(invite *sipgo.Request) *sipgo.Request {
	c := sipgo.NewRequest(sipgo.CANCEL, *invite.Recipient.Clone())
	c.AppendHeader(sipgo.HeaderClone(invite.Via()))
	for _, h := range invite.GetHeaders("Route") {
		c.AppendHeader(sipgo.HeaderClone(h))
	}
	forwards := sipgo.MaxForwardsHeader(70)
	c.AppendHeader(&forwards)
	c.AppendHeader(sipgo.HeaderClone(invite.From()))
	c.AppendHeader(sipgo.HeaderClone(invite.To()))
	c.AppendHeader(sipgo.HeaderClone(invite.CallID()))
	c.AppendHeader(&sipgo.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sipgo.CANCEL})
	return c
}
