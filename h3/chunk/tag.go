package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Tag names a field of a chunk.
type Tag uint64

// The core tags. An unknown tag below firstExtension rejects the chunk.
const (
	TagSeq            Tag = 1
	TagTimestamp      Tag = 2
	TagPayloadType    Tag = 3
	TagMedia          Tag = 4
	TagKind           Tag = 5
	TagSource         Tag = 6
	TagSink           Tag = 7
	TagReferenceFrame Tag = 8
	TagSpatialLayer   Tag = 9
	TagTemporalLayer  Tag = 10
	TagAudioLevel     Tag = 11
	TagControlType    Tag = 12
	TagKeyID          Tag = 13
	TagClock          Tag = 14
	TagMarker         Tag = 15
	// 16 is reserved.
	TagAck  Tag = 17
	TagBody Tag = 18

	firstExtension Tag = 32
)

// MaxNumber is the greatest sequence number, timestamp and key id: what a
// varint holds.
const MaxNumber = 1<<62 - 1

// ErrMalformed is wrapped by every parse error of this package.
var ErrMalformed = errors.New("malformed chunk")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Errors of the hot path are made once: rubbish must not cost an allocation.
var (
	errShort     = malformed("ends within a field")
	errVersion   = malformed("unknown version")
	errOrder     = malformed("tags out of order, or one twice")
	errUnknown   = malformed("unknown core tag")
	errPlace     = malformed("tag in the wrong part")
	errLength    = malformed("value of the wrong length")
	errRange     = malformed("value out of range")
	errMissing   = malformed("a required tag is missing")
	errTooLong   = malformed("longer than a chunk may be")
	errEnvelope  = malformed("envelope longer than it may be")
	errTooMany   = malformed("more tags than a chunk may have")
	errAck       = malformed("acknowledgement with impossible ranges")
	errAckRanges = malformed("acknowledgement with too many ranges")
	errSealed    = malformed("control that is sealed")
	errBody      = malformed("control body not of its type")
)

// varint reads a QUIC varint; n is 0 if b is too short.
func varint(b []byte) (v uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, 0
	}
	v = uint64(b[0] & 0x3f)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	return v, n
}

// appendVarint writes v, at most MaxNumber, in the shortest form.
func appendVarint(dst []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(dst, byte(v))
	case v < 1<<14:
		return binary.BigEndian.AppendUint16(dst, uint16(v)|0x4000)
	case v < 1<<30:
		return binary.BigEndian.AppendUint32(dst, uint32(v)|0x80000000)
	}
	return binary.BigEndian.AppendUint64(dst, v&MaxNumber|0xc000000000000000)
}

func varintLen(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	}
	return 8
}

// tlv reads one TLV. rest is what follows it.
func tlv(b []byte) (tag Tag, value, rest []byte, err error) {
	t, n := varint(b)
	if n == 0 {
		return 0, nil, nil, errShort
	}
	b = b[n:]
	l, n := varint(b)
	if n == 0 || l > uint64(len(b)-n) {
		return 0, nil, nil, errShort
	}
	return Tag(t), b[n : n+int(l)], b[n+int(l):], nil
}
