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

	// Timestamp counts the codec's media clock (Codec.ClockRate) without
	// wrapping. Every packet of a telephone event carries the time at which the
	// event began (RFC 4733 section 2.1).
	Timestamp uint64

	// Payload is the codec's RTP payload, at most 1400 bytes. Of a sealed frame
	// it is what stands behind the envelope, to be handed on bit by bit.
	Payload []byte

	// Sealed is not nil if the ends of the call encrypt between themselves.
	Sealed *Sealed

	// Request, if not RequestNone, makes this no packet: the peer asks the
	// sender of the stream of this Codec's kind for something. Nothing but Codec
	// and Request is set.
	Request Request
}

// Request is what the receiver of a stream may ask of its sender.
type Request uint8

// The requests.
const (
	RequestNone     Request = iota
	RequestKeyframe         // of video: RFC 4585 PLI, RFC 5104 FIR
)

// Sealed is the authenticated part of the envelope of an end-to-end encrypted
// frame. Its values belong to the ends of the call: who has no key hands them on
// as they came, and numbers nothing anew.
type Sealed struct {
	KeyID uint64
	Seq   uint64 // of the sealed stream, from 1
	Time  uint64 // ms since 1970, as the sealing end saw it
	Clock uint64 // media clock

	// Layers of scalable video. Has says by bit 1<<tag which are present, and
	// whether Clock is.
	Has            uint32
	ReferenceFrame uint64
	SpatialLayer   uint8
	TemporalLayer  uint8
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
// in is in exactly one of Received, Foreign, Malformed, UnknownPayload,
// Undecrypted, Duplicate and Late; every packet that should have gone out is in Sent or SendDropped.
type MediaStats struct {
	Received       uint64 `json:"received"`              // valid packets from the peer, handed on
	Lost           uint64 `json:"lost"`                  // gaps in the peer's numbering
	Duplicate      uint64 `json:"duplicate"`             // seen before, or too old to place
	Foreign        uint64 `json:"foreign"`               // from a source we are not locked to
	Malformed      uint64 `json:"malformed"`             // not parseable, or not what the far end sealed
	UnknownPayload uint64 `json:"unknownPayload"`        // a payload type nobody negotiated
	Undecrypted    uint64 `json:"undecrypted,omitempty"` // protected under another key than ours, or not at all
	Late           uint64 `json:"late,omitempty"`        // held back on its way for longer than it could be played
	Unheard        uint64 `json:"unheard"`               // part of Received: no sink was joined

	Sent        uint64 `json:"sent"`
	SendDropped uint64 `json:"sendDropped"` // queue full, socket error, no address yet
	PeerLost    uint64 `json:"peerLost"`    // lost on the way to the peer, as the peer reports (RTCP RR, RIPT acks)

	Requested uint64 `json:"requested,omitempty"` // keyframes the peer asked for

	Jitter    time.Duration `json:"jitter"` // of what we receive (RFC 3550 section 6.4.1)
	RoundTrip time.Duration `json:"roundTrip"`
	Carrier   string        `json:"carrier"`            // "rtp", "webtransport", "put/get"
	Peer      string        `json:"peer"`               // address the media really comes from
	Said      string        `json:"said,omitempty"`     // address the peer said it would come from
	Trouble   string        `json:"trouble,omitempty"`  // why there could be no media
	Security  string        `json:"security,omitempty"` // of RTP: the crypto suite; "" = none
}
