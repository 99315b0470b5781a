package media

import (
	"time"

	"riptide/h3/chunk"
)

const sentWindow = 256 // numbers the sender remembers: 5 s at 50 per second

// outstanding remembers what was sent and not yet acknowledged: it measures
// the round trip and counts what the peer never got.
type outstanding struct {
	slots        []sentChunk // sentWindow; nil before anything was sent: most calls have no video
	highest      uint64      // the greatest number sent
	largestAcked uint64
	final        uint64 // lost for good
	roundTrip    time.Duration
}

type sentChunk struct {
	seq   uint64 // 0: none
	at    time.Time
	acked bool
}

// sent enters that seq is on its way. Numbers start at 1.
func (o *outstanding) sent(seq uint64, now time.Time) {
	if o.slots == nil {
		o.slots = make([]sentChunk, sentWindow)
	}
	s := &o.slots[seq%sentWindow]
	if s.seq > seq && s.seq-seq <= backlogMost {
		return // held back until now, and its place is taken
	}
	if s.seq != 0 && !s.acked && s.seq < o.largestAcked {
		o.final++
	}
	*s = sentChunk{seq: seq, at: now}
	o.highest = max(o.highest, seq)
}

// unsent takes that back.
func (o *outstanding) unsent(first, last uint64) {
	for seq := first; o.slots != nil && seq <= last && seq-first < sentWindow; seq++ {
		if s := &o.slots[seq%sentWindow]; s.seq == seq && !s.acked {
			*s = sentChunk{}
		}
	}
}

// ack enters what the peer got. It is not ok if that was never sent.
func (o *outstanding) ack(a *chunk.Ack, now time.Time) (ok bool) {
	largest := a.Largest()
	if largest > o.highest || o.slots == nil {
		return false
	}
	if s := &o.slots[largest%sentWindow]; s.seq == largest && !s.acked {
		o.measure(now.Sub(s.at) - time.Duration(min(a.Delay, 10e6))*time.Microsecond)
	}
	low := uint64(0)
	if o.highest >= sentWindow {
		low = o.highest - sentWindow + 1
	}
	for _, r := range a.Ranges {
		for seq := max(r.First, low); seq <= r.Last; seq++ {
			if s := &o.slots[seq%sentWindow]; s.seq == seq {
				s.acked = true
			}
		}
	}
	o.largestAcked = max(o.largestAcked, largest)
	return true
}

// measure smooths the round trip as RFC 9002 section 5.3 does.
func (o *outstanding) measure(rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	if o.roundTrip == 0 {
		o.roundTrip = rtt
	}
	o.roundTrip += (rtt - o.roundTrip) / 8
}

// peerLost is how many of those sent did not arrive, as far as the peer says.
func (o *outstanding) peerLost() uint64 {
	n := o.final
	for i := range o.slots {
		if s := &o.slots[i]; s.seq != 0 && !s.acked && s.seq < o.largestAcked {
			n++
		}
	}
	return n
}
