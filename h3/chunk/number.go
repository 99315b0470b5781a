package chunk

import "encoding/binary"

// Full is the length of a number that is not truncated.
const Full = 8

// Number is a sequence number, timestamp or media clock on the wire.
type Number struct {
	Value uint64 // the low Len*8 bits are meant
	Len   uint8  // 1, 2, 4 or 8 (Full) bytes; 0 means absent
}

// FullNumber is v, not truncated.
func FullNumber(v uint64) Number { return Number{v, Full} }

// Truncated is v in n bytes (1, 2 or 4).
func Truncated(v uint64, n uint8) Number {
	return Number{v & (1<<(8*n) - 1), n}
}

// Near is the number meant, given one that was seen shortly before or is
// expected next: of all candidates the nearest (RFC 9000 appendix A.3).
func (n Number) Near(expected uint64) uint64 {
	if n.Len >= Full {
		return n.Value
	}
	window := uint64(1) << (8 * n.Len)
	candidate := expected&^(window-1) | n.Value
	switch {
	case candidate+window/2 <= expected && candidate <= MaxNumber-window:
		return candidate + window
	case candidate > expected+window/2 && candidate >= window:
		return candidate - window
	}
	return candidate
}

func (n Number) append(dst []byte, tag Tag) []byte {
	if n.Len == 0 {
		return dst
	}
	dst = append(dst, byte(tag), n.Len)
	switch n.Len {
	case 1:
		return append(dst, byte(n.Value))
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(n.Value))
	case 4:
		return binary.BigEndian.AppendUint32(dst, uint32(n.Value))
	}
	return binary.BigEndian.AppendUint64(dst, n.Value)
}

func (n Number) size() int {
	if n.Len == 0 {
		return 0
	}
	return 2 + int(n.Len)
}

func parseNumber(v []byte) (Number, error) {
	n := Number{Len: uint8(len(v))}
	switch len(v) {
	case 1:
		n.Value = uint64(v[0])
	case 2:
		n.Value = uint64(binary.BigEndian.Uint16(v))
	case 4:
		n.Value = uint64(binary.BigEndian.Uint32(v))
	case 8:
		n.Value = binary.BigEndian.Uint64(v)
		if n.Value > MaxNumber {
			return Number{}, errRange
		}
	default:
		return Number{}, errLength
	}
	return n, nil
}
