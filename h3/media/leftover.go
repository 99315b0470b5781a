package media

import (
	"sync"

	"riptide/h3/chunk"
)

// leftoverMost is how many messages may be left over: two lanes full of them.
const leftoverMost = 2 * laneSize

// leftovers are chunks that a carrier had taken, and could not send any more.
// They have their numbers and are written already, so that the next carrier
// sends them as they are, before anything else.
type leftovers struct {
	mu     sync.Mutex
	list   []message
	closed bool
}

// giveBack returns single chunks to the port.
func (p *Port) giveBack(list []message) {
	if len(list) == 0 {
		return
	}
	l := &p.left
	l.mu.Lock()
	if !l.closed {
		l.list, list = append(l.list, list...), nil
		if n := len(l.list) - leftoverMost; n > 0 {
			l.list, list = l.list[n:], l.list[:n]
		}
	}
	l.mu.Unlock()
	for _, m := range list {
		p.settle(m, errClosed)
	}
	p.poke()
}

// take is the oldest one, as a carrier wants it.
func (l *leftovers) take(framed bool) (m message, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == 0 {
		return message{}, false
	}
	m, l.list = l.list[0], l.list[1:]
	if framed {
		m.body = chunk.AppendPrefixed(nil, m.body)
	}
	return m, true
}

// close gives up what is left, and what is still to come.
func (l *leftovers) close(p *Port) {
	l.mu.Lock()
	list := l.list
	l.list, l.closed = nil, true
	l.mu.Unlock()
	for _, m := range list {
		p.settle(m, errClosed)
	}
}
