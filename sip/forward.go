package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// A request within a call that another node has, and that cannot be had from it,
// because this node is on its way out or the other keeps the call for now, goes to
// that node, and its answer comes back by this one. The transaction with the peer is
// ours, the dialog the other's: there the request comes by a flow that leads back
// here, and the answer's Contact leads the peer to where the call is.

// forwardTimeout is how long the other node has to answer before the peer is told to
// ask again: longer than it needs to take the call up.
const forwardTimeout = 8 * time.Second

// forwarded is what agents of two nodes send each other.
//
//	version (1) | kind (1) | transport (1) | length of the peer's address (1) | address:port | length of the trunk (1) | trunk | message
type forwarded struct {
	kind    forwardedKind
	over    transport
	peer    netip.AddrPort // whose request it is
	trunk   string
	message []byte
}

type forwardedKind byte

const (
	forwardedRequest  forwardedKind = 1
	forwardedResponse forwardedKind = 2

	forwardedVersion = 1
)

var errForwarded = errors.New("not of an agent of ours")

func (f forwarded) append(b []byte) []byte {
	peer := f.peer.String()
	b = append(b, forwardedVersion, byte(f.kind), byte(f.over), byte(len(peer)))
	b = append(append(b, peer...), byte(len(f.trunk)))
	return append(append(b, f.trunk...), f.message...)
}

// parseForwarded reads one, which keeps parts of b.
func parseForwarded(b []byte) (forwarded, error) {
	if len(b) < 5 || b[0] != forwardedVersion || b[1] != byte(forwardedRequest) && b[1] != byte(forwardedResponse) ||
		b[2] < byte(overUDP) || b[2] > byte(overWSS) {
		return forwarded{}, errForwarded
	}
	f := forwarded{kind: forwardedKind(b[1]), over: transport(b[2])}
	n := int(b[3])
	if b = b[4:]; len(b) < n+1 {
		return forwarded{}, errForwarded
	}
	var err error
	if f.peer, err = netip.ParseAddrPort(string(b[:n])); err != nil || f.peer.String() != string(b[:n]) {
		return forwarded{}, errForwarded
	}
	b = b[n:]
	n = int(b[0])
	if b = b[1:]; len(b) < n || len(b)-n > maxMessage {
		return forwarded{}, errForwarded
	}
	f.trunk, f.message = string(b[:n]), b[n:]
	return f, nil
}

// byNode is the flow of a request that another node sent here: answers go back by
// it.
type byNode struct {
	severed
	agent  *Agent
	node   string
	callID string
	trunk  string
}

func (f *byNode) WriteMsg(msg sipgo.Message) error {
	data := forwarded{forwardedResponse, f.over, f.peer, f.trunk, encode(msg)}.append(nil)
	if !f.agent.cfg.Forward(f.callID, f.node, data) {
		return fmt.Errorf("answer by node %q: it cannot be reached", f.node)
	}
	return nil
}

// forward sends a request to the node that has its call, and tells whether there is
// one.
func (m *mailbox) forward(s *serverTx, t *trunk) bool {
	if _, other := s.flow.(*byNode); other || m.agent.cfg.Forward == nil {
		return false // it went far enough
	}
	data := forwarded{forwardedRequest, s.flow.transport(), s.flow.remote(), t.Name, encode(s.req)}.append(nil)
	if !m.agent.cfg.Forward(m.callID, "", data) {
		return false
	}
	s.away = data
	if m.away == nil {
		m.away = map[string]*serverTx{}
	}
	m.away[s.key] = s
	time.AfterFunc(forwardTimeout, func() {
		m.post(func() {
			if s.status < 200 {
				s.refuse(refuse(500, "", pauseHeader()))
			}
		})
	})
	// Answers to an INVITE are repeated for so long (RFC 3261 section 13.3.1.4).
	time.AfterFunc(forwardTimeout+64*sipgo.T1, func() { m.post(func() { delete(m.away, s.key) }) })
	return true
}

// forwardAlong sends what belongs to a request that was sent to another node: its
// ACK, its CANCEL. We have answered it.
func (m *mailbox) forwardAlong(invite *serverTx, req *sipgo.Request) {
	if invite.away == nil {
		return
	}
	f, err := parseForwarded(invite.away)
	if err != nil {
		return // which we have written
	}
	f.message = encode(req)
	m.agent.cfg.Forward(m.callID, "", f.append(nil))
}

// forwardACK sends the ACK of a 2xx that another node gave, if it did: it is of a
// transaction of its own (RFC 3261 section 17.1.1.3), and told by its number.
func (m *mailbox) forwardACK(req *sipgo.Request) bool {
	for _, s := range m.away {
		if s.req.IsInvite() && s.req.CSeq().SeqNo == req.CSeq().SeqNo {
			m.forwardAlong(s, req)
			return true
		}
	}
	return false
}

// Forwarded takes what the agent of another node sent for a call. It does not block.
func (a *Agent) Forwarded(callID, from string, data []byte) {
	f, err := parseForwarded(data)
	if err != nil || a.cfg.Forward == nil {
		a.counts.malformed.Add(1)
		return
	}
	msg, broken := parse(f.message)
	if msg == nil || msg.CallID() == nil || msg.CallID().Value() != callID || msg.CSeq() == nil {
		a.counts.malformed.Add(1)
		return
	}
	msg.SetSource(f.peer.String())
	msg.SetTransport(f.over.String())
	switch msg := msg.(type) {
	case *sipgo.Request:
		t := a.byName[f.trunk]
		if t == nil || msg.Via() == nil || f.kind != forwardedRequest {
			a.counts.malformed.Add(1)
			return
		}
		at := a.socketFor(t, f.over, f.peer.Addr())
		local := a.addr
		if at != nil {
			local = at.addr
		}
		flow := &byNode{severed{over: f.over, peer: f.peer, local: local, shown: a.originFor(t, at, f.peer.Addr(), local)}, a, from, callID, f.trunk}
		a.deliver(callID, func(m *mailbox) func() { return func() { m.onRequest(msg, flow, t, broken) } }, false)
	case *sipgo.Response:
		if msg.Via() == nil || f.kind != forwardedResponse || broken != nil || msg.StatusCode < 100 || msg.StatusCode > 699 {
			a.counts.malformed.Add(1)
			return
		}
		a.deliver(callID, func(m *mailbox) func() { return func() { m.onForwardedAnswer(msg) } }, false)
	}
}

// onForwardedAnswer hands the answer of another node on to the peer.
func (m *mailbox) onForwardedAnswer(res *sipgo.Response) {
	s := m.away[answerKey(res)]
	switch {
	case s == nil:
		m.agent.counts.stray.Add(1)
	case res.StatusCode == 100: // which is from one neighbour to the next (RFC 3261 section 16.7)
	case s.status < 200:
		s.status = res.StatusCode
		s.send(res)
	case s.status < 300 && s.req.IsInvite() && res.IsSuccess(): // repeated, since no ACK has come yet
		if s.flow.WriteMsg(res) != nil {
			m.agent.counts.unsent.Add(1)
		}
	}
}

// answerKey is the serverKey of the request that a response is for.
func answerKey(res *sipgo.Response) string {
	req := sipgo.NewRequest(res.CSeq().MethodName, sipgo.Uri{})
	req.AppendHeader(res.Via())
	req.AppendHeader(res.CSeq())
	if from := res.From(); from != nil {
		req.AppendHeader(from)
	}
	return serverKey(req, req.Method)
}
