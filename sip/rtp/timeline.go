package rtp

import (
	"time"

	"riptide/bridge"
)

// How far a frame may be from its predecessors and still belong to them.
const (
	maxSlip    = 3 * clockRate // clock units by which timestamp and wall clock may disagree
	maxLate    = 32            // frames
	maxLates   = 8             // late frames in a row: it is another source
	maxGap     = maxDropout - 1
	unitsFrame = clockRate / 100 // the shortest packet time, 10 ms
)

// timeline maps the frames of whatever source is joined to one continuous RTP
// stream. Gaps in the source's numbers stay visible. A jump that no loss or
// silence explains is another source, or a restarted one: it continues with the
// next number, at the time that has really passed.
type timeline struct {
	seq uint16 // highest number given out
	ts  uint32 // timestamp given out for refTS

	started bool
	fresh   bool   // the next frame begins anew
	inSeq   uint64 // newest frame seen
	inBase  uint64 // frames before it belong to another numbering
	off     uint16 // out = in + off
	refTS   uint64 // newest frame that is no event packet: those repeat their time
	refAt   time.Time
	lates   int

	event    bool // an event has been sent since the last jump
	eventIn  uint64
	eventOut uint32
}

type judgement uint8

const (
	follows judgement = iota // next in line, perhaps after a gap
	late                     // overtaken on the way
	tooLate                  // of a numbering that is over
	jumps
)

// place gives a frame its sequence number and timestamp. fresh means that the
// stream began anew with it; ok is false for frames that came too late.
func (t *timeline) place(f *bridge.Frame, now time.Time) (seq uint16, ts uint32, fresh, ok bool) {
	switch t.judge(f, now) {
	case tooLate:
		t.lates++
		return 0, 0, false, false
	case late:
		t.lates++
		return uint16(f.Seq) + t.off, t.stamp(f), false, true
	case jumps:
		t.jump(f, now)
		fresh = true
	case follows:
		t.lates = 0
		t.inSeq = f.Seq
		t.seq = uint16(f.Seq) + t.off
	}
	ts = t.stamp(f)
	if f.Codec == bridge.TelephoneEvent {
		t.event, t.eventIn, t.eventOut = true, f.Timestamp, ts
	} else {
		t.ts, t.refTS, t.refAt = ts, f.Timestamp, now
	}
	return t.seq, ts, fresh, true
}

// skip passes over a frame that cannot be sent to this peer, without leaving a
// gap that would look like loss.
func (t *timeline) skip(f *bridge.Frame, now time.Time) {
	if !t.started || t.fresh || t.judge(f, now) != follows {
		return
	}
	t.inSeq, t.inBase = f.Seq, f.Seq+1
	t.seq = uint16(f.Seq) + t.off - 1 // what was lost before it stays lost
	t.off--
}

func (t *timeline) judge(f *bridge.Frame, now time.Time) judgement {
	if !t.started || t.fresh || t.lates >= maxLates {
		return jumps
	}
	event := f.Codec == bridge.TelephoneEvent
	step := int64(f.Seq - t.inSeq)
	drift := int64(f.Timestamp - t.refTS)
	if step <= 0 {
		switch {
		case step <= -maxLate, !event && (drift > 0 || drift < -clockRate):
			return jumps
		case f.Seq < t.inBase:
			return tooLate
		}
		return late
	}
	if event && t.event && f.Timestamp == t.eventIn {
		drift = 0
	} else {
		passed := int64(now.Sub(t.refAt)) * clockRate / int64(time.Second)
		if d := drift - passed; d > maxSlip || d < -maxSlip || drift < 0 && !event {
			return jumps
		}
	}
	if step > maxGap || step > 1+(max(drift, 0)+maxSlip)/unitsFrame {
		return jumps
	}
	return follows
}

// stamp is the outgoing timestamp of a frame of the current numbering.
func (t *timeline) stamp(f *bridge.Frame) uint32 {
	if f.Codec == bridge.TelephoneEvent && t.event && f.Timestamp == t.eventIn {
		return t.eventOut
	}
	return t.ts + uint32(f.Timestamp-t.refTS)
}

// jump begins a numbering with f.
func (t *timeline) jump(f *bridge.Frame, now time.Time) {
	if t.started {
		t.ts += uint32(elapsed(t.refAt, now))
	}
	t.seq++
	t.off = t.seq - uint16(f.Seq)
	t.inSeq, t.inBase = f.Seq, f.Seq
	t.refTS, t.refAt = f.Timestamp, now
	t.started, t.fresh, t.event, t.lates = true, false, false, 0
}

// at is the timestamp that belongs to a moment, for sender reports.
func (t *timeline) at(now time.Time) uint32 {
	if !t.started {
		return t.ts
	}
	return t.ts + uint32(int64(now.Sub(t.refAt))*clockRate/int64(time.Second))
}
