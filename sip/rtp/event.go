package rtp

import "encoding/binary"

// eventBlock is one event of RFC 4733 section 2.3: event, flags and volume, and a
// duration in units of the RTP clock.
const eventBlock = 4

// maxDuration is the longest duration that an event can tell of.
const maxDuration = 0xffff

// rescale appends a payload of events whose durations count one clock, counted
// in another. Beside Opus that is 48 kHz: a digit of more than 1.37 s says then
// that it lasted so long. What is not a row of whole events stays as it is.
func rescale(dst, payload []byte, from, to uint32) []byte {
	dst = append(dst, payload...)
	if from == to || len(payload)%eventBlock != 0 {
		return dst
	}
	for b := dst[len(dst)-len(payload):]; len(b) > 0; b = b[eventBlock:] {
		d := uint64(binary.BigEndian.Uint16(b[2:])) * uint64(to) / uint64(from)
		binary.BigEndian.PutUint16(b[2:], uint16(min(d, maxDuration)))
	}
	return dst
}

// eventLine gives the events of the peer's stream their time, which all packets
// of one event repeat.
type eventLine struct {
	known bool
	raw   uint32 // RTP timestamp of the event's packets
	at    uint64 // the same, extended, in units of the stream's clock
	again bool   // it was heard already, in another way
}

// place finds the time of an event. Digits count as the speech beside them does
// (RFC 4733 section 2.1). Those declared at another clock may do so, or run
// apart: such an event began when its first packet came.
func (e *eventLine) place(raw, clock uint32, n *numbering) uint64 {
	if e.known && e.raw == raw {
		return e.at
	}
	at := n.ts
	if n.near(raw, clock) {
		at += uint64(int64(int32(raw - n.rtpTS)))
	}
	*e = eventLine{known: true, raw: raw, at: at}
	return at
}

// near tells whether the timestamp of an event belongs to the speech beside it.
func (n *numbering) near(raw, clock uint32) bool {
	const seconds = 60
	off := raw - n.rtpTS
	return clock == n.clock || off < seconds*n.clock || -off < seconds*n.clock
}
