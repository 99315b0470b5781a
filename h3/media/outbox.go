package media

import (
	"sync"
	"time"

	"riptide/h3/chunk"
)

const (
	// outboxSize is how many datagrams wait for a session. At 150 calls it is a
	// fifth of a second: what a receiver would still play.
	outboxSize = 256
	// packTick is how long a datagram waits to be filled, at most.
	packTick = time.Millisecond
	// packFrom is from how many calls on it is worth waiting for more chunks.
	// With fewer, less than one comes in a tick.
	packFrom = 20
)

// parcel is a datagram of a trunk session that is being filled.
type parcel struct {
	buf   []byte
	since time.Time
	items []item
}

// item is a chunk in it, whose fate its port is told.
type item struct {
	p *Port
	m message
}

func (d *parcel) settle(err error) {
	for i := range d.items {
		if d.items[i].p != nil {
			d.items[i].p.settle(d.items[i].m, err)
		}
	}
}

// outbox packs the chunks of many calls into datagrams, one after the other as
// they come. Whoever puts something in never waits: when it is full the oldest
// datagram is given up.
type outbox struct {
	mu      sync.Mutex
	ring    []parcel
	head, n int
	closed  bool
	limit   int // bytes of a datagram
	wake    chan struct{}
}

func newOutbox() *outbox {
	return &outbox{limit: maxDatagram, wake: make(chan struct{}, 1)}
}

// put adds a chunk of a call; p is nil for those of the session itself. One that
// is larger than a datagram should be has one for itself, because the path may
// take it. It is not ok if no path would.
func (o *outbox) put(call uint64, p *Port, m message) (ok bool) {
	size := chunk.BundledSize(call, len(m.body))
	o.mu.Lock()
	defer o.mu.Unlock()
	if size > maxPacket {
		return false
	}
	if o.closed {
		if p != nil {
			p.settle(m, errClosed)
		}
		return true
	}
	d := o.last()
	if d == nil || len(d.buf)+size > o.limit {
		d = o.begin()
		select {
		case o.wake <- struct{}{}: // the first, or the one before is full
		default:
		}
	}
	d.buf = chunk.AppendBundled(d.buf, call, m.body)
	m.body = nil
	d.items = append(d.items, item{p, m})
	return true
}

// last is the datagram being filled, or nil.
func (o *outbox) last() *parcel {
	if o.n == 0 {
		return nil
	}
	return &o.ring[(o.head+o.n-1)%len(o.ring)]
}

// begin begins another datagram.
func (o *outbox) begin() *parcel {
	if o.n == outboxSize {
		o.ring[o.head].settle(errClosed)
		o.head, o.n = (o.head+1)%len(o.ring), o.n-1
	}
	if o.n == len(o.ring) {
		bigger := make([]parcel, max(4, min(2*len(o.ring), outboxSize)))
		for i := range o.n {
			bigger[i] = o.ring[(o.head+i)%len(o.ring)]
		}
		o.ring, o.head = bigger, 0
	}
	d := &o.ring[(o.head+o.n)%len(o.ring)]
	o.n++
	d.buf, d.items, d.since = d.buf[:0], d.items[:0], time.Now()
	return d
}

// take swaps d for the oldest datagram, if that is full or has waited for long
// enough. If not, wait says how long it has to; 0 is until there is one.
func (o *outbox) take(d *parcel, tick time.Duration) (ok bool, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == 0 {
		return false, 0
	}
	head := &o.ring[o.head]
	if o.n == 1 && tick > 0 {
		if wait := tick - time.Since(head.since); wait > 0 {
			return false, wait
		}
	}
	*head, *d = *d, *head
	o.head, o.n = (o.head+1)%len(o.ring), o.n-1
	return true, 0
}

// shrink notes that the path takes only so many bytes.
func (o *outbox) shrink(limit int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limit = min(o.limit, limit)
}

// close gives up what is in it, and what is still to come.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for ; o.n > 0; o.n-- {
		o.ring[o.head].settle(errClosed)
		o.head = (o.head + 1) % len(o.ring)
	}
}
