package journal

import (
	"context"
	"fmt"
	"time"
)

// batch is what one sync covers.
type batch struct {
	bytes   []byte
	changes []change
	done    chan struct{} // closed when it is durable, or has failed
	err     error
}

// change is one record of a batch.
type change struct {
	bucket *bucket
	key    string
	slot   *slot
	before *slot // what it replaced; nil = nothing
	offset int64 // in the batch
	moved  bool  // written again because its segment goes: the slot is as it was
}

// spareSize is the largest buffer that is kept for the next batch but one.
const spareSize = 1 << 20

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// await waits until the batch is durable.
func (b *batch) await(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	default:
	}
	limit := time.NewTimer(writeTimeout)
	defer limit.Stop()
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
		return errNotWritten
	}
}

func (r record) size() int64 {
	return int64(recordHead + recordBody + len(r.bucket) + len(r.key) + len(r.value))
}

// change puts a record into the batch that is being gathered. The store's lock
// is held.
func (s *Store) change(b *bucket, r record) (*batch, uint64) {
	s.revision++
	r.revision = s.revision
	g := s.gather
	c := change{bucket: b, key: r.key, offset: int64(len(g.bytes))}
	c.slot = &slot{revision: r.revision, expiry: r.expiry, deleted: r.kind == kindDelete, size: r.size(), batch: g}
	c.before = b.set(r.key, c.slot)
	g.bytes = r.append(g.bytes)
	g.changes = append(g.changes, c)
	s.knock()
	return g, r.revision
}

// knock wakes the keeper.
func (s *Store) knock() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// keep writes batches, removes what expires, and tidies up, until the store is
// closed. While it waits for the disk the next batch gathers.
func (s *Store) keep() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := s.expire(time.Now()); next > 0 {
			timer.Reset(max(time.Until(time.UnixMilli(next)), 0))
		}
		select {
		case <-s.wake:
			s.commit()
			s.tidy()
		case <-timer.C:
		case <-s.life.Done():
			s.commit()
			return
		}
	}
}

// commit writes the batch that has gathered and tells those who wait for it.
func (s *Store) commit() {
	s.mu.Lock()
	b := s.gather
	if len(b.changes) == 0 {
		s.mu.Unlock()
		return
	}
	s.gather = newBatch()
	s.gather.bytes, s.spare = s.spare[:0], nil
	s.mu.Unlock()
	last, err := s.room()
	at := int64(0)
	if err == nil {
		at = last.size
		err = last.write(b.bytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cap(b.bytes) <= spareSize {
		s.spare = b.bytes
	}
	b.bytes = nil
	if err != nil {
		s.broken = true
		s.fail(b, fmt.Errorf("write %s: %w (is the disk of the state directory full, or failing?)", s.dir, err))
		return
	}
	for _, c := range b.changes {
		s.settle(c, last, at+c.offset)
	}
	close(b.done)
}

// room is the segment to write to. After a failure nobody knows what a file
// holds behind its last sync, nor whether another sync would tell: that is cut
// off, and the next segment begun.
func (s *Store) room() (*segment, error) {
	last := s.segments[len(s.segments)-1]
	if !s.broken && last.size < s.sizes.segment {
		return last, nil
	}
	if s.broken {
		if err := last.cut(); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	revision := s.revision
	s.mu.Unlock()
	next, err := createSegment(s.dir, last.number+1, revision)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.segments = append(s.segments, next)
	s.mu.Unlock()
	s.broken = false
	return next, nil
}

// settle notes that a change is durable. The store's lock is held.
func (s *Store) settle(c change, at *segment, offset int64) {
	if c.moved {
		if c.bucket.slots[c.key] == c.slot { // nothing came after it
			c.slot.die()
			c.slot.settle(at, offset)
		}
		return
	}
	c.before.die()
	c.slot.settle(at, offset)
	if c.slot.deleted && c.bucket.slots[c.key] == c.slot {
		delete(c.bucket.slots, c.key)
	}
	c.bucket.tell(c.key, c.slot.revision, c.slot.deleted)
}

// fail takes back what a batch changed, and with it what was built on that
// since. The store's lock is held.
func (s *Store) fail(b *batch, err error) {
	for _, b := range []*batch{s.gather, b} {
		for i := len(b.changes) - 1; i >= 0; i-- {
			c := b.changes[i]
			if c.moved {
				continue
			}
			c.bucket.unset(c.key, c.slot, c.before)
			if c.before != nil && c.before.batch == nil { // a watch that began meanwhile has not seen it
				c.bucket.tell(c.key, c.before.revision, false)
			}
		}
		b.err = err
		close(b.done)
	}
	s.gather = newBatch()
	s.moving = move{}
}

// expire removes what has expired, and says when the next does.
func (s *Store) expire(now time.Time) (next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.buckets {
		for {
			e, ok := b.due(now)
			if !ok {
				break
			}
			if e.slot.batch != nil { // it is on its way to the disk
				b.expiries.add(b, expiring{now.Add(writeTimeout).UnixMilli(), e.key, e.slot})
				continue
			}
			b.drop(e.key, e.slot)
			s.revision++
			b.tell(e.key, s.revision, true)
		}
		if n := b.next(); n > 0 && (next == 0 || n < next) {
			next = n
		}
	}
	return next
}
