package rtp

import "time"

// Limits of the numbering of one source (RFC 3550 appendix A.1).
const (
	maxDropout = 3000 // a jump ahead beyond this is a restart, not loss
	seqWindow  = 1024 // how far back a late packet can still be placed

	noBadSeq = 1 << 16
)

// source counts what one SSRC sends. Within a source,
// lost = expected - arrived (RFC 3550 appendix A.3).
type source struct {
	ssrc    uint32
	started bool
	base    uint64 // extended sequence numbers
	highest uint64
	arrived uint64 // distinct packets
	seen    [seqWindow / 64]uint64
	badSeq  uint32 // the number that would prove a restart

	expectedPrior, arrivedPrior uint64 // at the last report

	transit   int64 // relative, in clock units
	timed     bool  // transit is set
	jitter    int64 // 16 times the estimate of RFC 3550 appendix A.8
	clockRate int64 // of transit and jitter
}

// start begins with a first packet. The cycles start at 1, so that packets from
// before the first have a number too.
func (s *source) start(ssrc uint32, seq uint16) uint64 {
	first := 1<<16 | uint64(seq)
	*s = source{ssrc: ssrc, started: true, base: first, highest: first, arrived: 1, badSeq: noBadSeq}
	s.mark(first)
	return first
}

// place gives a packet its extended number. ok is false for one seen before or
// too old to place. restarted means that the numbering began anew with this
// packet: two packets in a row far from the rest prove it.
func (s *source) place(seq uint16) (ext uint64, ok, restarted bool) {
	delta := int64(int16(seq - uint16(s.highest)))
	switch {
	case delta > 0 && delta < maxDropout:
		s.advance(uint64(delta))
	case delta <= 0 && delta > -seqWindow:
		ext = s.highest - uint64(-delta)
		if s.marked(ext) {
			return ext, false, false
		}
		s.base = min(s.base, ext)
		s.arrived++
		s.mark(ext)
		s.badSeq = noBadSeq
		return ext, true, false
	case uint32(seq) == s.badSeq:
		return s.start(s.ssrc, seq), true, true
	default:
		s.badSeq = uint32(seq + 1)
		return 0, false, false
	}
	s.arrived++
	s.badSeq = noBadSeq
	s.mark(s.highest)
	return s.highest, true, false
}

// heard tells, without counting it, whether a number was seen before.
func (s *source) heard(seq uint16) bool {
	delta := int64(int16(seq - uint16(s.highest)))
	return delta <= 0 && delta > -seqWindow && s.marked(s.highest-uint64(-delta))
}

// advance moves the window on; the places it gains are unseen.
func (s *source) advance(by uint64) {
	if by >= seqWindow {
		s.seen = [seqWindow / 64]uint64{}
		s.highest += by
		return
	}
	for range by {
		s.highest++
		i := s.highest % seqWindow
		s.seen[i/64] &^= 1 << (i % 64)
	}
}

func (s *source) mark(ext uint64) {
	i := ext % seqWindow
	s.seen[i/64] |= 1 << (i % 64)
}

func (s *source) marked(ext uint64) bool {
	i := ext % seqWindow
	return s.seen[i/64]&(1<<(i%64)) != 0
}

func (s *source) expected() uint64 {
	if !s.started {
		return 0
	}
	return s.highest - s.base + 1
}

func (s *source) lost() uint64 { return s.expected() - s.arrived }

// fraction is the part lost since the last report, in 1/256.
func (s *source) fraction() uint8 {
	expected := s.expected() - s.expectedPrior
	arrived := s.arrived - s.arrivedPrior
	s.expectedPrior, s.arrivedPrior = s.expected(), s.arrived
	if expected == 0 || arrived >= expected { // late ones can make it negative
		return 0
	}
	return uint8(min((expected-arrived)<<8/expected, 255))
}

// time updates the jitter with one packet's arrival (RFC 3550 appendix A.8).
// What was measured in another clock is forgotten (RFC 7160 section 4.3).
func (s *source) time(timestamp uint32, clock uint32, now time.Time) {
	if s.clockRate != int64(clock) {
		s.clockRate, s.timed, s.jitter = int64(clock), false, 0
	}
	arrival := now.UnixMicro() * s.clockRate / 1_000_000
	transit := arrival - int64(timestamp)
	if s.timed {
		// The timestamp wraps, so the difference is taken in 32 bits.
		d := int64(int32(uint32(transit - s.transit)))
		if d < 0 {
			d = -d
		}
		s.jitter += d - (s.jitter+8)>>4
	}
	s.transit, s.timed = transit, true
}

func (s *source) jitterUnits() uint32 { return uint32(s.jitter >> 4) }

func (s *source) jitterTime() time.Duration {
	if s.clockRate == 0 {
		return 0
	}
	return time.Duration(s.jitter>>4) * time.Second / time.Duration(s.clockRate)
}
