package bridge

import (
	"sync/atomic"
	"time"

	"riptide/transcode"
)

// A party that is put on hold, waits for the target of a transfer, or was told of
// early media that does not come, must not hear nothing: a dead line is hung up. What the other party sends while it
// holds, its music, is heard as it is; where it sends nothing, the line is
// filled with comfort noise, or with the ringing of a transfer's target.

// filling is what a party hears when nothing else comes.
type filling uint8

const (
	unfilled  filling = iota
	noise             // as of a telephone line
	ringback          // somebody is being rung
	ringUntil         // the same, until something is heard: what comes then may pause
)

const (
	// fillAfter is how long nothing comes before the line is filled.
	fillAfter = 200 * time.Millisecond
	// noiseLevel is that of the noise, in -dBov (RFC 3389): to be heard, and not
	// to be listened to.
	noiseLevel = 60
	// noiseEvery is how often it is described anew to peers that make it
	// themselves.
	noiseEvery = 200 * time.Millisecond
	// fillSeq keeps the numbers of what we make away from those of any peer.
	fillSeq = 1 << 40
)

// The ringing tone of ETSI TR 101 041-2: 425 Hz, one second of five.
const (
	ringHz    = 425
	ringLevel = -16 // dBm0
	ringOn    = time.Second
	ringCycle = 5 * time.Second
)

// filler fills the line to one party. It has a goroutine of its own, which the
// call waits for, as long as there may be something to fill.
type filler struct {
	pump *pump
	what atomic.Uint32 // filling
	stop chan struct{}
	done chan struct{}

	// What follows belongs to the goroutine.
	moved   uint64 // frames the pump had handed on
	idle    time.Duration
	filled  time.Duration // since it began
	speech  Codec         // of encoder
	encoder transcode.Encoder
	noise   *transcode.Noise
	tone    *transcode.Tone
	samples []int16
	payload []byte
	frame   Frame
}

func newFiller(p *pump, what filling) *filler {
	f := &filler{pump: p, stop: make(chan struct{}), done: make(chan struct{}), frame: Frame{Seq: fillSeq}}
	f.what.Store(uint32(what))
	go f.run()
	return f
}

func (f *filler) close() {
	if f == nil {
		return
	}
	close(f.stop)
	<-f.done
}

func (f *filler) run() {
	defer close(f.done)
	f.moved = f.pump.moved()
	tick := time.NewTimer(DefaultPtime)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-f.stop:
			return
		case now := <-tick.C:
			step := DefaultPtime
			if plan := f.pump.plan.Load(); plan != nil && !plan.Sealed {
				step = f.tick(plan, now.Sub(last))
			}
			last = now
			tick.Reset(step)
		}
	}
}

// tick fills one packet time of the plan, which it returns, if nothing else has
// come for a while.
func (f *filler) tick(plan *MediaPlan, passed time.Duration) time.Duration {
	ptime := min(max(plan.Ptime, 10*time.Millisecond), 60*time.Millisecond)
	if moved := f.pump.moved(); moved != f.moved {
		f.moved, f.idle, f.filled = moved, 0, 0
		return ptime
	}
	what := filling(f.what.Load())
	if f.idle += passed; f.idle < fillAfter || what == ringUntil && f.moved > 0 {
		return ptime
	}
	n := frameOf(plan.Speech, ptime)
	switch {
	case what == noise && plan.ComfortNoise:
		if f.filled%noiseEvery < ptime {
			f.payload = transcode.NoiseParams{Level: noiseLevel}.Append(f.payload[:0])
			f.send(ComfortNoise, n)
		} else {
			f.skip(ComfortNoise, n)
		}
	case plan.Speech.Converts():
		if f.encode(plan, what, n) {
			f.send(plan.Speech, n)
		}
	}
	length := time.Duration(n) * time.Second / transcode.SampleRate
	f.filled += length
	return length
}

// encode makes one packet of sound.
func (f *filler) encode(plan *MediaPlan, what filling, n int) bool {
	if f.encoder == nil || f.speech != plan.Speech {
		encoder, err := newEncoder(plan.Speech, 0)
		if err != nil {
			return false
		}
		f.encoder, f.speech = encoder, plan.Speech
	}
	if f.noise == nil {
		f.noise, f.tone = transcode.NewNoise(fillSeq), transcode.NewTone(ringHz, ringLevel)
		f.noise.Set(transcode.NoiseParams{Level: noiseLevel})
	}
	if what != noise && f.filled%ringCycle < ringOn {
		f.samples = f.tone.Append(f.samples[:0], n)
	} else {
		f.samples = f.noise.Append(f.samples[:0], n)
	}
	var err error
	f.payload, err = f.encoder.Encode(f.payload[:0], f.samples)
	return err == nil
}

// send hands a packet to the party, past the pump: it is none of the call's.
func (f *filler) send(c Codec, samples int) {
	f.frame.Codec, f.frame.Payload = c, f.payload
	f.frame.Marker = f.filled == 0
	f.frame.Seq++
	f.pump.dst.Push(&f.frame)
	f.skip(c, samples)
}

// skip lets a packet time pass.
func (f *filler) skip(c Codec, samples int) {
	f.frame.Timestamp += uint64(samples * c.ClockRate() / transcode.SampleRate)
}

// moved counts the frames that the pump has handed on.
func (p *pump) moved() uint64 { return p.passed.Load() + p.converted.Load() + p.noise.Load() }

// pumpTo is the pump towards a side.
func (c *call) pumpTo(s side) *pump {
	if s == sideA {
		return c.toA
	}
	return c.toB
}

// fillingFor is what a side hears when the other one sends nothing.
func (c *call) fillingFor(s side) filling {
	other := s.other()
	waits := c.moving != nil && c.moving.from == other
	switch {
	case c.rec.State != StateAnswered && s == sideA && c.early() != nil:
		// The caller's telephone is quiet, because it was promised the callee's
		// ringing or announcement. If that does not come, it hears ours.
		return ringUntil
	case c.rec.State != StateAnswered:
		return unfilled
	case waits && c.moving.rings:
		return ringback
	case c.held[other], c.moving.replaces(other):
		return noise
	}
	return unfilled
}

// fill sees to it that nobody hears nothing, after anything has changed.
func (c *call) fill() {
	for _, s := range []side{sideA, sideB} {
		what, f, p := c.fillingFor(s), c.fillers[s], c.pumpTo(s)
		if f != nil && (what == unfilled || f.pump != p) {
			f.close()
			f, c.fillers[s] = nil, nil
		}
		switch {
		case what == unfilled || p == nil:
		case f == nil:
			c.fillers[s] = newFiller(p, what)
		default:
			f.what.Store(uint32(what))
		}
	}
}
