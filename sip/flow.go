package sip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// flow is the way to one peer: a listener's UDP socket with an address, or a
// connection. It is what sipgo's transactions write to.
type flow interface {
	sipgo.Connection
	transport() transport
	remote() netip.AddrPort
	self() origin // how the peer is shown us
	here() netip.AddrPort
	alive() bool
}

// unowned is the part of sipgo.Connection that counts references: flows belong
// to the agent, so transactions have nothing to close.
type unowned struct{}

func (unowned) Ref(int) int            { return 1 }
func (unowned) TryClose() (int, error) { return 1, nil }
func (unowned) Close() error           { return nil }

// datagrams is a flow over UDP. Requests leave from the listener's socket,
// because peers that know us by address know its port too.
type datagrams struct {
	unowned
	agent  *Agent
	trunk  *trunk
	socket *socket
	peer   netip.AddrPort
}

func (d *datagrams) transport() transport   { return overUDP }
func (d *datagrams) remote() netip.AddrPort { return d.peer }
func (d *datagrams) alive() bool            { return true }
func (d *datagrams) LocalAddr() net.Addr    { return d.socket.packets.LocalAddr() }

func (d *datagrams) self() origin {
	return d.agent.originFor(d.trunk, d.socket, d.peer.Addr(), d.socket.addr)
}

// to is the same way to another address of the peer.
func (d *datagrams) to(peer netip.AddrPort) *datagrams {
	return &datagrams{d.unowned, d.agent, d.trunk, d.socket, peer}
}

func (d *datagrams) WriteMsg(msg sipgo.Message) error {
	b := encode(msg)
	if len(b) > maxMessage {
		return fmt.Errorf("send to %s: message of %d bytes does not fit into a datagram", d.peer, len(b))
	}
	d.agent.cfg.Tap.message(d.trunk.Name, overUDP, true, d.here(), d.peer, b)
	if _, err := d.socket.packets.WriteToUDPAddrPort(b, d.peer); err != nil {
		return fmt.Errorf("send to %s: %w", d.peer, err)
	}
	return nil
}

// reply is a flow for responses to one request: the connection it came by, or
// a new one when that is gone (RFC 3261 section 18.2.2).
type reply struct {
	flow
	again func() (flow, error)
}

func (r *reply) WriteMsg(msg sipgo.Message) error {
	err := r.flow.WriteMsg(msg)
	if err == nil || r.again == nil || r.flow.alive() {
		return err
	}
	f, dialErr := r.again()
	if dialErr != nil {
		return errors.Join(err, dialErr)
	}
	r.flow = f
	return f.WriteMsg(msg)
}

func encode(msg sipgo.Message) []byte {
	var b strings.Builder
	b.Grow(1024)
	msg.StringWrite(&b)
	return []byte(b.String())
}
