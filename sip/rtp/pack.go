package rtp

import (
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
)

// packer cuts speech into packets as long as the peer asked for, where what
// comes from the other side of the call is longer or shorter. It is for codecs
// in which each byte is one tick of the RTP clock, and so can be cut anywhere.
type packer struct {
	size  int // bytes of a packet; 0 = as they come
	most  int // bytes of a packet at most; 0 = any
	n     int // bytes that wait for more
	codec bridge.Codec
	ts    uint32 // of the first of them
	mark  bool
	buf   [maxPack]byte
}

// maxPack is 60 ms.
const maxPack = 480

// cuttable tells the codecs of which each byte is one tick.
func cuttable(c bridge.Codec) bool { return c == bridge.PCMU || c == bridge.PCMA || c == bridge.G722 }

// limit takes over what the peer asked for.
func (p *packer) limit(ptime, maxPtime time.Duration) {
	p.size, p.most = ticks(ptime), ticks(maxPtime)
}

func ticks(d time.Duration) int { return min(int(d.Milliseconds())*8, maxPack) }

// cuts tells whether a frame has to go through the packer, and how long the
// packets become.
func (p *packer) cuts(f *bridge.Frame) (size int, ok bool) {
	switch {
	case !cuttable(f.Codec):
		return 0, false
	case p.size > 0:
		return p.size, p.n > 0 || len(f.Payload) != p.size
	case p.most > 0:
		return p.most, p.n > 0 || len(f.Payload) > p.most
	}
	return 0, false
}

// repack sends what a frame completes, under numbers of its own: those of the
// frames leave gaps only where something was lost.
func (s *sender) repack(f *bridge.Frame, size int, now time.Time) {
	p := &s.pack
	before, started := s.line.seq, s.line.started && !s.line.fresh
	seq, ts, fresh, ok := s.line.place(f, now)
	if !ok || started && int16(seq-before) <= 0 {
		s.dropped++ // what it belonged to has been sent
		return
	}
	next := seq
	if p.n > 0 && (p.codec != f.Codec || p.ts+uint32(p.n) != ts || fresh) {
		if seq-before == 1 {
			next++
		}
		s.emit(before+1, now)
	}
	if p.n == 0 {
		p.ts = ts
	}
	p.codec, p.mark = f.Codec, p.mark || f.Marker || fresh
	for b := f.Payload; len(b) > 0; {
		n := copy(p.buf[p.n:size], b)
		p.n += n
		b = b[n:]
		if p.n == size {
			s.emit(next, now)
			next++
		}
	}
	s.line.seq += next - 1 - seq
	s.line.off += next - 1 - seq
}

// emit sends what waits in the packer as one packet.
func (s *sender) emit(seq uint16, now time.Time) {
	p := &s.pack
	s.header = rtp.Header{Version: 2, Marker: p.mark, PayloadType: uint8(s.types[p.codec]), SequenceNumber: seq, Timestamp: p.ts, SSRC: s.ssrc}
	n, err := s.header.MarshalTo(s.buf[:])
	n += copy(s.buf[n:], p.buf[:p.n])
	size := p.n
	p.ts += uint32(p.n)
	p.n, p.mark = 0, false
	s.leave(err, n, size, now)
}

// flush sends what waits, before something that must not be older.
func (s *sender) flush(now time.Time) {
	if s.pack.n > 0 && s.types[s.pack.codec] >= 0 {
		s.emit(s.line.insert(), now)
	}
	s.pack.n = 0
}
