package bridge

import (
	"sync"
	"time"

	"riptide/bridge/format"
	"riptide/transcode"
)

// workshop converts the audio of one direction of one call between codecs that
// take too long for the goroutine that receives packets. It has a goroutine of
// its own, which the pump waits for, and a short queue: what does not fit any
// more pushes out the oldest, and is made up for as if it had been lost.
//
// Once it is there all audio of the direction goes through it, digits too, so
// that everything stays in its order and the numbers are of one kind.
type workshop struct {
	pump *pump

	mu     sync.Mutex
	queue  [queued]job // a ring
	first  int
	length int

	wake chan struct{} // one element: there is work
	stop chan struct{}
	done chan struct{}

	// What follows belongs to the goroutine.
	now  job
	kind conversion
	conv *transcode.Converter
	out  Frame
}

// queued is how many frames may wait: 320 ms of 20 ms packets.
const queued = 16

// job is a frame with a payload of its own.
type job struct {
	frame Frame
	buf   [maxPayload]byte
}

func (j *job) set(f *Frame) {
	j.frame = *f
	j.frame.Payload = j.buf[:copy(j.buf[:], f.Payload)]
}

// conversion is what a converter was made for.
type conversion struct {
	from, to Codec
	quiet    bool
	ptime    time.Duration
	most     int64 // bits a second the far side takes; 0 = any
}

func newWorkshop(p *pump) *workshop {
	w := &workshop{pump: p, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go w.work()
	return w
}

// push queues a frame. It never waits for the work.
func (w *workshop) push(f *Frame) {
	if len(f.Payload) > maxPayload {
		w.pump.dropped.Add(1)
		return
	}
	w.mu.Lock()
	if w.length == queued {
		w.first = (w.first + 1) % queued
		w.length--
		w.pump.dropped.Add(1)
	}
	w.queue[(w.first+w.length)%queued].set(f)
	w.length++
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take moves the oldest frame to w.now.
func (w *workshop) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.length == 0 {
		return false
	}
	w.now.set(&w.queue[w.first].frame)
	w.first = (w.first + 1) % queued
	w.length--
	return true
}

func (w *workshop) close() {
	close(w.stop)
	<-w.done
}

func (w *workshop) work() {
	defer close(w.done)
	for {
		select {
		case <-w.stop:
			return
		case <-w.wake:
		}
		for w.take() {
			w.do(&w.now.frame)
			select {
			case <-w.stop:
				return
			default:
			}
		}
	}
}

// do converts one frame by the plan of the moment.
func (w *workshop) do(f *Frame) {
	plan := w.pump.plan.Load()
	in, ok := w.packet(f, plan)
	if !ok || !w.prepare(f, plan) {
		w.pump.dropped.Add(1)
		return
	}
	switch {
	case in.Kind == transcode.Speech:
		w.pump.converted.Add(1)
	case in.Kind == transcode.Quiet && !w.kind.quiet:
		w.pump.noise.Add(1)
	default:
		w.pump.passed.Add(1)
	}
	late, broken := w.conv.Dropped()
	w.conv.Take(in, w.give)
	nowLate, nowBroken := w.conv.Dropped()
	w.pump.dropped.Add(nowLate - late + nowBroken - broken)
}

// packet is a frame as the converter has it: its time in samples. ok is false if
// the far side takes nothing like it.
func (w *workshop) packet(f *Frame, plan *MediaPlan) (p transcode.Packet, ok bool) {
	p = transcode.Packet{
		Tag: uint8(f.Codec), Marker: f.Marker, Seq: f.Seq, Payload: f.Payload,
		Time: f.Timestamp * transcode.SampleRate / uint64(f.Codec.ClockRate()),
	}
	switch {
	case f.Codec == TelephoneEvent:
		p.Kind, ok = transcode.Aside, plan.Digits
	case f.Codec == ComfortNoise:
		p.Kind, ok = transcode.Quiet, true
	case f.Codec == plan.Speech:
		p.Kind, ok = transcode.Aside, true
	default:
		p.Kind, ok = transcode.Speech, f.Codec.Converts() && plan.Speech.Converts()
	}
	return p, ok
}

// prepare has the converter ready that a frame needs. The first one goes on with
// the numbers there were; so does each that a change of codecs brings.
func (w *workshop) prepare(f *Frame, plan *MediaPlan) bool {
	want := conversion{from: w.kind.from, to: plan.Speech, quiet: plan.ComfortNoise, ptime: plan.Ptime}
	want.most, _ = format.Value(plan.Limits, format.BitRate)
	if f.Codec.Converts() {
		want.from = f.Codec
	}
	if w.conv != nil && want == w.kind {
		return true
	}
	decoder, err := newDecoder(want.from)
	if err != nil {
		return false
	}
	encoder, err := newEncoder(want.to, want.most)
	if err != nil {
		return false
	}
	o := transcode.Options{
		Decoder: decoder, Encoder: encoder, Frame: frameOf(want.to, want.ptime),
		// The decoder of Opus knows better what was lost than a telephone does,
		// and the other way round a telephone with Opus knows better than we.
		Conceals: want.from == Opus,
		Quiet:    want.quiet && want.to.companded(),
	}
	if o.Seq = f.Seq - 1; w.conv != nil {
		o.Seq = w.conv.Seq()
	}
	w.conv, w.kind = transcode.NewConverter(o), want
	return true
}

// frameOf is how many samples a packet holds. Of Opus not every length can be
// had (RFC 6716 section 2.1.4): then it is the next shorter one.
func frameOf(c Codec, ptime time.Duration) int {
	const ms = transcode.SampleRate / 1000
	n := int(min(max(ptime, 10*time.Millisecond), 60*time.Millisecond)/(10*time.Millisecond)) * 10
	if c == Opus && (n == 30 || n == 50) {
		n -= 10
	}
	return n * ms
}

func newDecoder(c Codec) (transcode.Decoder, error) {
	if c == Opus {
		return transcode.NewOpusDecoder()
	}
	return c.law().NewDecoder(), nil
}

func newEncoder(c Codec, most int64) (transcode.Encoder, error) {
	if c == Opus {
		return transcode.NewOpusEncoder(most)
	}
	return c.law().NewEncoder(), nil
}

// give sends what is ready to the far side.
func (w *workshop) give(p transcode.Packet) {
	codec := w.kind.to
	switch p.Kind {
	case transcode.Aside:
		codec = Codec(p.Tag)
	case transcode.Quiet:
		codec = ComfortNoise
	}
	w.out = Frame{
		Codec: codec, Marker: p.Marker, Seq: p.Seq, Payload: p.Payload,
		Timestamp: p.Time * uint64(codec.ClockRate()) / transcode.SampleRate,
	}
	w.pump.dst.Push(&w.out)
}
