package rtp

import (
	"encoding/binary"
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
)

// receiver judges, counts and numbers what comes in. Its mutex is shared with
// whoever asks for numbers or changes the configuration, never with a call
// other than its own.
type receiver struct {
	mu    sync.Mutex
	latch latch
	open  opener
	src   source
	types [128]payloadType

	packet  rtp.Packet
	frame   bridge.Frame
	num     numbering
	event   eventLine
	hearing hearing
	keys    *keysIn // nil: nobody listens
	events  []byte  // a payload of events, as the seam has it; made with the first

	received, duplicate, foreign, malformed, unknown, undecrypted uint64
	lostBefore                                                    uint64 // of sources that ended

	last    time.Time // of the last packet handed on
	strange time.Time // of the last one of the peer's that nobody agreed on

	// What the next report says of the peer's last sender report.
	srMiddle uint32
	srAt     time.Time
}

// payloadType is what a payload type number means.
type payloadType struct {
	known bool
	codec bridge.Codec
	clock uint32 // in Hz
}

// aside tells what counts the clock of the speech beside it, and not its own
// (RFC 4733 section 2.1, RFC 3389 section 4).
func (t payloadType) aside() bool { return !t.codec.Speech() && t.codec.Kind() == bridge.Audio }

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
	clock    uint32 // in which ts and rtpTS count
	numbered bool
}

func (r *receiver) init(kind bridge.Kind) {
	r.num.clock = firstClock(kind)
	r.packet.CSRC = make([]uint32, 0, 15)
}

func (r *receiver) configure(remote netip.AddrPort, formats []sdp.Format, p sdp.Protection, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latch.reopen(remote)
	r.types = [128]payloadType{}
	for _, f := range formats {
		if c, ok := CodecOf(f); ok {
			r.types[f.Payload&127] = payloadType{true, c, uint32(f.Clock)}
		}
	}
	if f, ok := mainFormat(formats); ok && !r.num.numbered {
		r.num.clock = uint32(f.Clock)
	}
	return r.open.use(p, now)
}

// take judges one datagram. If it returns true, r.frame is to be handed on.
// Called by one goroutine at a time, with mu held.
func (r *receiver) take(b []byte, from netip.AddrPort, now time.Time) bool {
	// The first two tests are Unmarshal's too, but a flood of rubbish must not
	// cost the allocation of an error each.
	if len(b) < headerSize || len(b) > maxPacket || b[0]>>6 != 2 {
		r.malformed++
		return false
	}
	if r.open.locked {
		var ok bool
		if b, ok = r.unlock(b, from, now); !ok {
			return false
		}
	}
	if r.packet.Unmarshal(b) != nil || len(r.packet.Payload) > maxPayload {
		r.malformed++
		return false
	}
	h := &r.packet.Header
	kind := r.types[h.PayloadType]
	if !kind.known {
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
	r.frame = bridge.Frame{Codec: kind.codec, Marker: h.Marker, Seq: seq, Payload: r.packet.Payload}
	if !kind.aside() {
		r.num.reclock(kind.clock, h.Timestamp, now)
	}
	if kind.codec == bridge.TelephoneEvent {
		return r.takeEvent(h.Timestamp, kind.clock, now)
	}
	r.src.time(h.Timestamp, r.num.clock, now)
	r.frame.Timestamp = r.num.scaled(r.num.timestamp(h.Timestamp, now), kind.codec)
	if r.keys != nil {
		r.listen(&r.frame)
	}
	return true
}

// unlock takes the protection off a packet. What cannot be the peer's, or was
// heard before, is not worth the work.
func (r *receiver) unlock(b []byte, from netip.AddrPort, now time.Time) ([]byte, bool) {
	seq, ssrc := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[8:])
	if r.latch.stranger(from, ssrc, now) {
		r.foreign++
		return nil, false
	}
	if r.src.started && r.src.ssrc == ssrc && r.src.heard(seq) {
		r.duplicate++
		return nil, false
	}
	plain, err := r.open.rtp(b, now)
	if err != nil {
		r.undecrypted++
		return nil, false
	}
	return plain, true
}

// takeEvent completes the frame of an event: at the seam events have a clock of
// 8000 Hz, whatever is spoken beside them. It tells false of a digit that was
// heard already, in another way.
func (r *receiver) takeEvent(rtpTS, clock uint32, now time.Time) bool {
	n := &r.num
	begins := !r.event.known || r.event.raw != rtpTS
	r.frame.Timestamp = n.scaled(r.event.place(rtpTS, clock, n), bridge.TelephoneEvent)
	if n.near(rtpTS, clock) {
		n.timestamp(rtpTS, now) // the speech goes on from here
	}
	if clock != seamEvents {
		r.events = rescale(r.events[:0], r.packet.Payload, clock, seamEvents)
		r.frame.Payload = r.events
	}
	if p := r.packet.Payload; len(p) > 0 && int(p[0]) < len(eventKeys) {
		if begins {
			r.event.again = !r.hearing.heard(byEvent, eventKeys[p[0]], now)
		} else {
			r.hearing.lasts(byEvent, eventKeys[p[0]], now)
		}
	}
	if !r.event.again {
		return true
	}
	r.received--
	r.duplicate++
	n.takeBack(r.frame.Seq)
	return false
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
	if r.latch.current(from) || from == r.latch.sdp {
		r.strange = now
	}
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
		*n = numbering{seq: ext, ts: 1<<32 | uint64(rtpTS), rtpTS: rtpTS, at: now, clock: n.clock, numbered: true}
		return ext
	}
	n.seq++
	n.ts += elapsed(n.at, now, n.clock)
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

// takeBack leaves out a packet that has its number already.
func (n *numbering) takeBack(seq uint64) {
	if n.seq == seq {
		n.seq--
	}
	n.before, n.leftOut = n.shift, seq-n.shift
	n.shift--
}

func (n *numbering) leaveOut(ext uint64) {
	n.before = n.shift
	n.shift--
	n.leftOut = ext
	n.seq = max(n.seq, ext+n.shift)
}

// reclock goes on in another clock, when the peer changes to a codec that has
// one.
func (n *numbering) reclock(clock, rtpTS uint32, now time.Time) {
	if n.clock == clock {
		return
	}
	if n.rtpTS != rtpTS || n.at != now { // not what began the numbering
		n.ts += elapsed(n.at, now, n.clock)
	}
	n.ts = n.ts * uint64(clock) / uint64(n.clock)
	n.clock, n.rtpTS, n.at = clock, rtpTS, now
}

// scaled is a time of the stream in the clock that a codec has at the seam.
func (n *numbering) scaled(ts uint64, c bridge.Codec) uint64 {
	if clock := uint32(c.ClockRate()); clock != n.clock {
		return ts * uint64(clock) / uint64(n.clock)
	}
	return ts
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
func elapsed(from, to time.Time, clock uint32) uint64 {
	return uint64(max(units(to.Sub(from), clock), int64(clock/50)))
}

// units is a time span in clock units. Whole seconds go apart: their product
// with the clock of video leaves 64 bits after a day.
func units(d time.Duration, clock uint32) int64 {
	return int64(d/time.Second)*int64(clock) + int64(d%time.Second)*int64(clock)/int64(time.Second)
}
