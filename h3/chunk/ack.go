package chunk

// Direction says which end sent the chunks that an acknowledgement is about.
type Direction uint8

// The directions of media.
const (
	ClientToServer Direction = 0
	ServerToClient Direction = 1
)

// MaxRanges is how many ranges an acknowledgement may have.
const MaxRanges = 32

// Range is a run of sequence numbers that arrived, both ends included.
type Range struct{ First, Last uint64 }

// Ack is the body of tag 17: which chunks of one stream arrived.
//
//	direction, source, sink, largest, delay, range count,
//	first range, then (gap, range) of the others; all varints
//
// Ranges, gaps and their meaning are those of the QUIC ACK frame (RFC 9000
// section 19.3.1): a range of n stands for n+1 numbers, a gap of n for n+1
// missing ones before the next lower range.
type Ack struct {
	Direction Direction
	Source    uint8
	Sink      uint8
	Delay     uint64  // µs between the arrival of the largest and the sending of this
	Ranges    []Range // descending; the first ends in the largest number seen
}

// Largest is the greatest sequence number that arrived.
func (a *Ack) Largest() uint64 { return a.Ranges[0].Last }

// Append adds the body. There must be 1 to MaxRanges descending ranges that
// do not touch.
func (a *Ack) Append(dst []byte) []byte {
	dst = append(dst, byte(a.Direction))
	dst = appendVarint(dst, uint64(a.Source))
	dst = appendVarint(dst, uint64(a.Sink))
	dst = appendVarint(dst, a.Largest())
	dst = appendVarint(dst, min(a.Delay, MaxNumber))
	dst = appendVarint(dst, uint64(len(a.Ranges)-1))
	for i, r := range a.Ranges {
		if i > 0 {
			dst = appendVarint(dst, a.Ranges[i-1].First-r.Last-2)
		}
		dst = appendVarint(dst, r.Last-r.First)
	}
	return dst
}

// ParseAck reads a body, which is all of b. The ranges are put into the given
// slice, from its start, so that a caller with room for MaxRanges allocates
// nothing.
func ParseAck(b []byte, ranges []Range) (Ack, error) {
	var head [6]uint64
	for i := range head {
		v, n := varint(b)
		if n == 0 {
			return Ack{}, errShort
		}
		head[i], b = v, b[n:]
	}
	a := Ack{Direction: Direction(head[0]), Source: uint8(head[1]), Sink: uint8(head[2]), Delay: head[4]}
	if head[0] > 1 || head[1] < 1 || head[1] > 255 || head[2] < 1 || head[2] > 255 {
		return Ack{}, errRange
	}
	if head[5] >= MaxRanges {
		return Ack{}, errAckRanges
	}
	last := head[3]
	a.Ranges = ranges[:0]
	for i := uint64(0); ; i++ {
		length, n := varint(b)
		if n == 0 {
			return Ack{}, errShort
		}
		if length > last {
			return Ack{}, errAck
		}
		r := Range{First: last - length, Last: last}
		a.Ranges, b = append(a.Ranges, r), b[n:]
		if i == head[5] {
			break
		}
		gap, n := varint(b)
		if n == 0 {
			return Ack{}, errShort
		}
		if gap+2 > r.First {
			return Ack{}, errAck
		}
		last, b = r.First-gap-2, b[n:]
	}
	if len(b) > 0 {
		return Ack{}, errLength
	}
	return a, nil
}
