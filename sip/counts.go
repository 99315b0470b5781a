package sip

import "sync/atomic"

// Counts is what an agent dropped or could not send, since it began.
type Counts struct {
	Strangers  uint64 // datagrams and connections from outside all trunks
	Malformed  uint64 // not SIP, or too broken to be answered
	Refused    uint64 // connections over the limit
	Handshakes uint64 // connections that came to nothing: TLS or WebSocket failed, or no certificate of a trunk
	Unsent     uint64 // messages the network did not take
	Stray      uint64 // responses and ACKs that belong to nothing
	Full       uint64 // datagrams for calls with too many messages waiting
	Limited    uint64 // datagrams over the rate of their source, and pauses of connections that were
	Unproven   uint64 // requests with a wrong name or password
}

type counters struct {
	strangers, malformed, refused, handshakes, unsent, stray, full, limited, unproven atomic.Uint64
}

// Counts may be called at any time.
func (a *Agent) Counts() Counts {
	c := &a.counts
	return Counts{
		Strangers: c.strangers.Load(), Malformed: c.malformed.Load(), Refused: c.refused.Load(), Handshakes: c.handshakes.Load(),
		Unsent: c.unsent.Load(), Stray: c.stray.Load(), Full: c.full.Load(), Limited: c.limited.Load(), Unproven: c.unproven.Load(),
	}
}
