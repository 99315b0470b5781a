package media

import (
	"time"

	"riptide/bridge"
)

// Chunks that travel in requests of their own overtake each other: two that were
// sent together are read by two goroutines of the HTTP stack, in any order.
// Telephones take that for loss when they have small jitter buffers, so a frame
// that is ahead of its turn waits for the one before it, but never for long: if
// that is still missing when the next regular packet comes, it is lost.
const (
	orderWait = 10 * time.Millisecond
	orderMost = 4 // frames of speech that wait

	// Packets of video go by datagrams and streams of their own, and many belong
	// to one moment.
	orderMostVideo = 32
)

// order puts frames back in order. It has no timer: time passes with packets.
type order struct {
	most    int    // frames that wait; 0 is orderMost
	patient bool   // the first frame waits like the others, lest it has overtaken some
	next    uint64 // the frame whose turn it is; 0 = none was seen
	waiting []waiting
	scratch bridge.Frame
	sealed  bridge.Sealed
}

// waiting is a frame that came too early, with its own copy of the payload.
type waiting struct {
	frame   bridge.Frame
	sealed  bridge.Sealed
	payload []byte
	since   time.Time
}

// take hands f, and whatever it lets go, to sink.
func (o *order) take(f *bridge.Frame, now time.Time, sink bridge.Sink) {
	if o.next == 0 && o.patient && f.Seq <= uint64(o.most) {
		o.next = 1 // as all numbers of our own begin
	}
	switch {
	case o.next == 0 && !o.patient || f.Seq <= o.next:
		o.next = max(o.next, f.Seq+1)
		sink.Push(f)
	default:
		o.hold(f, now)
	}
	o.release(now, sink)
}

// hold keeps a copy of f, in its place.
func (o *order) hold(f *bridge.Frame, now time.Time) {
	if cap(o.waiting) == 0 {
		if o.most == 0 {
			o.most = orderMost
		}
		o.waiting = make([]waiting, 0, o.most+1)
	}
	i := len(o.waiting)
	o.waiting = o.waiting[:i+1]
	w := &o.waiting[i]
	w.frame, w.since = *f, now
	w.payload = append(w.payload[:0], f.Payload...)
	if f.Sealed != nil {
		w.sealed = *f.Sealed
	}
	for ; i > 0 && o.waiting[i-1].frame.Seq > f.Seq; i-- {
		o.waiting[i-1], o.waiting[i] = o.waiting[i], o.waiting[i-1]
	}
}

// release pushes what has waited for its turn, or long enough.
func (o *order) release(now time.Time, sink bridge.Sink) {
	for len(o.waiting) > 0 {
		if o.waiting[0].frame.Seq > o.next && len(o.waiting) <= o.most && !o.overdue(now) {
			return
		}
		o.pushFirst(sink)
	}
}

// flush pushes all that waits: no more is to come this way.
func (o *order) flush(sink bridge.Sink) {
	for len(o.waiting) > 0 {
		o.pushFirst(sink)
	}
}

func (o *order) pushFirst(sink bridge.Sink) {
	first := o.waiting[0]
	o.next = max(o.next, first.frame.Seq+1)
	o.scratch = first.frame
	o.scratch.Payload = first.payload
	if o.scratch.Sealed != nil {
		o.sealed = first.sealed
		o.scratch.Sealed = &o.sealed
	}
	sink.Push(&o.scratch)
	// It goes to the end, so that its payload is used again.
	n := copy(o.waiting, o.waiting[1:])
	o.waiting[n] = first
	o.waiting = o.waiting[:n]
}

// overdue tells whether a frame has waited for its turn longer than it should.
func (o *order) overdue(now time.Time) bool {
	for i := range o.waiting {
		if now.Sub(o.waiting[i].since) >= orderWait {
			return true
		}
	}
	return false
}
