package siptest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// maxNetstring bounds what baresip may send in one piece.
const maxNetstring = 64 << 10

// ErrNetstring is wrapped by errors of ParseNetstring.
var ErrNetstring = errors.New("not a netstring")

// AppendNetstring appends a netstring, LENGTH:TEXT, to dst.
func AppendNetstring(dst, text []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	dst = append(dst, ':')
	dst = append(dst, text...)
	return append(dst, ',')
}

// ParseNetstring reads the netstring at the start of b, of n bytes. n is 0 when b
// may become one with more bytes.
func ParseNetstring(b []byte) (text []byte, n int, err error) {
	const digits = 5 // of maxNetstring
	colon := bytes.IndexByte(b[:min(len(b), digits+1)], ':')
	if colon < 0 {
		if len(b) > digits {
			return nil, 0, fmt.Errorf("%w: no length in %q", ErrNetstring, b[:digits])
		}
		return nil, 0, nil
	}
	length, err := strconv.ParseUint(string(b[:colon]), 10, 32)
	if err != nil || length > maxNetstring {
		return nil, 0, fmt.Errorf("%w: length %q, at most %d", ErrNetstring, b[:colon], maxNetstring)
	}
	end := colon + 1 + int(length)
	if len(b) <= end {
		return nil, 0, nil
	}
	if b[end] != ',' {
		return nil, 0, fmt.Errorf("%w: %d bytes are not followed by a comma", ErrNetstring, length)
	}
	return b[colon+1 : end], end + 1, nil
}
