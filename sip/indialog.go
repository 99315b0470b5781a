package sip

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// onRequest serves a request of the peer within the dialog.
func (l *Leg) onRequest(req *sipgo.Request, s *serverTx) {
	if l.closed || l.state == ending && req.Method != sipgo.BYE {
		s.refuse(refuse(481, ""))
		return
	}
	localTag, _ := req.To().Params.Get("tag")
	remoteTag, _ := req.From().Params.Get("tag")
	d := l.dialogOf(localTag, remoteTag)
	if !d.inOrder(req.CSeq().SeqNo) {
		// RFC 3261 section 12.2.2: lower than what was there before.
		s.refuse(refuse(500, "CSeq Out Of Order"))
		return
	}
	l.spoke = time.Now()
	l.notes(req)
	if d != l.dlg {
		l.onForkRequest(req, s, d)
		return
	}
	l.reachedBy(s.flow)
	if l.state == answered && req.Method != sipgo.INVITE && req.Method != sipgo.UPDATE && req.Method != sipgo.PRACK {
		// The peer speaks within the dialog, so it has our answer: its ACK was
		// lost, or comes behind.
		l.implied()
	}
	switch req.Method {
	case sipgo.BYE:
		l.onBYE(req, s)
	case sipgo.INVITE, sipgo.UPDATE:
		l.onReinvite(req, s)
	case sipgo.OPTIONS: // is this call alive? It is, whether or not we take new ones
		s.respond(200, "", nil, l.trunk.capabilities()...)
	case sipgo.INFO:
		l.onInfo(req, s)
	case sipgo.REFER:
		l.onREFER(req, s)
	case sipgo.SUBSCRIBE:
		l.onSUBSCRIBE(req, s)
	case sipgo.NOTIFY:
		s.refuse(refuse(489, "Bad Event"))
	case sipgo.PRACK:
		l.onPRACK(req, s)
	default:
		s.refuse(refuseMethod(req.Method))
	}
}

// reachedBy takes the way of a request for that to the peer: a NAT that was rebound, a
// TCP connection that was made anew. What comes by another node leads to that.
func (l *Leg) reachedBy(f flow) {
	if _, other := f.(*byNode); !other && (f.transport() == l.flow.transport() || !l.flow.alive()) {
		l.flow = f
	}
}

// dialogOf finds the leg's dialog with these tags, nil if it has none. Before
// the answer there is one for each fork that has said something.
func (l *Leg) dialogOf(localTag, remoteTag string) *dialog {
	if l.dlg.matches(localTag, remoteTag) {
		return l.dlg
	}
	if l.out == nil || l.state != inviting {
		return nil
	}
	if d := l.out.early[remoteTag]; d.matches(localTag, remoteTag) {
		return d
	}
	return nil
}

// onForkRequest serves a fork that we do not hear: it may keep its dialog, but
// not change what media run on.
func (l *Leg) onForkRequest(req *sipgo.Request, s *serverTx, d *dialog) {
	s.tag = d.localTag
	switch {
	case req.Method == sipgo.BYE:
		delete(l.out.early, d.remoteTag)
		s.respond(200, "", nil)
	case req.Method == sipgo.OPTIONS, req.Method == sipgo.INFO && len(req.Body()) == 0:
		s.respond(200, "", nil, l.trunk.capabilities()...)
	case req.Method == sipgo.UPDATE && len(req.Body()) == 0:
		d.refresh(req)
		s.respond(200, "", nil, l.contactHeaders(nil)...)
	case req.Method == sipgo.UPDATE:
		s.refuse(refuse(488, "Another Branch Is Heard"))
	default:
		s.refuse(refuse(481, ""))
	}
}

// implied takes a request within the dialog for the ACK that is missing. An
// answer that only the ACK can bring is still waited for.
func (l *Leg) implied() {
	if l.pending == nil || l.media.offering {
		return
	}
	l.settle()
	l.confirm()
	l.box.post(l.wish) // behind what is being served now
}

// onBYE ends the call. The peer gets its 200 when the end is on record, or
// after storedTimeout.
func (l *Leg) onBYE(req *sipgo.Request, s *serverTx) {
	if l.state == ending {
		s.respond(200, "", nil) // both hung up at once; ours is under way
		return
	}
	if l.state == inviting && l.incoming {
		l.invite.respond(487, "", nil) // a BYE before the answer (RFC 3261 section 15.1.2)
	}
	cause := bridge.CauseNormal
	if values := headerValues(req, "Reason"); len(values) > 0 {
		cause = parseReason(values).ended()
	}
	if l.state == inviting && !l.incoming {
		l.out.given = &cause // what comes of the INVITE yet is cancelled, or hung up
	}
	l.state = ending
	l.settle()
	replied := false
	reply := func() {
		if replied {
			return
		}
		replied, l.farewell = true, nil
		s.respond(200, "", nil)
		l.over()
	}
	l.farewell = reply
	l.ended(cause.EndedBy(l.peerParty()), func() { l.box.post(reply) })
	l.after(storedTimeout, reply)
}
