package journal

// A segment goes when nothing in it counts any more; it must be the oldest, for
// what a later one says of a key that was removed has to outlive what an earlier
// one says of it. Where the oldest is held up by a few records and much of the log is
// waste, they are written again at the end.

// sizes say when that is.
type sizes struct {
	segment int64 // after which the next one is begun
	waste   int64 // how much of the log may be, besides as much as counts
	step    int   // how much is written again with one batch, so that no call waits long for it
}

var usual = sizes{segment: 16 << 20, waste: 32 << 20, step: 256 << 10}

// move is the work on the oldest segment.
type move struct {
	from *segment
	data []byte // of the segment
	at   int    // how far it is done
}

// tidy removes segments, or works on the oldest for a while. What it writes
// again goes with the next batch.
func (s *Store) tidy() {
	for _, old := range s.outlived() {
		// A file that cannot be removed is read again at the next start, and
		// changes nothing then.
		_ = old.remove()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moving.from == nil && !s.begin() {
		return
	}
	if s.moving.at == len(s.moving.data) {
		// All was written again, and is durable. What still counts came back
		// when a batch failed.
		s.moving = move{}
		return
	}
	s.step()
}

// outlived takes the segments out that hold nothing any more.
func (s *Store) outlived() (gone []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.segments) > 1 && s.segments[0].live == 0 {
		gone = append(gone, s.segments[0])
		if s.segments[0] == s.moving.from {
			s.moving = move{}
		}
		s.segments = s.segments[1:]
	}
	return gone
}

// begin turns to the oldest segment, if that is worth it. The store's lock is
// held.
func (s *Store) begin() bool {
	var size, live int64
	for _, seg := range s.segments {
		size, live = size+seg.size, live+seg.live
	}
	if len(s.segments) < 2 || size-live < max(live, s.sizes.waste) {
		return false
	}
	oldest := s.segments[0]
	data := make([]byte, oldest.size)
	if _, err := oldest.file.ReadAt(data, 0); err != nil {
		return false // it stays: the next Get of what is in it says why
	}
	s.moving = move{from: oldest, data: data, at: segmentHead}
	return true
}

// step writes some of what counts again. The store's lock is held.
func (s *Store) step() {
	m, g := &s.moving, s.gather
	for done := 0; m.at < len(m.data) && done < s.sizes.step; {
		r, n, err := parseRecord(m.data[m.at:])
		if err != nil {
			m.at += 1 + nextRecord(m.data[m.at+1:])
			continue
		}
		at := int64(m.at)
		m.at += n
		b := s.buckets[r.bucket]
		slot := b.slots[r.key]
		if slot == nil || slot.batch != nil || slot.segment != m.from || slot.offset != at {
			continue
		}
		g.changes = append(g.changes, change{bucket: b, key: r.key, slot: slot, offset: int64(len(g.bytes)), moved: true})
		g.bytes = append(g.bytes, m.data[at:m.at]...)
		done += n
	}
	s.knock()
}
