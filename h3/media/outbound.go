package media

import (
	"sync"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
	"riptide/h3/chunk/seal"
)

const (
	kinds = 2 // of media: bridge.Audio and bridge.Video

	// queueMost is how many packets wait for a carrier that is there: 1.28 s of
	// speech at 20 ms each. pictureMost is the same for video, where a picture may
	// take a hundred.
	queueMost   = 64
	pictureMost = 256

	// backlogLast is how much speech is kept while there is no carrier, and
	// backlogMost how many packets that may be.
	backlogLast = 5 * time.Second
	backlogMost = 512
	// backlogPace is how many times faster than it was spoken the backlog is sent,
	// beside what is being said meanwhile: together that is four times real time.
	backlogPace = 3

	// keyframeEvery is the least time between two requests for a keyframe.
	keyframeEvery = 500 * time.Millisecond
)

// outbound is the sending half.
type outbound struct {
	mu       sync.Mutex
	closed   bool
	streams  [kinds]sender
	sent     uint64
	dropped  uint64
	asked    uint64    // keyframes the peer wanted
	lastAck  time.Time // received
	panicked time.Time

	origin time.Time // the clock of timestamps, which never jumps

	scratch chunk.Chunk
	pkg     []byte
	aad     []byte
}

// sender is the sending half of one stream.
type sender struct {
	kind     bridge.Kind
	active   bool
	stream   Stream
	peer     Stream // the peer's of the same kind, which we may ask for a keyframe
	isSealed bool
	sealer   *seal.Sealer // nil: what comes is sealed already

	num         numbering
	queue       queue
	backlog     queue     // speech, older than what waits in queue
	backlogDue  time.Time // the next of it goes out
	outstanding outstanding
	inFlight    int // messages whose fate is not known

	highest   uint64    // number given to a packet so far
	fullUntil uint64    // numbers are full until one from here on is acknowledged
	fullAt    time.Time // the last time they were
	lastSent  time.Time // anything
	codec     bridge.Codec
	clock     uint64

	wanted throttle // keyframes, of the peer
	ask    throttle // keyframes, of our own source
	broken bool     // packets were dropped: the peer's picture is no good
}

// throttle lets something happen now and then.
type throttle struct {
	want bool
	at   time.Time
}

// take tells whether it is to happen now; if only later, wait says when.
func (t *throttle) take(now time.Time) (ok bool, wait time.Duration) {
	if !t.want {
		return false, idleAfter
	}
	if wait := keyframeEvery - now.Sub(t.at); !t.at.IsZero() && wait > 0 {
		return false, wait
	}
	t.want, t.at = false, now
	return true, 0
}

// push takes a frame for the peer. away says that there is no carrier.
func (o *outbound) push(f *bridge.Frame, now time.Time, away bool) {
	s := &o.streams[f.Codec.Kind()]
	if f.Request != bridge.RequestNone {
		if f.Request == bridge.RequestKeyframe && s.kind == bridge.Video && s.peer != (Stream{}) {
			s.wanted.want = true
		}
		return
	}
	most := queueMost
	if s.kind == bridge.Video {
		most = pictureMost
	}
	switch {
	case o.closed || !s.active || !s.fits(f):
		o.dropped++
		return
	case away && s.kind == bridge.Video:
		o.dropped++
		s.broken = true
		return
	case s.queue.n == most && away:
		o.moveAside(s)
	case s.queue.n == most:
		o.dropOldest(s)
	}
	slot := s.queue.add(most)
	if !o.number(s, slot, f, now) {
		s.queue.undo()
		o.dropped++
		return
	}
	s.highest = max(s.highest, slot.seq)
	if away {
		o.putAside(s, now)
	}
}

// fits tells whether a frame can go out on the stream at all.
func (s *sender) fits(f *bridge.Frame) bool {
	most := MaxPayload
	if f.Sealed != nil {
		most += seal.MaxOverhead
		if !s.isSealed || s.sealer != nil {
			return false
		}
	} else if s.isSealed && s.sealer == nil {
		return false
	}
	return len(f.Payload) > 0 && len(f.Payload) <= most
}

// number fills a slot with a frame: under the numbers of the ends if it is
// sealed, else under our own.
func (o *outbound) number(s *sender, slot *slot, f *bridge.Frame, now time.Time) (ok bool) {
	slot.at, slot.codec, slot.marker = now, f.Codec, f.Marker
	slot.sealed, slot.noClock, slot.layers = false, false, chunk.Video{}
	slot.intra = f.Sealed == nil && intra(f.Codec, f.Payload)
	if e := f.Sealed; e != nil {
		slot.seq, slot.millis, slot.clock, slot.keyID = e.Seq, e.Time, e.Clock, e.KeyID
		slot.noClock = e.Has&(1<<chunk.TagClock) == 0
		slot.layers = chunk.Video{
			Has:            e.Has & (1<<chunk.TagReferenceFrame | 1<<chunk.TagSpatialLayer | 1<<chunk.TagTemporalLayer),
			ReferenceFrame: e.ReferenceFrame, SpatialLayer: e.SpatialLayer, TemporalLayer: e.TemporalLayer,
		}
		slot.sealed = true
		slot.payload = append(slot.payload[:0], f.Payload...)
		return true
	}
	slot.millis = o.millis(now)
	if slot.seq, slot.clock, ok = s.num.next(f.Codec, f.Seq, f.Timestamp, now); !ok {
		return false
	}
	slot.clock &= chunk.MaxNumber
	if s.sealer != nil {
		return o.seal(s, slot, f, now)
	}
	slot.payload = append(slot.payload[:0], f.Payload...)
	return true
}

// seal puts a frame into its slot, sealed.
func (o *outbound) seal(s *sender, slot *slot, f *bridge.Frame, now time.Time) (ok bool) {
	slot.seq, slot.keyID, ok = s.sealer.Next(slot.seq, now)
	if !ok {
		return false
	}
	slot.sealed = true
	c := &o.scratch
	*c = chunk.Chunk{
		Seq: chunk.FullNumber(slot.seq), Timestamp: chunk.FullNumber(slot.millis), Clock: chunk.FullNumber(slot.clock),
		PayloadType: uint64(slot.codec), Marker: slot.marker, KeyID: slot.keyID, Media: f.Payload,
	}
	o.aad, o.pkg = c.AppendAuthenticated(o.aad[:0]), c.AppendPackage(o.pkg[:0])
	c.Media = nil
	slot.payload = s.sealer.Seal(slot.payload[:0], slot.seq, o.aad, o.pkg)
	return true
}

// millis is the time of day as timestamps tell it: it began right, and goes on
// steadily when the machine's clock is set.
func (o *outbound) millis(now time.Time) uint64 {
	return uint64(o.origin.UnixMilli() + now.Sub(o.origin).Milliseconds())
}

// dropOldest gives up the oldest packet; of video all of its picture, which is
// no good without it, nor are those that build on it.
func (o *outbound) dropOldest(s *sender) {
	clock := s.queue.first().clock
	for {
		s.queue.drop()
		o.dropped++
		if first := s.queue.first(); s.kind == bridge.Audio || first == nil || first.clock != clock {
			break
		}
	}
	s.ask.want = s.kind == bridge.Video
}

// putAside moves speech that would be too old to be played to the backlog, and
// gives up what is older than the backlog may be.
func (o *outbound) putAside(s *sender, now time.Time) {
	for first := s.queue.first(); first != nil && now.Sub(first.at) > playable; first = s.queue.first() {
		o.moveAside(s)
	}
	for first := s.backlog.first(); first != nil && now.Sub(first.at) > backlogLast; first = s.backlog.first() {
		s.backlog.drop()
		o.dropped++
	}
}

func (o *outbound) moveAside(s *sender) {
	if s.backlog.n == backlogMost {
		s.backlog.drop()
		o.dropped++
	}
	s.queue.moveTo(&s.backlog, backlogMost)
}

// empty gives up all that waits on a stream.
func (o *outbound) empty(s *sender) {
	o.dropped += uint64(s.queue.n + s.backlog.n)
	s.queue, s.backlog = queue{}, queue{}
}

// waiting tells whether there is a packet to send.
func (o *outbound) waiting() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.streams[bridge.Audio].queue.n > 0 || o.streams[bridge.Video].queue.n > 0
}

// describe fills c with the packet of a slot. Numbers are truncated once the
// peer has acknowledged full ones, and full again every second, and where a
// picture begins that needs no other. The clock of what accompanies speech may
// run at another rate: it is always full.
func (s *sender) describe(c *chunk.Chunk, slot *slot, now time.Time) {
	*c = chunk.Chunk{
		Seq: chunk.FullNumber(slot.seq), Timestamp: chunk.FullNumber(slot.millis), Clock: chunk.FullNumber(slot.clock),
		PayloadType: uint64(slot.codec), Source: s.stream.Source, Sink: s.stream.Sink,
		Marker: slot.marker, Media: slot.payload, Video: slot.layers,
	}
	if slot.noClock {
		c.Clock = chunk.Number{}
	}
	if slot.sealed {
		c.Media, c.Sealed, c.KeyID = nil, slot.payload, slot.keyID
	}
	if !slot.codec.Aside() && slot.codec.ClockRate() != s.codec.ClockRate() {
		s.fullUntil = slot.seq
	}
	acked := s.outstanding.largestAcked
	if slot.intra || acked < s.fullUntil || acked == 0 || now.Sub(s.fullAt) >= fullEvery ||
		slot.seq-acked+maxWindow > 2*maxWindow || now.Sub(slot.at).Milliseconds() > maxMillis {
		s.fullAt = now
		return
	}
	c.Seq, c.Timestamp = chunk.Truncated(slot.seq, 2), chunk.Truncated(slot.millis, 2)
	if c.Clock.Len > 0 && !slot.codec.Aside() {
		c.Clock = chunk.Truncated(slot.clock, 4)
	}
}

// keepAlive fills c with a chunk that is no packet: no media, and the number of
// the last packet, all in full. If that was dropped, nothing else would tell the
// peer that there was one. It is clear also where packets are sealed: there is
// nothing in it.
func (o *outbound) keepAlive(c *chunk.Chunk, s *sender, now time.Time) {
	*c = chunk.Chunk{
		Seq: chunk.FullNumber(s.highest), Timestamp: chunk.FullNumber(o.millis(now)), Clock: chunk.FullNumber(s.clock),
		PayloadType: uint64(s.codec), Source: s.stream.Source, Sink: s.stream.Sink,
		Media: []byte{},
	}
	if s.highest == 0 {
		c.Clock = chunk.Number{} // nothing has been said yet, so there is no time of it
	}
}
