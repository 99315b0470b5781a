package media

import "riptide/h3/chunk"

const (
	trackWindow = 1024 // numbers the receiver remembers: 20 s at 50 per second
	ackWindow   = 256  // of them, those an acknowledgement speaks of
	ackRanges   = 16
	probation   = 3 // numbers in a row that show a peer to have started anew

	// overtaken is how many packets the first one we see may have overtaken, where
	// nothing says with which the peer began.
	overtaken = 64
)

// placed is what the tracker thinks of a number.
type placed uint8

const (
	fresh     placed = iota // new, in its place
	duplicate               // seen before, or too far off to tell
	restarted               // new, and the first of a new numbering
)

// tracker tells loss from lateness and repetition: it remembers which of the
// last numbers arrived, and counts those that did not.
type tracker struct {
	started bool
	base    uint64 // the least number expected
	first   uint64 // numbers from base up to this are welcome, and not missed
	highest uint64 // the greatest number known to have been sent
	seen    [trackWindow / 64]uint64
	lost    uint64

	suspect, run uint64 // a number far off, and how many came in a row from there
}

func (t *tracker) bit(seq uint64) (word *uint64, mask uint64) {
	return &t.seen[seq%trackWindow/64], 1 << (seq % 64)
}

// has tells whether a number is known to have arrived.
func (t *tracker) has(seq uint64) bool {
	if !t.started || seq > t.highest || seq+trackWindow <= t.highest || seq < t.base {
		return false
	}
	word, mask := t.bit(seq)
	return *word&mask != 0
}

// far tells whether a number is none of those that may come now.
func (t *tracker) far(seq uint64) bool {
	switch {
	case !t.started:
		return false
	case seq > t.highest:
		return seq-t.highest > maxGap
	}
	return seq+trackWindow <= t.highest || seq < t.base
}

// place enters a number that arrived. anew is that the peer may well have started
// anew with it.
func (t *tracker) place(seq uint64, anew bool) placed {
	switch {
	case !t.started:
		t.start(seq)
	case t.far(seq) && anew:
		return t.restart(seq)
	case t.far(seq):
		return t.doubt(seq)
	case seq > t.highest:
		t.advance(seq)
		t.lost--
	default:
		word, mask := t.bit(seq)
		if *word&mask != 0 {
			return duplicate
		}
		if seq >= t.first {
			t.lost--
		}
	}
	word, mask := t.bit(seq)
	*word |= mask
	t.run = 0
	return fresh
}

// sent enters that the peer has sent everything up to seq.
func (t *tracker) sent(seq uint64) {
	switch {
	case !t.started && seq > 0:
		t.start(seq)
		if t.base == 1 {
			t.lost++
		} else {
			t.first = seq + 1
		}
	case t.started && seq > t.highest && seq-t.highest <= maxGap:
		t.advance(seq)
	}
}

// start begins at number 1, as every sender does; if seq is too far from it,
// the peer was at it before we were, or the numbers are those of the call's ends.
func (t *tracker) start(seq uint64) {
	t.started, t.base, t.first, t.highest = true, seq, seq, seq
	switch {
	case seq > trackWindow:
		t.base = seq - overtaken
	case seq > 0:
		t.base, t.first = 1, 1
		t.lost += seq - 1
	}
}

// advance makes seq the highest; all new numbers are lost until they come.
func (t *tracker) advance(seq uint64) {
	t.lost += seq - t.highest
	if seq-t.highest >= trackWindow {
		clear(t.seen[:])
	} else {
		for s := t.highest + 1; s <= seq; s++ {
			word, mask := t.bit(s)
			*word &^= mask
		}
	}
	t.highest = seq
}

// doubt handles a number far from the others: rubbish, unless more follow it.
func (t *tracker) doubt(seq uint64) placed {
	if t.run > 0 && seq == t.suspect+1 {
		t.run++
	} else {
		t.run = 1
	}
	t.suspect = seq
	if t.run < probation {
		return duplicate
	}
	return t.restart(seq)
}

// restart begins anew with a number.
func (t *tracker) restart(seq uint64) placed {
	*t = tracker{started: true, base: seq, highest: seq, lost: t.lost}
	word, mask := t.bit(seq)
	*word |= mask
	return restarted
}

// ranges adds what arrived lately, for an acknowledgement; none if nothing did.
func (t *tracker) ranges(dst []chunk.Range) []chunk.Range {
	if !t.started {
		return dst
	}
	low := t.base
	if t.highest >= ackWindow {
		low = max(low, t.highest-ackWindow+1)
	}
	open := false
	for s := t.highest; s >= low && s <= t.highest; s-- {
		word, mask := t.bit(s)
		switch {
		case *word&mask == 0:
			open = false
		case open:
			dst[len(dst)-1].First = s
		case len(dst) == ackRanges:
			return dst
		default:
			dst, open = append(dst, chunk.Range{First: s, Last: s}), true
		}
	}
	return dst
}
