package media

import (
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
	"riptide/h3/chunk/seal"
)

// receiver is the receiving half of one stream.
type receiver struct {
	kind     bridge.Kind
	stream   Stream
	accept   [4]uint64 // bitmap of payload types
	isSealed bool
	opener   *seal.Opener // nil: what comes sealed is handed on as it is

	track  tracker
	began  uint64     // epoch of the carrier by which the peer's numbering began, if it began anew
	newest uint64     // epoch, of those by which packets came
	frames continuity // the peer may start anew, the frames do not
	millis uint64     // latest timestamp
	clocks [3]clock   // by rate
	late   lateness
	order  order
	jitter jitter

	frame  bridge.Frame
	sealed bridge.Sealed
	aad    []byte
	pkg    []byte

	unacked   int       // packets since the last acknowledgement went out
	unackedAt time.Time // when the first of them came
	latestAt  time.Time // when the one with the highest number came
}

// clock is the latest media clock of one rate.
type clock struct {
	rate  int // 0: none yet
	value uint64
}

// numbers of a chunk, completed.
type numbers struct{ seq, millis, clock uint64 }

// direct sets what the directives say.
func (r *receiver) direct(st Streams, keys *seal.Session) {
	r.stream, r.isSealed, r.accept = st.Receive, st.Sealed, [4]uint64{}
	for _, c := range st.Accept {
		r.accept[c/64] |= 1 << (c % 64)
	}
	if r.opener == nil && st.Sealed && keys != nil {
		r.opener = keys.Opener(sealKind(r.kind))
	}
}

// accepts tells whether the peer may send a payload type.
func (r *receiver) accepts(pt uint64) bool {
	return pt <= 255 && r.accept[pt/64]&(1<<(pt%64)) != 0
}

// media handles a media chunk, and tells whether an acknowledgement has become
// due some time. It is called with in locked.
func (in *inbound) media(c *chunk.Chunk, now time.Time) (poke bool) {
	r := in.receiverOf(c)
	if r == nil {
		in.stats.Foreign++
		return false
	}
	before := in.epoch < r.began // it is of another numbering, of which nothing is known any more
	if before && !full(c) {
		in.stats.Late++
		return false
	}
	n, ok := r.complete(c)
	if !ok {
		in.stats.Malformed++
		return false
	}
	in.heard(now)
	if c.Sealed == nil && len(c.Media) == 0 {
		// Keeps the stream alive. It bears the number of the last packet, so that
		// one that was lost before a silence is known to be.
		r.track.sent(n.seq)
		if in.sink != nil {
			r.order.release(now, in.sink)
		}
		return r.owe(now)
	}
	if r.track.has(n.seq) {
		in.stats.Duplicate++
		return r.owe(now)
	}
	sealed := c.Sealed != nil
	if sealed && r.opener != nil && !r.open(c, n, now) {
		in.stats.Malformed++ // it never came: nothing of it is remembered
		return false
	}
	if before && r.track.far(n.seq) {
		in.stats.Late++
		return false
	}
	// Who takes a call over has opened a carrier of his own: the first packet by it
	// says so, and need not wait for others that bear it out.
	verdict := r.track.place(n.seq, in.epoch > r.newest && full(c))
	if verdict == duplicate {
		in.stats.Duplicate++
		return r.owe(now)
	}
	if n.seq == r.track.highest {
		r.latestAt = now
	}
	r.newest = max(r.newest, in.epoch)
	if verdict == restarted {
		r.began = in.epoch
	}
	r.remember(c, n, verdict == restarted)
	if !r.accepts(c.PayloadType) || r.isSealed != sealed {
		in.stats.UnknownPayload++
	} else {
		in.deliver(r, c, n, now, verdict == restarted)
	}
	return r.owe(now)
}

// receiverOf is what takes the stream of a chunk; nil if that is none of ours.
func (in *inbound) receiverOf(c *chunk.Chunk) (r *receiver) {
	for kind := range in.streams {
		if (Stream{c.Source, c.Sink}) == in.streams[kind].stream {
			r = &in.streams[kind]
		}
	}
	return r
}

// heard notes that something came, and tells whoever waits for that.
func (in *inbound) heard(now time.Time) {
	in.lastAny = now
	if in.awaited == nil {
		return
	}
	select {
	case in.awaited <- now:
	default: // what waits there is older
	}
	in.awaited = nil
}

// owe notes that the peer is owed an acknowledgement.
func (r *receiver) owe(now time.Time) (poke bool) {
	r.unacked++
	if r.unacked == 1 {
		r.unackedAt = now
	}
	return r.unacked == 1 || r.unacked == ackMost
}

// full tells whether nothing of a chunk's numbers was left out.
func full(c *chunk.Chunk) bool {
	return c.Seq.Len >= chunk.Full && c.Timestamp.Len >= chunk.Full && (c.Clock.Len == 0 || c.Clock.Len >= chunk.Full)
}

// complete restores the numbers of a chunk. It is not ok if there is nothing to
// complete them from.
func (r *receiver) complete(c *chunk.Chunk) (n numbers, ok bool) {
	if (c.Seq.Len < chunk.Full || c.Timestamp.Len < chunk.Full) && !r.track.started {
		return n, false
	}
	n.seq = c.Seq.Near(r.track.highest + 1)
	n.millis = c.Timestamp.Near(r.millis)
	rate := rateOf(c.PayloadType, r.kind)
	if c.Clock.Len == 0 {
		n.clock = n.millis * uint64(rate) / 1000
		return n, true
	}
	seen := r.clock(rate)
	if c.Clock.Len < chunk.Full && (seen == nil || seen.rate == 0) {
		return n, false
	}
	n.clock = c.Clock.Value
	if seen != nil {
		n.clock = c.Clock.Near(seen.value)
	}
	return n, true
}

// rateOf is the clock rate of a payload type, also of one we do not know.
func rateOf(pt uint64, k bridge.Kind) int {
	if pt > 255 || bridge.Codec(pt).Kind() != k {
		return int(base(k))
	}
	return bridge.Codec(pt).ClockRate()
}

// clock is the place of a rate: its own, or the first that is free; nil if there
// is none.
func (r *receiver) clock(rate int) *clock {
	for i := range r.clocks {
		if c := &r.clocks[i]; c.rate == rate || c.rate == 0 {
			return c
		}
	}
	return nil
}

// open turns a sealed chunk into a clear one, if it is what the far end sealed.
func (r *receiver) open(c *chunk.Chunk, n numbers, now time.Time) (ok bool) {
	whole := *c
	whole.Seq.Value, whole.Timestamp.Value = n.seq, n.millis
	if c.Clock.Len > 0 {
		whole.Clock.Value = n.clock
	}
	r.aad = whole.AppendAuthenticated(r.aad[:0])
	var err error
	if r.pkg, err = r.opener.Open(r.pkg[:0], c.KeyID, n.seq, r.aad, c.Sealed, now); err != nil {
		return false
	}
	media, err := chunk.ParsePackage(r.pkg)
	if err != nil {
		return false
	}
	c.Media, c.Sealed = media, nil
	return true
}

// remember keeps the numbers of a chunk, to complete those of others by.
func (r *receiver) remember(c *chunk.Chunk, n numbers, restart bool) {
	if restart {
		r.clocks, r.millis, r.late = [len(r.clocks)]clock{}, 0, lateness{}
	}
	r.millis = max(r.millis, n.millis)
	rate := rateOf(c.PayloadType, r.kind)
	if seen := r.clock(rate); seen != nil && c.Clock.Len > 0 {
		seen.rate, seen.value = rate, max(seen.value, n.clock)
	}
}

// deliver hands a packet to the sink.
func (in *inbound) deliver(r *receiver, c *chunk.Chunk, n numbers, now time.Time, restart bool) {
	codec := bridge.Codec(c.PayloadType)
	old := r.late.tooOld(n.millis, n.seq == r.track.highest, now)
	if old && r.kind == bridge.Audio && codec != bridge.TelephoneEvent {
		in.stats.Late++
		return
	}
	in.stats.Received++
	if !codec.Aside() {
		r.jitter.add(n.clock, uint64(codec.ClockRate()), now)
	}
	seq, ts := r.frames.next(codec, n.seq, n.clock, restart, now)
	if in.sink == nil {
		in.stats.Unheard++
		return
	}
	r.frame = bridge.Frame{Codec: codec, Marker: c.Marker || restart && r.kind == bridge.Audio, Seq: seq, Timestamp: ts, Payload: c.Media}
	if c.Sealed != nil {
		r.hand(c, n)
	}
	// Video mixes datagrams and streams.
	if in.ordered || r.kind == bridge.Video {
		r.order.take(&r.frame, now, in.sink)
	} else {
		r.order.flush(in.sink) // what other carriers brought before
		in.sink.Push(&r.frame)
	}
	r.frame.Payload = nil
}

// hand fills the frame with what is sealed, as the ends of the call have it.
func (r *receiver) hand(c *chunk.Chunk, n numbers) {
	v := &c.Video
	r.sealed = bridge.Sealed{
		KeyID: c.KeyID, Seq: n.seq, Time: n.millis,
		Has: v.Has &^ (1 << chunk.TagAudioLevel), ReferenceFrame: v.ReferenceFrame, SpatialLayer: v.SpatialLayer, TemporalLayer: v.TemporalLayer,
	}
	if c.Clock.Len > 0 {
		r.sealed.Clock, r.sealed.Has = n.clock, r.sealed.Has|1<<chunk.TagClock
	}
	r.frame.Payload, r.frame.Sealed = c.Sealed, &r.sealed
	r.frame.Marker = c.Marker
}

// continuity keeps the numbers of frames going when those of the peer jump. As
// in numbering, times are added to in units of the kind's base.
type continuity struct {
	seqOff, tsOff uint64 // added, modulo 2^64
	seq, ts       uint64 // of the latest frame
	at            time.Time
}

func (c *continuity) next(codec bridge.Codec, seq, clock uint64, restart bool, now time.Time) (frameSeq, frameTS uint64) {
	mult := multiple(codec)
	if restart {
		c.seqOff = c.seq + 1 - seq
		c.tsOff = c.ts + elapsed(c.at, now, base(codec.Kind())) - clock/mult
	}
	frameSeq, frameTS = seq+c.seqOff, clock+c.tsOff*mult
	if c.at.IsZero() || frameSeq > c.seq {
		c.seq, c.ts, c.at = frameSeq, frameTS/mult, now
	}
	return frameSeq, frameTS
}
