package media

import (
	"errors"
	"io"
	"sync"

	"riptide/h3/chunk"
)

// laneSize is how many chunks wait in a lane: 5 s of a call's media on one of
// four stripes.
const laneSize = 64

// errReplaced ends a stream whose stripe has been opened anew, or given up.
var errReplaced = errors.New("the stripe has another stream now")

// lane is the queue of one stripe: chunks go in, and come out as the bytes of a
// stream. It outlives its streams: when one breaks the next goes on with the
// chunk of which that had not taken all. What does not fit drops the oldest.
type lane struct {
	p *Port

	mu      sync.Mutex
	slots   []laneSlot // a ring
	head, n int
	off     int // bytes of the head that the stream has taken
	ended   bool
	stream  *laneStream // the one that empties it; nil while there is none
}

type laneSlot struct {
	bytes []byte // with its length before it
	m     message
}

// push adds a chunk.
func (l *lane) push(m message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		l.p.settle(m, errClosed)
		return
	}
	if l.n == laneSize {
		l.dropOldest()
	}
	if l.n == len(l.slots) {
		l.grow()
	}
	s := &l.slots[(l.head+l.n)%len(l.slots)]
	s.bytes, s.m = chunk.AppendPrefixed(s.bytes[:0], m.body), m
	s.m.body = nil
	l.n++
	if l.stream != nil {
		l.stream.poke()
	}
}

// grow makes room for more chunks, in order from the first slot.
func (l *lane) grow() {
	bigger := make([]laneSlot, max(4, min(2*len(l.slots), laneSize)))
	for i := range l.n {
		bigger[i] = l.slots[(l.head+i)%len(l.slots)]
	}
	l.slots, l.head = bigger, 0
}

// dropOldest gives up the oldest chunk that is not on its way yet.
func (l *lane) dropOldest() {
	first := &l.slots[l.head]
	if l.off > 0 {
		// Half of it is with the peer: the one behind it goes, and leaves it its
		// place.
		second := &l.slots[(l.head+1)%len(l.slots)]
		*first, *second = *second, *first
	}
	gone := &l.slots[l.head]
	l.p.settle(gone.m, errClosed)
	l.head, l.n = (l.head+1)%len(l.slots), l.n-1
}

// end lets the stream end when it has taken all that waits.
func (l *lane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.stream != nil {
		l.stream.poke()
	}
}

// abandon ends the lane at once, and returns what has not gone out.
func (l *lane) abandon() []message {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	var left []message
	for ; l.n > 0; l.n-- {
		s := &l.slots[l.head]
		if s.m.packets > 0 {
			s.m.body, _, _ = chunk.Next(s.bytes)
			left = append(left, s.m)
		}
		l.head = (l.head + 1) % len(l.slots)
	}
	l.replace(nil)
	return left
}

// open gives the lane a stream that begins with first, a chunk; the one before,
// if any, ends.
func (l *lane) open(first []byte) *laneStream {
	s := &laneStream{l: l, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if first != nil {
		s.first = chunk.AppendPrefixed(nil, first)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.off = 0
	l.replace(s)
	return s
}

// replace is called with mu held.
func (l *lane) replace(s *laneStream) {
	if l.stream != nil {
		close(l.stream.done)
	}
	l.stream = s
}

// laneStream is a stream that empties a lane: the body of a request, or what a
// response is written from. Read blocks until there is something.
type laneStream struct {
	l     *lane
	first []byte
	wake  chan struct{}
	done  chan struct{} // closed when another took its place
}

func (s *laneStream) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close lets go of the lane. It may be called more than once.
func (s *laneStream) Close() error {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if s.l.stream == s {
		s.l.replace(nil)
		s.l.off = 0
	}
	return nil
}

// Read takes as many chunks as there are and b holds.
func (s *laneStream) Read(b []byte) (int, error) {
	for {
		n, err := s.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-s.wake:
		case <-s.done:
			return 0, errReplaced
		}
	}
}

func (s *laneStream) take(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, io.ErrShortBuffer
	}
	l := s.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream != s {
		return 0, errReplaced
	}
	n = copy(b, s.first)
	s.first = s.first[n:]
	for l.n > 0 && n < len(b) {
		head := &l.slots[l.head]
		took := copy(b[n:], head.bytes[l.off:])
		n, l.off = n+took, l.off+took
		if l.off < len(head.bytes) {
			break
		}
		l.p.settle(head.m, nil)
		l.head, l.n, l.off = (l.head+1)%len(l.slots), l.n-1, 0
	}
	if n == 0 && l.ended {
		return 0, io.EOF
	}
	return n, nil
}
