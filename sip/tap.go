package sip

import (
	"net/netip"

	"riptide/bridge"
	"riptide/sip/rtp"
)

// Tap is told what goes over the wire, for those who watch a bridge at work. A
// function that is nil is told nothing. They are called on the goroutines that
// read and send, and neither block nor keep the bytes.
type Tap struct {
	Message func(Message)    // of each SIP message that is taken up or about to be sent, also again
	Placing func(PlacingLeg) // before anything is sent for a leg of ours
	Media   rtp.Tap          // of each datagram of media
}

// Message is a SIP message as it stands on the wire, or would without TLS.
type Message struct {
	Trunk         string
	Transport     string // as in Via
	Sent          bool
	Local, Remote netip.AddrPort // Local may be unspecified, of UDP listeners that are
	Bytes         []byte
}

// PlacingLeg is a leg that is about to be placed.
type PlacingLeg struct {
	CallID string
	bridge.Intent
}

// message tells of a message.
func (t *Tap) message(name string, over transport, sent bool, local, remote netip.AddrPort, b []byte) {
	if t.Message != nil {
		t.Message(Message{Trunk: name, Transport: over.String(), Sent: sent, Local: local, Remote: remote, Bytes: b})
	}
}

// here is our end of a flow.
func (d *datagrams) here() netip.AddrPort { return d.socket.addr }

// here is our end of a connection.
func (s *stream) here() netip.AddrPort { return addrPortOf(s.conn.LocalAddr()) }
