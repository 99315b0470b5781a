package bridge

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// What the peers of a call that was given away still send here goes to the node
// that has it: until they have followed, and what was on its way until then.

const (
	// relayTime is how long a node listens for a call that it gave away: a peer
	// that has not followed by then hears nobody anyway.
	relayTime = 4 * time.Second
	// relayMost is how many frames wait for the call to be given.
	relayMost = foyerMost
)

// relay is the sink of one side of a call that is given away.
type relay struct {
	send func(data []byte)
	call string
	side side

	mu      sync.Mutex
	open    bool
	waiting [][]byte
}

// Push implements Sink.
func (r *relay) Push(f *Frame) {
	data := appendRelayed(nil, r.call, r.side, f)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		r.send(data)
		return
	}
	if len(r.waiting) < relayMost {
		r.waiting = append(r.waiting, data)
	}
}

// begin sends what came before, then what waits, then all that comes.
func (r *relay) begin(before [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, data := range before {
		r.send(data)
	}
	for _, data := range r.waiting {
		r.send(data)
	}
	r.waiting, r.open = nil, true
}

// unsent collects the frames that a leg gives back, for the relay of the other
// side, where they came from.
type unsent struct {
	call string
	side side
	list [][]byte
}

// Push implements Sink.
func (u *unsent) Push(f *Frame) {
	if len(u.list) < relayMost {
		u.list = append(u.list, appendRelayed(nil, u.call, u.side, f))
	}
}

// relayed is a frame on its way between two nodes.
//
//	version (1) | side (1) | codec (1) | flags (1) | request (1) | length of the call (1) | call |
//	seq (8) | timestamp (8) | sealed, if flagged: key id, seq, time, clock, reference frame (8 each), has (4), layers (2) |
//	payload
type relayed struct {
	call   string
	side   side
	detour bool
	frame  Frame
	sealed Sealed
}

const (
	relayVersion = 1
	relayHead    = 6
	relayNumbers = 16
	relaySealed  = 5*8 + 4 + 2

	flagMarker = 1 << 0
	flagSealed = 1 << 1
	flagDetour = 1 << 2 // for the peer of the side, not from it
)

// appendDetoured is appendRelayed of a frame that goes the other way (detour.go).
func appendDetoured(b []byte, call string, s side, f *Frame) []byte {
	at := len(b)
	b = appendRelayed(b, call, s, f)
	b[at+3] |= flagDetour
	return b
}

func appendRelayed(b []byte, call string, s side, f *Frame) []byte {
	flags := byte(0)
	if f.Marker {
		flags |= flagMarker
	}
	if f.Sealed != nil {
		flags |= flagSealed
	}
	b = append(b, relayVersion, byte(s), byte(f.Codec), flags, byte(f.Request), byte(len(call)))
	b = append(b, call...)
	b = binary.BigEndian.AppendUint64(b, f.Seq)
	b = binary.BigEndian.AppendUint64(b, f.Timestamp)
	if e := f.Sealed; e != nil {
		for _, n := range []uint64{e.KeyID, e.Seq, e.Time, e.Clock, e.ReferenceFrame} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		b = binary.BigEndian.AppendUint32(b, e.Has)
		b = append(b, e.SpatialLayer, e.TemporalLayer)
	}
	return append(b, f.Payload...)
}

var errRelayed = errors.New("not a frame of a call that was given away")

// parseRelayed reads a frame, which keeps parts of b.
func parseRelayed(b []byte) (*relayed, error) {
	if len(b) < relayHead || b[0] != relayVersion || b[1] > byte(sideB) || b[3]&^(flagMarker|flagSealed|flagDetour) != 0 || b[4] > byte(RequestKeyframe) || b[5] == 0 {
		return nil, errRelayed
	}
	r := &relayed{side: side(b[1]), detour: b[3]&flagDetour != 0}
	r.frame.Codec, r.frame.Marker, r.frame.Request = Codec(b[2]), b[3]&flagMarker != 0, Request(b[4])
	sealed, n := b[3]&flagSealed != 0, int(b[5])
	b = b[relayHead:]
	need := n + relayNumbers
	if sealed {
		need += relaySealed
	}
	if len(b) < need || len(b) > need+maxRelayed {
		return nil, errRelayed
	}
	r.call, b = string(b[:n]), b[n:]
	r.frame.Seq, r.frame.Timestamp, b = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), b[relayNumbers:]
	if sealed {
		e := &r.sealed
		for i, n := range []*uint64{&e.KeyID, &e.Seq, &e.Time, &e.Clock, &e.ReferenceFrame} {
			*n = binary.BigEndian.Uint64(b[8*i:])
		}
		e.Has, e.SpatialLayer, e.TemporalLayer = binary.BigEndian.Uint32(b[40:]), b[44], b[45]
		r.frame.Sealed, b = e, b[relaySealed:]
	}
	r.frame.Payload = b
	return r, nil
}

// maxRelayed is the largest payload of a frame, sealed or not.
const maxRelayed = 2048

// Relayed takes what another node hears for a call that it gave us, and the record
// of the call, which comes first.
func (b *Bridge) Relayed(data []byte) {
	if len(data) > 0 && data[0] == errandVersion {
		b.runErrand(data)
		return
	}
	if call, value, ok := parseGiven(data); ok {
		b.ledger.given(call, value)
		return
	}
	r, err := parseRelayed(data)
	if err != nil {
		return // nobody of ours sends it
	}
	if r.detour {
		b.givenLegs.push(r)
		return
	}
	if f := b.foyersOf(r.call); f != nil {
		f.sides[r.side].Push(&r.frame)
	}
}
