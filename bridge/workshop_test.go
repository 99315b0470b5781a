package bridge

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"riptide/bridge/format"
	"riptide/transcode"
)

// ear is a port that keeps what is pushed. While it is held, Push waits.
type ear struct {
	hold   sync.RWMutex
	mu     sync.Mutex
	frames []Frame
	more   chan struct{}
}

func newEar() *ear { return &ear{more: make(chan struct{}, 4096)} }

func (e *ear) Push(f *Frame) {
	e.hold.RLock()
	defer e.hold.RUnlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	g := *f
	g.Payload = slices.Clone(f.Payload)
	e.frames = append(e.frames, g)
	e.more <- struct{}{}
}

func (e *ear) Join(Sink)         {}
func (e *ear) Stats() MediaStats { return MediaStats{} }

// wait returns once there are n frames.
func (e *ear) wait(t *testing.T, n int) []Frame {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		e.mu.Lock()
		got := slices.Clone(e.frames)
		e.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-e.more:
		case <-limit:
			t.Fatalf("%d frames came, want %d", len(got), n)
		}
	}
}

func pumpTo(t *testing.T, plan MediaPlan) (*pump, *ear) {
	t.Helper()
	e := newEar()
	p := newPump(e)
	p.use(plan)
	t.Cleanup(p.close)
	return p, e
}

// opusTone is a tone in packets of 20 ms.
func opusTone(t *testing.T, hz float64, packets int) [][]byte {
	t.Helper()
	enc, err := transcode.NewOpusEncoder(0)
	if err != nil {
		t.Fatal(err)
	}
	tone := transcode.NewTone(hz, -10)
	var out [][]byte
	for range packets {
		p, err := enc.Encode(nil, tone.Append(nil, 160))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func share(s []int16, hz float64) float64 {
	var sin, cos, all float64
	for i, v := range s {
		w := 2 * math.Pi * hz * float64(i) / transcode.SampleRate
		sin += float64(v) * math.Sin(w)
		cos += float64(v) * math.Cos(w)
		all += float64(v) * float64(v)
	}
	return 10 * math.Log10(2*(sin*sin+cos*cos)/float64(len(s))/(all+1))
}

// Opus to A-law with digits between: everything in its order, under numbers of
// one kind, at the time it had.
func TestOpusIsConverted(t *testing.T) {
	t.Parallel()
	p, e := pumpTo(t, MediaPlan{Speech: PCMA, Digits: true, Ptime: 20 * time.Millisecond})
	const before = 960 * 1000
	for i, payload := range opusTone(t, 440, 100) {
		seq := 50 + uint64(i)
		f := Frame{Codec: Opus, Seq: seq, Timestamp: before + 960*uint64(i), Payload: payload}
		if i == 60 {
			f = Frame{Codec: TelephoneEvent, Seq: seq, Timestamp: (before + 960*60) / 6, Payload: []byte{5, 10, 0, 160}}
		}
		p.Push(&f)
		e.wait(t, i+1) // as the network would, not faster
	}
	var heard []int16
	for i, f := range e.wait(t, 100) {
		want := Frame{Codec: PCMA, Seq: 50 + uint64(i), Timestamp: (before + 960*uint64(i)) / 6}
		if i == 60 {
			want.Codec = TelephoneEvent
		}
		if f.Codec != want.Codec || f.Seq != want.Seq || f.Timestamp != want.Timestamp {
			t.Fatalf("frame %d: %v %d at %d, want %v %d at %d", i, f.Codec, f.Seq, f.Timestamp, want.Codec, want.Seq, want.Timestamp)
		}
		if i < 60 {
			heard = transcode.ALaw.Decode(heard, f.Payload)
		}
	}
	if s := share(heard[1600:], 440); s < -1 {
		t.Errorf("the tone is %.1f dB of what is heard", s)
	}
	if p.converted.Load() != 99 || p.passed.Load() != 1 || p.dropped.Load() != 0 {
		t.Errorf("converted %d, passed %d, dropped %d", p.converted.Load(), p.passed.Load(), p.dropped.Load())
	}
}

// µ-law in packets of 30 ms to Opus, with comfort noise, which Opus has no word
// for.
func TestConvertedToOpus(t *testing.T) {
	t.Parallel()
	p, e := pumpTo(t, MediaPlan{Speech: Opus, Digits: true, Ptime: 30 * time.Millisecond})
	tone := transcode.NewTone(620, -10)
	n := 0
	for i := range uint64(60) {
		payload := transcode.MuLaw.Encode(nil, tone.Append(nil, 240))
		p.Push(&Frame{Codec: PCMU, Seq: 7 + i, Timestamp: 8000 + 240*i, Payload: payload})
		n = int(240*(i+1)) / 160
		e.wait(t, n)
	}
	p.Push(&Frame{Codec: ComfortNoise, Seq: 67, Timestamp: 8000 + 240*60, Payload: []byte{40}})
	p.Push(&Frame{Codec: TelephoneEvent, Seq: 68, Timestamp: 8000 + 240*61, Payload: []byte{1, 10, 0, 160}})
	frames := e.wait(t, n+2)
	dec, err := transcode.NewOpusDecoder()
	if err != nil {
		t.Fatal(err)
	}
	var heard []int16
	for i, f := range frames {
		if f.Seq != 7+uint64(i) {
			t.Fatalf("frame %d has number %d", i, f.Seq)
		}
		if i == n+1 {
			if f.Codec != TelephoneEvent || f.Timestamp != 8000+240*61 {
				t.Errorf("the digit came as %v at %d", f.Codec, f.Timestamp)
			}
			break
		}
		if f.Codec != Opus || f.Timestamp != 48000+960*uint64(i) {
			t.Fatalf("frame %d: %v at %d", i, f.Codec, f.Timestamp)
		}
		if heard, err = dec.Decode(heard, f.Payload); err != nil {
			t.Fatal(err)
		}
	}
	if len(heard) != 160*(n+1) {
		t.Fatalf("%d samples", len(heard))
	}
	if s := share(heard[1600:160*n], 620); s < -1 {
		t.Errorf("the tone is %.1f dB of what is heard", s)
	}
	if p.converted.Load() != 60 || p.noise.Load() != 1 || p.passed.Load() != 1 {
		t.Errorf("converted %d, noise %d, passed %d", p.converted.Load(), p.noise.Load(), p.passed.Load())
	}
}

// What we encode keeps to what the far side takes, also when that becomes less in
// mid-call.
func TestConvertedWithinTheBitRate(t *testing.T) {
	t.Parallel()
	limited := func(br int64) MediaPlan {
		plan := MediaPlan{Speech: Opus, Ptime: 20 * time.Millisecond}
		if br > 0 {
			plan.Limits = []Param{{Name: format.BitRate, Value: br}}
		}
		return plan
	}
	p, e := pumpTo(t, limited(0))
	var loud []int16
	for i := range 160 * 100 { // hard to describe in few bits
		loud = append(loud, int16(uint32(i)*2654435761>>17))
	}
	sent := 0
	rate := func() int {
		bits := 0
		for i := range 100 {
			payload := transcode.MuLaw.Encode(nil, loud[160*i:160*(i+1)])
			p.Push(&Frame{Codec: PCMU, Seq: 1 + uint64(sent), Timestamp: 160 * uint64(sent), Payload: payload})
			sent++
			bits += 8 * len(e.wait(t, sent)[sent-1].Payload)
		}
		return bits / 2 // of two seconds
	}
	free := rate()
	for _, br := range []int64{16_000, 8_000} {
		p.use(limited(br))
		if got := rate(); got > int(br)*21/20 || got > free {
			t.Errorf("%d bit/s, the far side takes %d; without a limit there were %d", got, br, free)
		}
	}
}

// A far side that takes nothing for a while costs the oldest frames, and never
// the goroutine that pushes.
func TestWorkshopDropsTheOldest(t *testing.T) {
	t.Parallel()
	p, e := pumpTo(t, MediaPlan{Speech: PCMU, Ptime: 20 * time.Millisecond})
	packets := opusTone(t, 440, 60)
	e.hold.Lock()
	for i, payload := range packets {
		p.Push(&Frame{Codec: Opus, Seq: uint64(i), Timestamp: 960 * uint64(i), Payload: payload})
	}
	e.hold.Unlock()
	p.Push(&Frame{Codec: Opus, Seq: 60, Timestamp: 960 * 60, Payload: packets[0]})
	dropped := p.dropped.Load()
	if dropped < 60-queued-2 || dropped > 61-queued {
		t.Errorf("%d of 60 dropped, %d fit", dropped, queued)
	}
	frames := e.wait(t, queued)
	if last := frames[len(frames)-1]; last.Timestamp < 160*50 {
		t.Errorf("the last is of %d", last.Timestamp)
	}
}

// When the codecs come to match, frames pass as they are, under numbers that go
// on.
func TestPlanChangesUnderTheWorkshop(t *testing.T) {
	t.Parallel()
	p, e := pumpTo(t, MediaPlan{Speech: PCMU, Ptime: 20 * time.Millisecond})
	packets := opusTone(t, 440, 4)
	push := func(i int) []Frame {
		p.Push(&Frame{Codec: Opus, Seq: uint64(10 + i), Timestamp: 960 * uint64(i), Payload: packets[i]})
		return e.wait(t, i+1)
	}
	push(0)
	push(1)
	p.use(MediaPlan{Speech: Opus, Ptime: 20 * time.Millisecond})
	push(2)
	frames := push(3)
	for i, f := range frames {
		if want := map[bool]Codec{true: PCMU, false: Opus}[i < 2]; f.Codec != want || f.Seq != uint64(10+i) {
			t.Errorf("frame %d: %v %d", i, f.Codec, f.Seq)
		}
	}
	if last := frames[3]; !slices.Equal(last.Payload, packets[3]) || last.Timestamp != 960*3 {
		t.Errorf("did not pass: %d bytes at %d", len(last.Payload), last.Timestamp)
	}
	p.use(MediaPlan{Speech: G722, Ptime: 20 * time.Millisecond})
	p.Push(&Frame{Codec: Opus, Seq: 14, Timestamp: 960 * 4, Payload: packets[0]})
	p.use(MediaPlan{Speech: PCMA, Ptime: 40 * time.Millisecond})
	p.Push(&Frame{Codec: TelephoneEvent, Seq: 15, Timestamp: 160 * 5, Payload: make([]byte, 4)})
	p.Push(&Frame{Codec: Opus, Seq: 16, Timestamp: 960 * 6, Payload: make([]byte, maxPayload+1)})
	p.close()
	p.Push(&Frame{Codec: Opus, Seq: 17, Payload: packets[0]})
	if n := len(e.wait(t, 4)); n != 4 || p.dropped.Load() == 0 {
		t.Errorf("%d frames, %d dropped", n, p.dropped.Load())
	}
}

// Video passes if that is the codec of both sides, and is nobody's otherwise;
// requests for it always pass.
func TestVideoPasses(t *testing.T) {
	p, e := pumpTo(t, MediaPlan{Speech: PCMU, Video: &Format{Codec: H264}})
	f := Frame{Codec: H264, Marker: true, Seq: 5, Timestamp: 90000, Payload: []byte{0x65, 1, 2}}
	p.Push(&f)
	p.Push(&Frame{Codec: VP8, Seq: 6, Payload: []byte{1}})
	p.Push(&Frame{Codec: H264, Request: RequestKeyframe})
	p.use(MediaPlan{Speech: PCMU})
	p.Push(&f)
	got := e.wait(t, 2)
	if len(got) != 2 || !slices.Equal(got[0].Payload, f.Payload) || !got[0].Marker || got[0].Timestamp != 90000 || got[1].Request != RequestKeyframe {
		t.Errorf("%+v", got)
	}
	if p.passed.Load() != 1 || p.dropped.Load() != 2 {
		t.Errorf("passed %d, dropped %d", p.passed.Load(), p.dropped.Load())
	}
	if n := testing.AllocsPerRun(100, func() { f.Codec = VP8; p.Push(&f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
