package media

import "time"

const (
	// maxGap is the greatest gap in a source's numbers that is still loss; more
	// is a source that started anew (RFC 3550 appendix A.1, MAX_DROPOUT).
	maxGap = 3000
	// maxLate is how late a frame may come and still keep its own number.
	maxLate = 64
	// maxBack and maxAhead bound the step of a media clock, in its units.
	maxBack  = 10 * clockRate
	maxAhead = 3600 * clockRate

	clockRate = 8000 // of every codec of this release
)

// numbering gives the packets of successive sources one continuous numbering
// from 1: gaps within a source stay gaps, a change of source leaves none.
type numbering struct {
	started       bool
	inSeq, inTS   uint64 // of the latest frame of the source
	outSeq, outTS uint64 // what it was given
	floor         uint64 // frames of the source below this are not its own
	at            time.Time
}

// next is the number and media time under which a frame goes out. It is not ok
// if the frame comes from a source that has been replaced.
func (n *numbering) next(seq, ts uint64, now time.Time) (outSeq, outTS uint64, ok bool) {
	if !n.started {
		*n = numbering{started: true, inSeq: seq, inTS: ts, outSeq: 1, outTS: ts, floor: seq, at: now}
		return n.outSeq, n.outTS, true
	}
	switch d := int64(seq - n.inSeq); {
	case d < 0 && d >= -maxLate:
		if seq < n.floor {
			return 0, 0, false
		}
		return n.outSeq + uint64(d), n.clock(ts, now), true
	case d > 0 && d <= maxGap:
		n.outTS = n.clock(ts, now)
		n.outSeq += uint64(d)
	default:
		n.outTS += elapsed(n.at, now)
		n.outSeq++
		n.floor = seq
	}
	n.inSeq, n.inTS, n.at = seq, ts, now
	return n.outSeq, n.outTS, true
}

// clock moves the media clock along with the source's, unless that jumped.
func (n *numbering) clock(ts uint64, now time.Time) uint64 {
	if d := int64(ts - n.inTS); d >= -maxBack && d <= maxAhead {
		return n.outTS + uint64(d)
	}
	return n.outTS + elapsed(n.at, now)
}

// elapsed is a span of wall-clock time in units of the media clock.
func elapsed(from, to time.Time) uint64 {
	return uint64(max(0, to.Sub(from)) * clockRate / time.Second)
}
