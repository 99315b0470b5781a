package chunk

// Limits of the body of a media request or response.
const (
	MaxBody       = 256 << 10 // bytes
	MaxBodyChunks = 256
)

// AppendSized adds the chunk behind its length, as bodies hold them.
func (c *Chunk) AppendSized(dst []byte) []byte {
	return c.Append(appendVarint(dst, uint64(c.Size())))
}

// Next takes the first chunk, unparsed, off a body. It is of no bytes when the
// body is at its end.
func Next(body []byte) (chunk, rest []byte, err error) {
	if len(body) == 0 {
		return nil, nil, nil
	}
	l, n := varint(body)
	if n == 0 || l > uint64(len(body)-n) {
		return nil, nil, errShort
	}
	if l > MaxChunk {
		return nil, nil, errTooLong
	}
	if l == 0 {
		return nil, nil, errLength
	}
	return body[n : n+int(l)], body[n+int(l):], nil
}
