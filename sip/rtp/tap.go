package rtp

import "net/netip"

// Tap is told of each datagram of media and reports as it is on the wire, sent or
// received, on the thread that moves it. It does not block, and does not keep b.
type Tap func(leg string, sent bool, local, remote netip.AddrPort, b []byte)

// wiretap is the tap of a port.
type wiretap struct {
	tap Tap
	leg string
}

// saw tells the tap of a datagram that was read from a socket.
func (w *wiretap) saw(at *socket, from netip.AddrPort, b []byte) {
	if w != nil {
		w.tap(w.leg, false, at.here, from, b)
	}
}
