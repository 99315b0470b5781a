package media

import (
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// slot is a packet that waits, ready to be written.
type slot struct {
	seq, millis, clock uint64
	noClock            bool
	at                 time.Time
	codec              bridge.Codec
	marker             bool
	intra              bool // begins a picture that needs no other
	sealed             bool // payload is auth tag and ciphertext
	keyID              uint64
	layers             chunk.Video
	payload            []byte
}

// queue is a ring of packets. It grows as needed and keeps the room of payloads,
// so that one that stays short allocates nothing. The zero queue is empty.
type queue struct {
	slots   []slot
	head, n int
}

const queueFirst = 8

// add is a slot behind the others; there may be at most most.
func (q *queue) add(most int) *slot {
	if q.n == len(q.slots) {
		bigger := make([]slot, min(most, max(queueFirst, 2*len(q.slots))))
		for i := range q.n {
			bigger[i] = q.slots[(q.head+i)%len(q.slots)]
		}
		q.slots, q.head = bigger, 0
	}
	s := &q.slots[(q.head+q.n)%len(q.slots)]
	q.n++
	return s
}

// first is the oldest packet, nil if there is none.
func (q *queue) first() *slot { return q.at(0) }

// at is the packet with i before it, nil if there is none.
func (q *queue) at(i int) *slot {
	if i >= q.n {
		return nil
	}
	return &q.slots[(q.head+i)%len(q.slots)]
}

// drop takes the oldest packet off.
func (q *queue) drop() {
	q.head, q.n = (q.head+1)%len(q.slots), q.n-1
}

// undo takes the packet off that was added last.
func (q *queue) undo() { q.n-- }

// moveTo puts the oldest packet behind those of another queue. They exchange
// the room for payloads.
func (q *queue) moveTo(other *queue, most int) {
	to := other.add(most)
	from := q.first()
	*to, *from = *from, *to
	q.drop()
}
