package bridge

import (
	"sync"
	"sync/atomic"

	"riptide/transcode"
)

// maxPayload is the largest payload a frame carries.
const maxPayload = 1400

// pump is the sink between two ports: it hands frames on untouched where the
// far side takes them as they are, and converts where it does not. It has no
// goroutine and no queue, unless a codec is in the way that is too costly for
// the goroutine that receives packets: then all audio goes through a workshop.
type pump struct {
	dst   MediaPort
	fresh func() bool               // whether media may be sent now; nil: always
	plan  atomic.Pointer[MediaPlan] // nil: media is not agreed on yet

	first atomic.Pointer[func()] // told of the first frame, and forgotten

	passed, converted, noise, dropped atomic.Uint64

	workshop atomic.Pointer[workshop] // nil: none was needed so far

	// Only frames that must be converted take the lock, and only with frames
	// of their own direction of their own call.
	mu     sync.Mutex
	closed bool
	work   *bench // nil: nothing had to be converted so far
}

// bench is what conversion needs, kept so that it allocates nothing. Most calls
// never do, and there are two pumps in each.
type bench struct {
	payload [maxPayload]byte
	samples [maxPayload]int16
	out     Frame
	noise   *transcode.Noise
}

// bench is called with the lock held.
func (p *pump) bench() *bench {
	if p.work == nil {
		p.work = &bench{}
	}
	return p.work
}

func newPump(dst MediaPort) *pump { return &pump{dst: dst} }

// pump is one of a call of this node.
func (b *Bridge) pump(dst MediaPort) *pump {
	p := newPump(dst)
	if b.ledger != nil && !b.cfg.CarryOn {
		p.fresh = b.cfg.Members.Fresh
	}
	return p
}

// use sets what the far side takes. Frames under way finish on the old plan.
func (p *pump) use(plan MediaPlan) { p.plan.Store(&plan) }

// Push implements Sink.
func (p *pump) Push(f *Frame) {
	if first := p.first.Load(); first != nil && p.first.CompareAndSwap(first, nil) {
		(*first)()
	}
	plan := p.plan.Load()
	switch {
	case plan == nil, p.fresh != nil && !p.fresh():
		p.dropped.Add(1)
	case f.Request != RequestNone:
		p.dst.Push(f)
	case plan.Sealed != (f.Sealed != nil):
		p.dropped.Add(1) // clear media on a sealed call, or the reverse
	case f.Codec.Kind() == Video:
		if plan.Video == nil || f.Codec != plan.Video.Codec {
			p.dropped.Add(1)
			return
		}
		p.passed.Add(1)
		p.dst.Push(f)
	default:
		p.audio(f, plan)
	}
}

// audio hands a frame of speech or of what accompanies it on.
func (p *pump) audio(f *Frame, plan *MediaPlan) {
	if w := p.workshop.Load(); w != nil {
		w.push(f)
		return
	}
	switch {
	case f.Codec == plan.Speech,
		f.Codec == TelephoneEvent && plan.Digits,
		f.Codec == ComfortNoise && plan.ComfortNoise:
		p.passed.Add(1)
		p.dst.Push(f)
	case len(f.Payload) > maxPayload:
		p.dropped.Add(1)
	case f.Codec.companded() && plan.Speech.companded():
		p.converted.Add(1)
		p.convert(f, plan.Speech)
	case f.Codec == ComfortNoise && plan.Speech.companded():
		p.noise.Add(1)
		p.renderNoise(f, plan)
	case f.Codec.Converts() && plan.Speech.Converts(),
		f.Codec == ComfortNoise && plan.Speech.Converts():
		p.open(f)
	default:
		// A digit for a peer without telephone-event, or a codec nobody has.
		p.dropped.Add(1)
	}
}

// open begins a workshop with its first frame.
func (p *pump) open(f *Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.dropped.Add(1)
		return
	}
	w := p.workshop.Load()
	if w == nil {
		w = newWorkshop(p)
		p.workshop.Store(w)
	}
	w.push(f)
}

// close ends the workshop, if there is one, and waits for it. What it has not
// done yet is nobody's any more. It may be called again.
func (p *pump) close() {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	w := p.workshop.Load()
	p.mu.Unlock()
	if w != nil && !again {
		w.close()
	}
}

// companded tells the codecs that one look into a table converts.
func (c Codec) companded() bool { return c == PCMU || c == PCMA }

// law is the G.711 law of a speech codec.
func (c Codec) law() transcode.Law {
	if c == PCMA {
		return transcode.ALaw
	}
	return transcode.MuLaw
}

func (p *pump) convert(f *Frame, to Codec) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.bench()
	b.out = *f
	b.out.Codec = to
	b.out.Payload = transcode.Convert(b.payload[:0], f.Payload, f.Codec.law(), to.law())
	p.dst.Push(&b.out)
}

// renderNoise turns a comfort noise packet into one packet of noise, for a peer
// that did not negotiate it: without one it would hear a dead line.
func (p *pump) renderNoise(f *Frame, plan *MediaPlan) {
	params, err := transcode.ParseNoise(f.Payload)
	if err != nil {
		p.dropped.Add(1)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.bench()
	if b.noise == nil {
		b.noise = transcode.NewNoise(f.Timestamp)
	}
	b.noise.Set(params)
	n := min(int(plan.Ptime.Seconds()*float64(transcode.SampleRate)), maxPayload)
	b.out = *f
	b.out.Codec = plan.Speech
	b.out.Payload = plan.Speech.law().Encode(b.payload[:0], b.noise.Append(b.samples[:0], n))
	p.dst.Push(&b.out)
}
