package media

import (
	"time"

	"riptide/bridge"
)

const (
	// maxGap is the greatest gap in a source's numbers that is still loss; more
	// is a source that started anew (RFC 3550 appendix A.1, MAX_DROPOUT).
	maxGap = 3000
	// maxLate is how late a frame may come and still keep its own number.
	maxLate = 64
	// maxBack and maxAhead bound the step of a media clock, in seconds.
	maxBack  = 10
	maxAhead = 3600
)

// base is the clock rate of which those of all codecs of a kind are multiples:
// Opus counts to 48000 in the second in which a digit beside it counts to 8000.
func base(k bridge.Kind) uint64 {
	if k == bridge.Video {
		return 90000
	}
	return 8000
}

// multiple is a codec's clock rate in units of its kind's base.
func multiple(c bridge.Codec) uint64 {
	return max(1, uint64(c.ClockRate())/base(c.Kind()))
}

// elapsed is a span of wall-clock time in units of a clock.
func elapsed(from, to time.Time, rate uint64) uint64 {
	d := uint64(max(0, to.Sub(from)))
	const second = uint64(time.Second)
	return d/second*rate + d%second*rate/second
}

// firstAgain is the number with which a call goes on that another process had:
// so far ahead of what that one used that nobody takes its packets for late ones,
// or for loss.
func firstAgain(now time.Time) uint64 { return uint64(now.UnixMilli()) << 10 }

// numbering gives the packets of successive sources one continuous numbering,
// from 1 where it is not told otherwise: gaps within a source stay gaps, a change of source leaves none. Times
// are in units of the kind's base, what is added to them, too, so that a source
// may change between clock rates.
type numbering struct {
	first   uint64 // number to begin with; 0 is 1
	started bool
	seq     uint64 // of the latest frame of the source
	out     uint64 // what it was given
	floor   uint64 // frames of the source below this are not its own
	ts      uint64 // base time of the latest frame
	rate    uint64 // multiple of the latest frame that was none aside
	off     uint64 // added to base times, modulo 2^64
	at      time.Time
}

// next is the number and media time under which a frame goes out. It is not ok
// if the frame comes from a source that has been replaced.
func (n *numbering) next(c bridge.Codec, seq, ts uint64, now time.Time) (outSeq, outTS uint64, ok bool) {
	mult := multiple(c)
	if !n.started {
		*n = numbering{started: true, seq: seq, out: max(n.first, 1), floor: seq, ts: ts / mult, rate: mult, at: now}
		return n.out, ts, true
	}
	off := n.offset(c, ts/mult, mult, now)
	switch d := int64(seq - n.seq); {
	case d < 0 && d >= -maxLate:
		if seq < n.floor {
			return 0, 0, false
		}
		return n.out + uint64(d), ts + off*mult, true
	case d > 0 && d <= maxGap:
		n.out += uint64(d)
	default:
		off = n.since(c, now) - ts/mult
		n.out++
		n.floor = seq
	}
	n.seq, n.ts, n.off, n.at = seq, ts/mult, off, now
	if !c.Aside() {
		n.rate = mult
	}
	return n.out, ts + off*mult, true
}

// since is the base time that it is now by the clock of what went out.
func (n *numbering) since(c bridge.Codec, now time.Time) uint64 {
	return n.ts + n.off + elapsed(n.at, now, base(c.Kind()))
}

// offset moves the media clock along with the source's, unless that jumped: one
// that goes over to another rate may count from anywhere (RFC 7160).
func (n *numbering) offset(c bridge.Codec, ts, mult uint64, now time.Time) uint64 {
	b := int64(base(c.Kind()))
	if d := int64(ts - n.ts); (mult == n.rate || c.Aside()) && d >= -maxBack*b && d <= maxAhead*b {
		return n.off
	}
	return n.since(c, now) - ts
}
