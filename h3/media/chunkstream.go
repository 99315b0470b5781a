package media

import (
	"errors"
	"io"

	"riptide/h3/chunk"
)

// chunkStream reads chunks, each behind its length, off a stream that ends when
// the peer wants it to. It belongs to one goroutine.
type chunkStream struct {
	r          io.Reader
	heard      func() // called whenever bytes arrive; may be nil
	buf        []byte
	start, end int // of what was read and not yet taken
}

// streamBuffer holds a few chunks of audio; larger chunks make it grow.
const streamBuffer = 2 << 10

func newChunkStream(r io.Reader, heard func()) *chunkStream {
	return &chunkStream{r: r, heard: heard, buf: make([]byte, streamBuffer)}
}

// next returns the next chunk, valid until the following call. At the end of
// the stream the error is io.EOF, within a chunk io.ErrUnexpectedEOF.
func (s *chunkStream) next() ([]byte, error) {
	for {
		need, err := chunk.Need(s.buf[s.start:s.end])
		if err != nil {
			return nil, err
		}
		if s.end-s.start >= need {
			one, rest, err := chunk.Next(s.buf[s.start:s.end])
			if err == nil {
				s.start = s.end - len(rest)
				return one, nil
			}
			if need, err = chunk.Need(s.buf[s.start:s.end]); err != nil {
				return nil, err
			}
		}
		if err := s.fill(need); err != nil {
			if errors.Is(err, io.EOF) && s.start < s.end {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// fill reads more, so that need bytes will fit.
func (s *chunkStream) fill(need int) error {
	if s.start > 0 && (s.start == s.end || s.start+need > len(s.buf)) {
		s.start, s.end = 0, copy(s.buf, s.buf[s.start:s.end])
	}
	if need > len(s.buf) {
		bigger := make([]byte, need)
		s.end = copy(bigger, s.buf[s.start:s.end])
		s.buf, s.start = bigger, 0
	}
	n, err := io.ReadAtLeast(s.r, s.buf[s.end:], 1)
	s.end += n
	if n == 0 {
		return err
	}
	if s.heard != nil {
		s.heard()
	}
	return nil // an error comes again
}
