package main_test

import (
	endian "encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// Speech of many calls: each end of each sends a frame every 20 ms that says
// which it is and when it was sent, and the other end writes down what it hears.

const (
	loadFrame = 160              // octets of G.711 in 20 ms
	tailFlow  = 25               // frames behind the counted ones, by which the loss of the last is seen
	settleFor = 20 * time.Second // for what is still under way
)

// mouth sends one direction of one call.
type mouth struct {
	port    bridge.MediaPort
	frame   bridge.Frame
	payload [loadFrame]byte
	next    uint64
}

func (m *mouth) speak(began time.Time) {
	m.next++
	endian.BigEndian.PutUint64(m.payload[:], uint64(time.Since(began)))
	endian.BigEndian.PutUint64(m.payload[8:], m.next)
	m.frame = bridge.Frame{Codec: bridge.PCMU, Seq: m.next, Timestamp: m.next * loadFrame, Payload: m.payload[:]}
	m.port.Push(&m.frame)
}

// ear hears one direction of one call. Push comes from one goroutine at a time,
// but not always the same.
type ear struct {
	mu     sync.Mutex
	began  time.Time
	heard  []time.Duration // by number from 1: when it arrived; 0 = never
	total  int
	twice  int
	others int // not of this speech: comfort noise and the like
	delays *histogram
}

func newEar(began time.Time, frames int, delays *histogram) *ear {
	return &ear{began: began, heard: make([]time.Duration, frames+1), delays: delays}
}

// Push implements bridge.Sink.
func (e *ear) Push(f *bridge.Frame) {
	now := time.Since(e.began)
	if f.Codec != bridge.PCMU || len(f.Payload) != loadFrame {
		e.mu.Lock()
		e.others++
		e.mu.Unlock()
		return
	}
	sent, n := time.Duration(endian.BigEndian.Uint64(f.Payload)), endian.BigEndian.Uint64(f.Payload[8:])
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case n == 0 || n >= uint64(len(e.heard)): // of the tail
	case e.heard[n] != 0:
		e.twice++
	default:
		e.heard[n] = now
		e.total++
		e.delays.add(now - sent)
	}
}

func (e *ear) count() (heard, twice int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.total, e.twice
}

// histogram counts delays in steps of a tenth of a millisecond up to four seconds.
type histogram struct{ steps [40_000]atomic.Uint32 }

const histogramStep = 100 * time.Microsecond

func (h *histogram) add(d time.Duration) {
	h.steps[min(max(0, int(d/histogramStep)), len(h.steps)-1)].Add(1)
}

// quantile is the delay that a share of all frames does not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	var total uint64
	for i := range h.steps {
		total += uint64(h.steps[i].Load())
	}
	want, seen := uint64(q*float64(total)), uint64(0)
	for i := range h.steps {
		if seen += uint64(h.steps[i].Load()); seen >= want && seen > 0 {
			return time.Duration(i+1) * histogramStep
		}
	}
	return 0
}

func (h *histogram) String() string {
	return fmt.Sprintf("p50 %v, p99 %v, p99.9 %v", h.quantile(0.5), h.quantile(0.99), h.quantile(0.999))
}

// direction is all calls' speech in one direction.
type direction struct {
	name   string
	mouths []*mouth
	ears   []*ear
	from   []bridge.MediaPort
	to     []bridge.MediaPort
	delays histogram
}

// talk makes both ends of all calls speak for a time, and a little longer, and
// returns both directions when nothing more arrives.
func talk(calls []*loadCall, hold time.Duration) (up, down *direction) {
	began, frames := time.Now(), int(hold/bridge.DefaultPtime)
	up, down = &direction{name: "caller to callee"}, &direction{name: "callee to caller"}
	for _, c := range calls {
		up.add(began, frames, c.out.Media(), c.in.Media())
		down.add(began, frames, c.in.Media(), c.out.Media())
	}
	// Every millisecond one twentieth of the calls speaks, as calls do that began
	// at any time. Behind its time the pacer makes up for it at once.
	const slots = int(bridge.DefaultPtime / time.Millisecond)
	for tick := range (frames + tailFlow) * slots {
		if wait := time.Until(began.Add(time.Duration(tick) * time.Millisecond)); wait > 0 {
			time.Sleep(wait)
		}
		for n := tick % slots; n < len(calls); n += slots {
			up.mouths[n].speak(began)
			down.mouths[n].speak(began)
		}
	}
	for end, before := time.Now().Add(settleFor), -1; time.Now().Before(end); time.Sleep(time.Second) {
		now := up.heard() + down.heard()
		if now == before {
			break
		}
		before = now
	}
	return up, down
}

func (d *direction) add(began time.Time, frames int, from, to bridge.MediaPort) {
	e := newEar(began, frames, &d.delays)
	to.Join(e)
	d.mouths = append(d.mouths, &mouth{port: from})
	d.ears = append(d.ears, e)
	d.from, d.to = append(d.from, from), append(d.to, to)
}

func (d *direction) heard() (n int) {
	for _, e := range d.ears {
		heard, _ := e.count()
		n += heard
	}
	return n
}

// report logs the direction, and returns how many frames were spoken, and how
// many of them were not heard.
func (d *direction) report(t testing.TB) (spoken, lost int) {
	t.Helper()
	twice := 0
	for _, e := range d.ears {
		heard, again := e.count()
		spoken += len(e.heard) - 1
		lost += len(e.heard) - 1 - heard
		twice += again
	}
	t.Logf("%s: %d frames, %d lost (%.4f %%), %d heard twice; delay %v", d.name, spoken, lost, 100*float64(lost)/float64(max(1, spoken)), twice, &d.delays)
	if twice != 0 {
		t.Errorf("%s: %d frames were heard twice", d.name, twice)
	}
	return spoken, lost
}

// books checks that both ends account for every chunk: what one says it sent, or
// could not send, the other received, or knows that it is lost. What was sent
// last of all may be lost unseen.
func (d *direction) books(t testing.TB) {
	t.Helper()
	var sent, dropped, received, lost, late, unseen uint64
	for i := range d.from {
		a, b := d.from[i].Stats(), d.to[i].Stats()
		sent, dropped = sent+a.Sent, dropped+a.SendDropped
		spoken, known := a.Sent+a.SendDropped, b.Received+b.Lost+b.Late
		received, lost, late = received+b.Received, lost+b.Lost, late+b.Late
		// A short run shares the machine with others, and may end in a stall.
		if known > spoken || spoken-known > tailFlow+uint64(tooLate()*float64(spoken)) {
			t.Errorf("%s, call %d: %d sent, %d not sent, %d received, %d lost, %d late", d.name, i, a.Sent, a.SendDropped, b.Received, b.Lost, b.Late)
		}
		unseen += spoken - min(known, spoken)
	}
	t.Logf("%s by the books: %d sent, %d not sent, %d received, %d lost, %d too late, %d of the last unseen", d.name, sent, dropped, received, lost, late, unseen)
}
