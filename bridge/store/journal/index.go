package journal

import (
	"container/heap"
	"time"

	"riptide/bridge/store"
)

// slot is what the index knows of the last change of a key. It does not change
// but for its place.
type slot struct {
	revision uint64
	expiry   int64 // Unix ms; 0 = never
	deleted  bool  // until that is durable, when the key goes
	size     int64 // of the record

	// Where the record is, once it is durable; until then the batch it is in.
	segment *segment
	offset  int64
	batch   *batch
}

// bucket is the index of one bucket.
type bucket struct {
	name     store.Bucket
	slots    map[string]*slot
	bytes    int64 // of the records that count
	expiries expiries
	watches  map[*watch]bool
}

func newBuckets() map[store.Bucket]*bucket {
	buckets := map[store.Bucket]*bucket{}
	for _, b := range store.Buckets {
		buckets[b] = &bucket{name: b, slots: map[string]*slot{}, watches: map[*watch]bool{}}
	}
	return buckets
}

// current is what a key holds now, be it durable or not; nil = nothing.
func (b *bucket) current(key string, now time.Time) *slot {
	s := b.slots[key]
	if s == nil || s.deleted || s.expired(now) {
		return nil
	}
	return s
}

func (s *slot) expired(now time.Time) bool { return s.expiry != 0 && s.expiry <= now.UnixMilli() }

// set makes a change the last of its key and returns the one before.
func (b *bucket) set(key string, s *slot) (before *slot) {
	before = b.slots[key]
	b.uncount(before)
	b.count(s)
	b.slots[key] = s
	if s.expiry != 0 && !s.deleted {
		b.expiries.add(b, expiring{s.expiry, key, s})
	}
	return before
}

// unset takes the last change of a key back.
func (b *bucket) unset(key string, s, before *slot) {
	b.uncount(s)
	b.count(before)
	if before == nil {
		delete(b.slots, key)
		return
	}
	b.slots[key] = before
	if before.expiry != 0 && !before.deleted {
		b.expiries.add(b, expiring{before.expiry, key, before})
	}
}

// drop forgets a key that expired, or gave way.
func (b *bucket) drop(key string, s *slot) {
	b.uncount(s)
	delete(b.slots, key)
	s.die()
}

func (b *bucket) count(s *slot) {
	if s != nil && !s.deleted {
		b.bytes += s.size
	}
}

func (b *bucket) uncount(s *slot) {
	if s != nil && !s.deleted {
		b.bytes -= s.size
	}
}

// die says to the segment that the record counts no more.
func (s *slot) die() {
	if s != nil && s.segment != nil && !s.deleted {
		s.segment.live -= s.size
	}
}

// settle notes where the record of a change is, now that it is durable.
func (s *slot) settle(at *segment, offset int64) {
	s.batch, s.segment, s.offset = nil, at, offset
	if !s.deleted {
		at.live += s.size
	}
}

// giveWay lets keys go, those that would expire first, until a bucket has come
// down to most bytes. Only what is durable goes, and not the key that the room is
// for.
func (b *bucket) giveWay(most int64, but string) (gone []string) {
	var stay []expiring
	for b.bytes > most && len(b.expiries) > 0 {
		e := heap.Pop(&b.expiries).(expiring)
		switch {
		case b.slots[e.key] != e.slot: // replaced
		case e.slot.batch != nil || e.key == but:
			stay = append(stay, e)
		default:
			b.drop(e.key, e.slot)
			gone = append(gone, e.key)
		}
	}
	for _, e := range stay {
		heap.Push(&b.expiries, e)
	}
	return gone
}

// expiring is a change that goes at its time, if it is the last of its key then.
type expiring struct {
	at   int64 // Unix ms
	key  string
	slot *slot
}

// expiries is a heap of them, the next one first.
type expiries []expiring

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].at < e[j].at }
func (e expiries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *expiries) Push(x any)        { *e = append(*e, x.(expiring)) }
func (e *expiries) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = expiring{}
	*e = old[:len(old)-1]
	return last
}

// add remembers when a change expires. What was replaced stays in the heap
// until its time, or until half of it is such.
func (e *expiries) add(b *bucket, x expiring) {
	if len(*e) > 1024 && len(*e) > 2*len(b.slots) {
		kept := (*e)[:0]
		for _, old := range *e {
			if b.slots[old.key] == old.slot {
				kept = append(kept, old)
			}
		}
		clear((*e)[len(kept):])
		*e = kept
		heap.Init(e)
	}
	heap.Push(e, x)
}

// due takes the next change out that has expired by now.
func (b *bucket) due(now time.Time) (expiring, bool) {
	for len(b.expiries) > 0 && b.expiries[0].at <= now.UnixMilli() {
		e := heap.Pop(&b.expiries).(expiring)
		if b.slots[e.key] == e.slot {
			return e, true
		}
	}
	return expiring{}, false
}

// next is when something expires next; 0 = never.
func (b *bucket) next() int64 {
	if len(b.expiries) == 0 {
		return 0
	}
	return b.expiries[0].at
}
