package sip

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// severed is a connection that another process had. Nothing can be sent on it;
// requests of ours go over a new one, and one that the peer makes takes its place.
type severed struct {
	unowned
	over  transport
	peer  netip.AddrPort
	local netip.AddrPort
	shown origin
}

func (s *severed) transport() transport   { return s.over }
func (s *severed) remote() netip.AddrPort { return s.peer }
func (s *severed) self() origin           { return s.shown }
func (s *severed) alive() bool            { return false }
func (s *severed) here() netip.AddrPort   { return s.local }
func (s *severed) LocalAddr() net.Addr    { return net.TCPAddrFromAddrPort(s.local) }

func (s *severed) WriteMsg(sipgo.Message) error {
	return fmt.Errorf("send to %s: the connection is gone with the process that had it: %w", s.peer, net.ErrClosed)
}

// wayBack is the way to the peer of a recorded leg. moved says that it was
// another node's.
func (a *Agent) wayBack(t *trunk, r *recorded, moved bool) (flow, error) {
	if r.over == overUDP {
		for _, s := range a.sockets {
			if s.over == overUDP && s.addr == r.listen && s.serves(t) && !moved {
				return &datagrams{agent: a, trunk: t, socket: s, peer: r.peer}, nil
			}
		}
		return a.datagramsTo(t, r.peer)
	}
	at := a.socketFor(t, r.over, r.peer.Addr())
	local := r.listen
	if moved && at != nil {
		local = at.addr
	}
	return &severed{over: r.over, peer: r.peer, local: local, shown: a.originFor(t, at, r.peer.Addr(), local)}, nil
}

// answerWay is the way for answers to an INVITE that another process took. Where
// its connection is gone, they go to where the sender listens (RFC 3261 section
// 18.2.2).
func (a *Agent) answerWay(t *trunk, r *recorded, f flow) flow {
	if f.alive() || r.over.webSocket() {
		return f
	}
	to := netip.AddrPortFrom(r.peer.Addr(), r.over.port())
	if port := r.invite.Via().Port; port > 0 && port <= 65535 {
		to = netip.AddrPortFrom(to.Addr(), uint16(port))
	}
	return a.onceConnected(t, r.over, to, f)
}

// placedWay is the way of an INVITE that another process placed, for its CANCEL.
func (a *Agent) placedWay(t *trunk, r *recorded, f flow) flow {
	if f.alive() {
		return f
	}
	return a.onceConnected(t, r.over, r.peer, f)
}

// onceConnected is a way whose connection is made when something is sent: a peer that
// takes none must not hold up the other calls of a restart.
func (a *Agent) onceConnected(t *trunk, over transport, to netip.AddrPort, f flow) flow {
	return &reply{flow: f, again: func() (flow, error) {
		s, err := a.connect(a.base, t, over, to)
		if err != nil {
			return nil, err
		}
		return s, nil
	}}
}

// reconnect makes the connection again of a leg whose peer reaches us by nothing
// else, because we do not listen for that transport. Our end of it has another
// port, so the peer is told our Contact anew.
func (l *Leg) reconnect() {
	over, peer := l.flow.transport(), l.flow.remote()
	if l.flow.alive() || l.agent.socketFor(l.trunk, over, peer.Addr()) != nil {
		return
	}
	l.agent.work.Go(func() {
		s, err := l.agent.connect(l.agent.base, l.trunk, over, peer)
		if err != nil {
			return // what the leg has to say next tries again
		}
		l.box.post(func() {
			if l.state == confirmed && !l.muted && !l.flow.alive() {
				l.flow = s
				l.after(time.Duration(rand.Int64N(int64(contactSpread))), l.refresh)
			}
		})
	})
}

// contactSpread is within which time the peer hears of a new Contact.
const contactSpread = 500 * time.Millisecond

// sent is a flow for a request that another process has sent already: it lets
// everything through but that.
type sent struct{ flow }

func (s sent) WriteMsg(msg sipgo.Message) error {
	if req, ok := msg.(*sipgo.Request); ok && req.IsInvite() {
		return nil
	}
	return s.flow.WriteMsg(msg)
}
