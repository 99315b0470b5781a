package bridge

import "time"

// Frame is one media packet at the seam. A Frame and its Payload belong to the
// pusher and are valid only until Push returns: a sink that keeps anything
// copies it.
type Frame struct {
	Codec Codec

	// Marker is the RTP marker: first packet of a talk spurt or of an event.
	Marker bool

	// Seq numbers the frames of one source without wrapping. A gap is loss on
	// the way to us; sinks keep the gap visible for the far end.
	Seq uint64

	// Timestamp counts the codec's media clock without wrapping. All codecs of
	// a source share one clock (8000 Hz today). Every packet of a telephone
	// event carries the time at which the event began (RFC 4733 section 2.1).
	Timestamp uint64

	// Payload is the codec's RTP payload, at most 1400 bytes.
	Payload []byte
}

// Sink takes frames. Push is called on the goroutine that received the packet,
// so it never blocks: what cannot be sent at once is dropped, oldest first,
// and counted.
type Sink interface {
	Push(f *Frame)
}

// MediaPort is the media end of a leg. As a Sink it sends frames to the leg's
// peer; what the peer sends goes to the sink it was joined to.
type MediaPort interface {
	Sink

	// Join names the sink for frames received from the peer. Nil means that
	// nobody listens: frames are counted and dropped. It may be called at any
	// time, from any goroutine; after it returns the old sink gets no frame.
	Join(s Sink)

	// Stats may be called at any time, also after the leg has ended.
	Stats() MediaStats
}

// MediaStats counts packets of one leg since it began. Every packet that came
// in is in exactly one of Received, Foreign, Malformed, UnknownPayload and
// Duplicate; every packet that should have gone out is in Sent or SendDropped.
type MediaStats struct {
	Received       uint64 `json:"received"`       // valid packets from the peer, handed on
	Lost           uint64 `json:"lost"`           // gaps in the peer's numbering
	Duplicate      uint64 `json:"duplicate"`      // seen before, or too old to place
	Foreign        uint64 `json:"foreign"`        // from a source we are not locked to
	Malformed      uint64 `json:"malformed"`      // not parseable
	UnknownPayload uint64 `json:"unknownPayload"` // a payload type nobody negotiated
	Unheard        uint64 `json:"unheard"`        // part of Received: no sink was joined

	Sent        uint64 `json:"sent"`
	SendDropped uint64 `json:"sendDropped"` // queue full, socket error, no address yet
	PeerLost    uint64 `json:"peerLost"`    // lost on the way to the peer, as the peer reports (RTCP RR, RIPT acks)

	Jitter    time.Duration `json:"jitter"` // of what we receive (RFC 3550 section 6.4.1)
	RoundTrip time.Duration `json:"roundTrip"`
	Carrier   string        `json:"carrier"` // "rtp", "webtransport", "put/get"
	Peer      string        `json:"peer"`    // address the media really comes from
}
