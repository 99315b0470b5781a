package media

import (
	"testing"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// hop is a pair of ports whose pumps the test drives itself.
type hop struct {
	from, to *Port
	w        writer
}

func newHop(from, to Config) *hop {
	h := &hop{from: NewPort(from), to: NewPort(to)}
	h.from.Close() // its pump
	h.from.out.closed = false
	h.from.attach(h, 0, "peer")
	h.w.ack.Ranges = make([]chunk.Range, 0, chunk.MaxRanges)
	return h
}

// A hop is a carrier that is there, but takes nothing by itself.
func (h *hop) about() traits { return traits{rung: WebTransport, limit: maxDatagram} }
func (h *hop) ready() bool   { return false }
func (h *hop) send(message)  {}

// carry takes what waits across.
func (h *hop) carry() {
	for {
		m, _ := h.from.compose(&h.w, h.about(), time.Now())
		if len(m.body) == 0 {
			return
		}
		h.to.receive(m.body, WebTransport, 0)
		h.from.settle(m, nil)
	}
}

type discard struct{}

func (discard) Push(*bridge.Frame) {}

// paths are the ways of a packet that must not cost an allocation.
func paths(t testing.TB) map[string]func() (step func(), end func(), to *Port) {
	one := func(from, to Config, f *bridge.Frame) func() (func(), func(), *Port) {
		return func() (func(), func(), *Port) {
			h := newHop(from, to)
			h.to.Join(discard{})
			f := *f
			return func() {
				f.Seq++
				f.Timestamp += uint64(f.Codec.ClockRate() / 50)
				h.from.Push(&f)
				h.carry()
			}, h.to.Close, h.to
		}
	}
	video := picture(1, 0, 1)
	return map[string]func() (func(), func(), *Port){
		"speech":                 one(Config{}, Config{Server: true}, speech(0)),
		"video":                  one(both(false), both(true), video),
		"sealed and opened":      one(sealedBoth(false, 1, keys(t, keyFile, true)), sealedBoth(true, 1, keys(t, keyFile, false)), speech(0)),
		"video sealed, opened":   one(sealedBoth(false, 1, keys(t, keyFile, true)), sealedBoth(true, 1, keys(t, keyFile, false)), video),
		"speech, CTR and HMAC":   one(sealedBoth(false, 1, keys(t, ctrFile, true)), sealedBoth(true, 1, keys(t, ctrFile, false)), speech(0)),
		"forwarded sealed":       func() (func(), func(), *Port) { return forward(t, speech(0)) },
		"forwarded sealed video": func() (func(), func(), *Port) { return forward(t, video) },
	}
}

const ctrFile = `[{"kid":7,"suite":1,"key":"000102030405060708090a0b0c0d0e0f"}]`

// forward is a bridge without keys between two hops.
func forward(t testing.TB, f *bridge.Frame) (step, end func(), to *Port) {
	first := newHop(sealedBoth(false, 1, keys(t, keyFile, true)), sealedBoth(true, 1, nil))
	second := newHop(sealedBoth(false, 8, nil), sealedBoth(true, 8, keys(t, keyFile, false)))
	first.to.Join(second.from)
	second.to.Join(discard{})
	g := *f
	return func() {
		g.Seq++
		g.Timestamp += uint64(g.Codec.ClockRate() / 50)
		first.from.Push(&g)
		first.carry()
		second.carry()
	}, func() { first.to.Close(); second.to.Close() }, second.to
}

func TestNoPathAllocates(t *testing.T) {
	for name, path := range paths(t) {
		t.Run(name, func(t *testing.T) {
			step, end, to := path()
			defer end()
			for range 2 * pictureMost {
				step()
			}
			if n := testing.AllocsPerRun(1000, step); n != 0 {
				t.Errorf("%v allocations per packet", n)
			}
			if s := to.Stats(); s.Received < 1000 || s.Lost+s.Malformed != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func BenchmarkPacket(b *testing.B) {
	for name, path := range paths(b) {
		b.Run(name, func(b *testing.B) {
			step, end, _ := path()
			defer end()
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}
