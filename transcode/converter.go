package transcode

// Kind says what a packet of a converted stream is.
type Kind uint8

// The kinds.
const (
	Speech Kind = iota // of the codec that is converted
	Quiet              // RFC 3389 comfort noise
	Aside              // passes as it is, in its place: digits
)

// Packet is one packet of a stream that goes through a Converter.
type Packet struct {
	Kind    Kind
	Tag     uint8  // of the caller's; comes out with packets that go Aside
	Marker  bool   // first of a talk spurt
	Seq     uint64 // number in the stream
	Time    uint64 // of the first sample, in samples
	Payload []byte
}

// Limits of a Converter.
const (
	maxParked  = 2                       // packets that wait for one that was overtaken
	maxStep    = 100                     // a jump in numbers beyond this is another stream, not loss
	maxConceal = 200 * SampleRate / 1000 // samples made up for one gap
	maxPayload = 1400

	// quietEvery is how often comfort noise is repeated while it lasts: often
	// enough to show that somebody is there.
	quietEvery = 200 * SampleRate / 1000
)

// Converter turns one stream of speech into one of another codec: it puts the
// packets into their order, conceals what is lost, and cuts the samples into
// packets of a length of its own, with numbers of their own.
//
// A packet behind a gap waits until two more have come, so that one that was
// merely overtaken is heard. What is lost for good is concealed by the decoder if
// it can do so better than the listener's (Opus, which carries copies), else
// it stays a gap in the numbers.
type Converter struct {
	dec      Decoder
	enc      Encoder
	conceals bool // the decoder knows better than who hears a gap
	quiet    bool // the listener takes comfort noise
	frame    int  // samples per packet

	started bool
	last    uint64 // number of the packet taken last
	next    uint64 // time of the sample after it
	seq     uint64 // number of the packet given out last
	marker  bool   // the next packet begins a talk spurt
	inQuiet bool   // the last thing said was comfort noise
	quietAt uint64 // when

	pending []int16 // samples that fill no packet yet
	from    uint64  // time of the first of them
	payload []byte
	noise   *Noise

	parked  [maxParked + 1]parkedPacket
	waiting int

	late, broken uint64
}

type parkedPacket struct {
	Packet
	used bool
	buf  [maxPayload]byte
}

// Options of a Converter.
type Options struct {
	Decoder  Decoder
	Encoder  Encoder
	Frame    int    // samples per packet given out
	Conceals bool   // fill gaps with what the decoder makes up
	Quiet    bool   // give out comfort noise packets
	Seq      uint64 // number before the first
}

// NewConverter makes a converter.
func NewConverter(o Options) *Converter {
	return &Converter{
		dec: o.Decoder, enc: o.Encoder, conceals: o.Conceals, quiet: o.Quiet, frame: o.Frame, seq: o.Seq,
		pending: make([]int16, 0, 2*maxOpusSamples), payload: make([]byte, 0, maxPayload),
	}
}

// Seq is the number of the packet given out last.
func (c *Converter) Seq() uint64 { return c.seq }

// Dropped counts packets that came too late, and those that could not be decoded.
func (c *Converter) Dropped() (late, broken uint64) { return c.late, c.broken }

// Take takes the next packet as it comes from the network, and gives out what it
// makes ready. A packet given out is valid until give returns.
func (c *Converter) Take(p Packet, give func(Packet)) {
	ahead := int64(p.Seq - c.last)
	switch {
	case !c.started || ahead > maxStep || ahead < -maxStep:
		c.release(give)
		c.restart(p, give)
		c.process(p, give)
	case ahead <= 0:
		c.late++
	case ahead == 1:
		c.process(p, give)
		c.drain(give)
	case len(p.Payload) > maxPayload:
		c.broken++
	default:
		c.park(p)
		if c.waiting > maxParked {
			c.processFirst(give)
			c.drain(give)
		}
	}
}

// restart begins anew with p: the first packet, or one of another stream.
func (c *Converter) restart(p Packet, give func(Packet)) {
	if c.started {
		c.flush(give)
	}
	c.started, c.marker = true, true
	c.last, c.next, c.from = p.Seq-1, p.Time, p.Time
}

func (c *Converter) park(p Packet) {
	free := -1
	for i := range c.parked {
		switch s := &c.parked[i]; {
		case s.used && s.Seq == p.Seq:
			c.late++ // a duplicate
			return
		case !s.used:
			free = i
		}
	}
	s := &c.parked[free]
	s.Packet, s.used = p, true
	s.Payload = s.buf[:copy(s.buf[:], p.Payload)]
	c.waiting++
}

// processFirst gives up on what is missing before the first parked packet.
func (c *Converter) processFirst(give func(Packet)) {
	var first *parkedPacket
	for i := range c.parked {
		if s := &c.parked[i]; s.used && (first == nil || s.Seq-c.last < first.Seq-c.last) {
			first = s
		}
	}
	if first != nil {
		first.used = false
		c.waiting--
		c.process(first.Packet, give)
	}
}

// drain takes the parked packets that are next in line.
func (c *Converter) drain(give func(Packet)) {
	for again := c.waiting > 0; again; {
		again = false
		for i := range c.parked {
			if s := &c.parked[i]; s.used && s.Seq == c.last+1 {
				s.used = false
				c.waiting--
				c.process(s.Packet, give)
				again = true
			}
		}
	}
}

// release takes all that is parked, gaps or not.
func (c *Converter) release(give func(Packet)) {
	for c.waiting > 0 {
		c.processFirst(give)
	}
}

// process takes a packet whose turn it is.
func (c *Converter) process(p Packet, give func(Packet)) {
	lost := p.Seq - c.last - 1
	c.last = p.Seq
	switch p.Kind {
	case Aside:
		if lost > 0 {
			c.flush(give)
			c.seq += lost
		}
		c.give(p, give)
		return
	case Quiet:
		c.align(p.Time, lost, nil, give)
		c.takeQuiet(p, give)
		return
	}
	c.align(p.Time, lost, p.Payload, give)
	if c.quiet && c.conceals && opusSilent(p.Payload) {
		c.silence(p, give)
		return
	}
	before := len(c.pending)
	samples, err := c.dec.Decode(c.pending, p.Payload)
	c.pending = samples
	if err != nil {
		c.broken++
		return
	}
	c.marker = c.marker || p.Marker
	c.inQuiet = false
	c.next = p.Time + uint64(len(samples)-before)
	c.cut(give)
}

// align makes the samples pending end where the packet at a time begins.
func (c *Converter) align(at, lost uint64, next []byte, give func(Packet)) {
	gap := int64(at - c.next)
	if gap == 0 && lost == 0 {
		return
	}
	if c.conceals && lost > 0 && gap > 0 && gap <= maxConceal {
		c.pending = c.dec.Conceal(c.pending, int(gap), next)
		c.next = at
		c.cut(give)
		return
	}
	c.flush(give)
	if lost > 0 {
		frames := lost // as many of ours as they take time
		if gap > 0 {
			frames = uint64(gap) / uint64(c.frame)
		}
		c.seq += min(frames, maxStep)
	} else {
		c.marker = true // silence, and then speech
	}
	c.next, c.from = at, at
}

// cut gives out what fills whole packets.
func (c *Converter) cut(give func(Packet)) {
	for len(c.pending) >= c.frame {
		c.encode(c.pending[:c.frame], give)
		c.pending = append(c.pending[:0], c.pending[c.frame:]...)
	}
}

// flush gives out the samples that fill no packet, filled up.
func (c *Converter) flush(give func(Packet)) {
	if n := len(c.pending); n > 0 {
		c.pending = fade(c.pending, c.frame-n)
		c.cut(give)
	}
	c.from = c.next
}

// fade appends n samples that lead from the last one to silence.
func fade(dst []int16, n int) []int16 {
	last := dst[len(dst)-1]
	for i := range n {
		dst = append(dst, int16(int(last)*(n-1-i)/n))
	}
	return dst
}

func (c *Converter) encode(samples []int16, give func(Packet)) {
	var err error
	if c.payload, err = c.enc.Encode(c.payload[:0], samples); err != nil {
		c.broken++
		c.from += uint64(len(samples))
		return
	}
	p := Packet{Kind: Speech, Marker: c.marker, Time: c.from, Payload: c.payload}
	c.marker = false
	c.from += uint64(len(samples))
	c.give(p, give)
}

func (c *Converter) give(p Packet, give func(Packet)) {
	c.seq++
	p.Seq = c.seq
	give(p)
}

// takeQuiet hands comfort noise on, or makes it heard: a packet of noise, so that
// a listener who knows no comfort noise hears no dead line.
func (c *Converter) takeQuiet(p Packet, give func(Packet)) {
	params, err := ParseNoise(p.Payload)
	if err != nil {
		c.broken++
		return
	}
	c.flush(give)
	c.marker = true
	if c.quiet {
		c.give(p, give)
		return
	}
	if c.noise == nil {
		c.noise = NewNoise(p.Time)
	}
	c.noise.Set(params)
	c.pending = c.noise.Append(c.pending, c.frame)
	c.next = p.Time + uint64(c.frame)
	c.cut(give)
}

// silence turns a packet of a sender that has fallen silent into comfort noise
// as loud as the decoder makes it.
func (c *Converter) silence(p Packet, give func(Packet)) {
	n := len(c.pending)
	samples, err := c.dec.Decode(c.pending, p.Payload)
	if err != nil {
		c.pending, c.broken = samples[:n], c.broken+1
		return
	}
	heard := samples[n:]
	level := levelDBov(heard)
	c.next = p.Time + uint64(len(heard))
	c.pending = samples[:n]
	c.flush(give)
	c.marker = true
	if c.inQuiet && p.Time-c.quietAt < quietEvery {
		return // the listener goes on by himself
	}
	c.inQuiet, c.quietAt = true, p.Time
	c.payload = NoiseParams{Level: level}.Append(c.payload[:0])
	c.give(Packet{Kind: Quiet, Time: p.Time, Payload: c.payload}, give)
}
