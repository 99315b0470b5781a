package rtp

import (
	"math/rand/v2"
	"time"

	"riptide/bridge"
)

// How far a frame may be from its predecessors and still belong to them.
const (
	maxSlip       = 3   // seconds by which timestamp and wall clock may disagree
	maxLate       = 32  // frames
	maxLateVideo  = 512 // packets: one picture may be hundreds
	maxLates      = 8   // late frames in a row: it is another source
	maxLatesVideo = 256
	maxGap        = maxDropout - 1
	perSecond     = 100 // frames at the shortest packet time of audio, 10 ms
)

// timeline maps the frames of whatever source is joined to one continuous RTP
// stream. Gaps in the source's numbers stay visible. A jump that no loss or
// silence explains is another source, or a restarted one: it continues with the
// next number, at the time that has really passed.
type timeline struct {
	clock uint32 // of the RTP stream, in Hz; frames may count another
	video bool   // many packets have one time, and pictures may come out of its order

	seq uint16 // highest number given out
	ts  uint32 // timestamp given out for refTS

	started bool
	fresh   bool   // the next frame begins anew
	inSeq   uint64 // newest frame seen
	inBase  uint64 // frames before it belong to another numbering
	off     uint16 // out = in + off
	refTS   uint64 // newest frame that is no event packet: those repeat their time; in our clock
	refAt   time.Time
	lates   int

	event    bool // an event has been sent since the last jump
	eventIn  uint64
	eventOut uint32
}

// newTimeline begins at random (RFC 3550 section 5.1), but in the lower half of
// the numbers: where the first packets are lost, a receiver must not take the
// first wrap for none (RFC 3711 section 3.3.1).
func newTimeline(clock uint32, video bool) timeline {
	return timeline{clock: clock, video: video, seq: uint16(rand.Uint32() >> 17), ts: rand.Uint32()}
}

// in is the time of a frame in our clock. Digits at the seam always count
// 8000 Hz, also beside Opus.
func (t *timeline) in(f *bridge.Frame) uint64 {
	if clock := uint32(f.Codec.ClockRate()); clock != t.clock {
		return f.Timestamp * uint64(t.clock) / uint64(clock)
	}
	return f.Timestamp
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
		t.ts, t.refTS, t.refAt = ts, t.in(f), now
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
	if !t.started || t.fresh || t.lates >= maxLatesVideo || t.lates >= maxLates && !t.video {
		return jumps
	}
	if t.video {
		return t.judgeVideo(f, now)
	}
	event := f.Codec == bridge.TelephoneEvent
	step := int64(f.Seq - t.inSeq)
	drift := int64(t.in(f) - t.refTS)
	if step <= 0 {
		switch {
		case step <= -maxLate, !event && (drift > 0 || drift < -int64(t.clock)):
			return jumps
		case f.Seq < t.inBase:
			return tooLate
		}
		return late
	}
	if event && t.event && f.Timestamp == t.eventIn {
		drift = 0
	} else if t.slipped(drift, now) || drift < 0 && !event {
		return jumps
	}
	if step > maxGap || step > 1+(max(drift, 0)+maxSlip*int64(t.clock))/int64(t.clock/perSecond) {
		return jumps
	}
	return follows
}

// judgeVideo goes by numbers and a rough look at the time: how many packets a
// picture takes says nothing, nor does the order of the pictures' times.
func (t *timeline) judgeVideo(f *bridge.Frame, now time.Time) judgement {
	step := int64(f.Seq - t.inSeq)
	switch {
	case t.slipped(int64(f.Timestamp-t.refTS), now), step > maxGap, step <= -maxLateVideo:
		return jumps
	case step > 0:
		return follows
	case f.Seq < t.inBase:
		return tooLate
	}
	return late
}

// slipped tells whether the time that passed explains no such drift.
func (t *timeline) slipped(drift int64, now time.Time) bool {
	d := drift - units(now.Sub(t.refAt), t.clock)
	limit := maxSlip * int64(t.clock)
	return d > limit || d < -limit
}

// stamp is the outgoing timestamp of a frame of the current numbering.
func (t *timeline) stamp(f *bridge.Frame) uint32 {
	if f.Codec == bridge.TelephoneEvent && t.event && f.Timestamp == t.eventIn {
		return t.eventOut
	}
	return t.ts + uint32(t.in(f)-t.refTS)
}

// jump begins a numbering with f.
func (t *timeline) jump(f *bridge.Frame, now time.Time) {
	if t.started {
		t.ts += uint32(elapsed(t.refAt, now, t.clock))
	}
	t.seq++
	t.off = t.seq - uint16(f.Seq)
	t.inSeq, t.inBase = f.Seq, f.Seq
	t.refTS, t.refAt = t.in(f), now
	t.started, t.fresh, t.event, t.lates = true, false, false, 0
}

// at is the timestamp that belongs to a moment, for sender reports.
func (t *timeline) at(now time.Time) uint32 {
	if !t.started {
		return t.ts
	}
	return t.ts + uint32(units(now.Sub(t.refAt), t.clock))
}
