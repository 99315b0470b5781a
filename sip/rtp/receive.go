package rtp

import (
	"net/netip"
	"sync"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

const (
	headerSize = 12
	maxPayload = 1400 // of a Frame, see bridge.Frame
	maxPacket  = 1500 // larger ones are not telephony, and malformed to us
	maxReports = 16   // RTCP packets in one compound
	clockRate  = 8000 // of every codec of this release
)

// receiver judges, counts and numbers what comes in. Its mutex is shared with
// whoever asks for numbers or changes the configuration, never with a call
// other than its own.
type receiver struct {
	mu     sync.Mutex
	latch  latch
	src    source
	codecs [128]int16 // codec by payload type number, -1 = not negotiated

	packet rtp.Packet
	frame  bridge.Frame
	num    numbering

	received, duplicate, foreign, malformed, unknown uint64
	lostBefore                                       uint64 // of sources that ended

	last time.Time // of the last packet handed on

	// What the next report says of the peer's last sender report.
	srMiddle uint32
	srAt     time.Time
}

// numbering carries the sequence and time of frames across restarts of the
// source, so that a sink sees one stream.
type numbering struct {
	shift    uint64 // frame number = extended number + shift
	before   uint64 // the same for packets before the last one left out
	leftOut  uint64 // extended number of the last one left out
	seq      uint64 // highest frame number given
	ts       uint64 // extended timestamp of the newest frame
	rtpTS    uint32 // the same as it came
	at       time.Time
	numbered bool
}

func (r *receiver) configure(remote netip.AddrPort, formats []sdp.Format) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latch.reopen(remote)
	for i := range r.codecs {
		r.codecs[i] = -1
	}
	for _, f := range formats {
		if c, ok := CodecOf(f); ok {
			r.codecs[f.Payload&127] = int16(c)
		}
	}
}

// take judges one datagram. If it returns true, r.frame is to be handed on.
// Called by one goroutine at a time, with mu held.
func (r *receiver) take(b []byte, from netip.AddrPort, now time.Time) bool {
	// The first two tests are Unmarshal's too, but a flood of rubbish must not
	// cost the allocation of an error each.
	if len(b) < headerSize || len(b) > maxPacket || b[0]>>6 != 2 ||
		r.packet.Unmarshal(b) != nil || len(r.packet.Payload) > maxPayload {
		r.malformed++
		return false
	}
	h := &r.packet.Header
	codec := r.codecs[h.PayloadType]
	if codec < 0 {
		r.leaveOut(h, from, now)
		return false
	}
	if !r.latch.admit(from, h.SSRC, now) {
		r.foreign++
		return false
	}
	seq, ok := r.place(h, now)
	if !ok {
		r.duplicate++
		return false
	}
	r.received++
	r.last = now
	if bridge.Codec(codec) != bridge.TelephoneEvent { // event packets repeat their timestamp
		r.src.time(h.Timestamp, now)
	}
	r.frame = bridge.Frame{
		Codec:     bridge.Codec(codec),
		Marker:    h.Marker,
		Seq:       seq,
		Timestamp: r.num.timestamp(h.Timestamp, now),
		Payload:   r.packet.Payload,
	}
	return true
}

// place gives the packet its frame number.
func (r *receiver) place(h *rtp.Header, now time.Time) (uint64, bool) {
	if !r.src.started || r.src.ssrc != h.SSRC {
		r.lostBefore += r.src.lost()
		ext := r.src.start(h.SSRC, h.SequenceNumber)
		return r.num.restart(ext, h.Timestamp, now), true
	}
	lost := r.src.lost()
	ext, ok, restarted := r.src.place(h.SequenceNumber)
	if restarted {
		r.lostBefore += lost
		return r.num.restart(ext, h.Timestamp, now), true
	}
	if !ok {
		return 0, false
	}
	return r.num.number(ext), true
}

// leaveOut counts a packet of a payload type nobody negotiated: in-flight media
// of the previous codec, or comfort noise that was not offered. It ends
// nothing, and the far end must not take it for loss.
func (r *receiver) leaveOut(h *rtp.Header, from netip.AddrPort, now time.Time) {
	if r.latch.locked.IsValid() && from != r.latch.locked && from != r.latch.sdp {
		r.foreign++
		return
	}
	r.unknown++
	if !r.src.started || r.src.ssrc != h.SSRC || !r.latch.current(from) {
		return
	}
	highest, lost := r.src.highest, r.src.lost()
	switch ext, ok, restarted := r.src.place(h.SequenceNumber); {
	case restarted:
		r.lostBefore += lost
		r.num.restart(ext, h.Timestamp, now)
	case ok && ext > highest:
		r.num.leaveOut(ext)
	}
}

// restart continues the numbers with the first packet of a new source: the next
// number, and a time as much later as it really is.
func (n *numbering) restart(ext uint64, rtpTS uint32, now time.Time) uint64 {
	if !n.numbered {
		*n = numbering{seq: ext, ts: 1<<32 | uint64(rtpTS), rtpTS: rtpTS, at: now, numbered: true}
		return ext
	}
	n.seq++
	n.ts += elapsed(n.at, now)
	n.shift, n.before, n.leftOut = n.seq-ext, n.seq-ext, 0
	n.rtpTS, n.at = rtpTS, now
	return n.seq
}

func (n *numbering) number(ext uint64) uint64 {
	shift := n.shift
	if ext < n.leftOut {
		shift = n.before
	}
	seq := ext + shift
	n.seq = max(n.seq, seq)
	return seq
}

func (n *numbering) leaveOut(ext uint64) {
	n.before = n.shift
	n.shift--
	n.leftOut = ext
	n.seq = max(n.seq, ext+n.shift)
}

// timestamp extends the 32 bits of a packet.
func (n *numbering) timestamp(rtpTS uint32, now time.Time) uint64 {
	ts := n.ts + uint64(int64(int32(rtpTS-n.rtpTS)))
	if int32(rtpTS-n.rtpTS) >= 0 {
		n.ts, n.rtpTS, n.at = ts, rtpTS, now
	}
	return ts
}

// elapsed is a time span in clock units, at least one usual packet.
func elapsed(from, to time.Time) uint64 {
	units := int64(to.Sub(from)) * clockRate / int64(time.Second)
	return uint64(max(units, clockRate/50))
}
