package chunk

// The datagrams of a trunk session hold chunks of many calls, one behind the
// other:
//
//	datagram = 1*( call tag (varint) | length (varint) | chunk )
//
// The server gives the tags, from 1, one to each call of the session. Tag 0 is
// the session itself, of which there are control chunks only.

// AppendBundled adds a chunk behind the tag of its call and its length.
func AppendBundled(dst []byte, call uint64, chunk []byte) []byte {
	dst = appendVarint(dst, call)
	return AppendPrefixed(dst, chunk)
}

// BundledSize is the number of bytes that AppendBundled adds.
func BundledSize(call uint64, size int) int {
	return varintLen(call) + varintLen(uint64(size)) + size
}

// NextBundled takes the first chunk, unparsed, off a datagram of a trunk
// session. It is of no bytes when the datagram is at its end.
func NextBundled(b []byte) (call uint64, chunk, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, nil, nil
	}
	call, n := varint(b)
	if n == 0 || n == len(b) {
		return 0, nil, nil, errShort
	}
	chunk, rest, err = Next(b[n:])
	return call, chunk, rest, err
}

// AppendPrefixed adds a chunk behind its length, as bodies and streams hold it.
func AppendPrefixed(dst, chunk []byte) []byte {
	dst = appendVarint(dst, uint64(len(chunk)))
	return append(dst, chunk...)
}

// Need tells how many bytes of a stream of chunks Next wants before it can
// take the first one off, as far as b, the beginning of the stream, says.
func Need(b []byte) (int, error) {
	l, n := varint(b)
	switch {
	case n == 0 && len(b) == 0:
		return 1, nil
	case n == 0:
		return 1 << (b[0] >> 6), nil
	case l > MaxChunk:
		return 0, errTooLong
	case l == 0:
		return 0, errLength
	}
	return n + int(l), nil
}

// IsControl tells a control chunk from media by its first bytes: tag 5 is the
// first of the one, tag 1 that of the other. Parse says whether it is sound.
func IsControl(b []byte) bool {
	if len(b) < 3 || b[0] != Version {
		return false
	}
	_, n := varint(b[1:])
	return n > 0 && len(b) > 1+n && b[1+n] == byte(TagKind)
}

// AppendCall adds the tag of a call alone: it stands before a chunk that has a
// stream of a trunk session for itself.
func AppendCall(dst []byte, call uint64) []byte { return appendVarint(dst, call) }

// Call reads such a tag. n is its length, 0 if b is too short.
func Call(b []byte) (call uint64, n int) { return varint(b) }
