package media

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
	"riptide/h3/chunk/seal"
)

const (
	callID   = "0af7651916cd43dd8448eb211c80319c"
	keyFile  = `[{"kid":7,"suite":4,"key":"000102030405060708090a0b0c0d0e0f"}]`
	keyFile2 = `[{"kid":7,"suite":4,"key":"100102030405060708090a0b0c0d0e0f"}]`
)

func keys(t testing.TB, file string, caller bool) *seal.Session {
	t.Helper()
	r, err := seal.ParseRing([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return r.Call(callID, caller)
}

// sealedBoth is both with sealed streams, and sources and sinks of its own.
func sealedBoth(server bool, source uint8, k *seal.Session) Config {
	c := both(server)
	c.Keys = k
	c.Audio.Sealed, c.Video.Sealed = true, true
	c.Audio.Send, c.Audio.Receive = Stream{source, source}, Stream{source, source}
	c.Video.Send, c.Video.Receive = Stream{source + 1, source + 1}, Stream{source + 1, source + 1}
	return c
}

// tapped are the sealed chunks that crossed a hop, by their full numbers.
type tapped struct {
	mu     sync.Mutex
	chunks []chunk.Chunk
}

func (w *tapped) see(b []byte) {
	c, err := chunk.Parse(bytes.Clone(b))
	if err != nil || c.Control || len(c.Media) > 0 || c.Sealed == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.chunks = append(w.chunks, c)
}

// transit is a call over two hops: end -> bridge -> end. Only the ends may have
// keys.
type transit struct {
	caller, in, out, callee *Port
	first, second           tapped
	end                     func()
}

// newTransit makes one whose first hop loses what lose says.
func newTransit(callerKeys, calleeKeys *seal.Session, lose func(b []byte) bool) *transit {
	tr := &transit{}
	var end1, end2 func()
	tr.caller, tr.in, end1 = pairOf(sealedBoth(false, 1, callerKeys), sealedBoth(true, 1, nil), func(b []byte) bool {
		tr.first.see(b)
		return lose != nil && lose(b)
	})
	tr.out, tr.callee, end2 = pairOf(sealedBoth(false, 8, nil), sealedBoth(true, 8, calleeKeys), func(b []byte) bool {
		tr.second.see(b)
		return false
	})
	tr.in.Join(tr.out)
	tr.out.Join(tr.in)
	tr.end = func() { end1(); end2() }
	return tr
}

// What the ends seal crosses a bridge without keys bit by bit, with its numbers;
// how these are truncated, and source and sink, are each hop's own.
func TestSealedMediaCrossABridgeUntouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := 0
		tr := newTransit(keys(t, keyFile, true), keys(t, keyFile, false), func(b []byte) bool {
			c, err := chunk.Parse(b)
			if err != nil || c.Control || c.Source != 1 || c.Sealed == nil {
				return false
			}
			lost++
			return lost%25 == 0
		})
		var heard, back listener
		tr.callee.Join(&heard)
		tr.caller.Join(&back)
		var pictures []*bridge.Frame
		for n := range 200 {
			tr.caller.Push(speech(n))
			tr.callee.Push(speech(n))
			f := picture(n, 0, 1)
			pictures = append(pictures, f)
			tr.caller.Push(f)
			time.Sleep(20 * time.Millisecond)
		}
		tr.caller.Push(speech(200))
		time.Sleep(2 * time.Second)
		tr.end()

		if s := tr.callee.Stats(); s.Received != 201-8+200 || s.Lost != 8 || s.Malformed+s.UnknownPayload+s.Duplicate != 0 {
			t.Errorf("callee %+v", s)
		}
		if s := tr.caller.Stats(); s.Received != 200 || s.Malformed+s.UnknownPayload != 0 {
			t.Errorf("caller %+v", s)
		}
		seen := 0
		for _, f := range heard.heard() {
			if f.Sealed != nil {
				t.Fatalf("a sealed frame left the callee's port: %+v", f)
			}
			want := speech(int(f.Timestamp-50000) / 160)
			if f.Codec == bridge.H264 {
				want = pictures[seen]
				seen++
			}
			if f.Codec != want.Codec || f.Marker != want.Marker || f.Timestamp != want.Timestamp || !bytes.Equal(f.Payload, want.Payload) {
				t.Fatalf("heard %+v, want %+v", f, want)
			}
		}
		sameChunks(t, tr)
	})
}

// sameChunks compares the two hops of a transit.
func sameChunks(t *testing.T, tr *transit) {
	t.Helper()
	var short [2]int
	sealed := map[string]bool{}
	for i, w := range []*tapped{&tr.first, &tr.second} {
		for _, c := range w.chunks {
			if c.Seq.Len < chunk.Full {
				short[i]++
			}
			if want := uint8(1 + 7*i); c.Source != want && c.Source != want+1 || c.Source != c.Sink {
				t.Fatalf("hop %d: source %d, sink %d", i+1, c.Source, c.Sink)
			}
			if i == 0 {
				sealed[string(c.Sealed)] = true
			} else if !sealed[string(c.Sealed)] {
				t.Fatalf("a package changed on its way: %x", c.Sealed)
			}
			if bytes.Contains(c.Sealed, speech(0).Payload[8:]) {
				t.Fatal("speech crosses in clear")
			}
		}
	}
	if short[0] < 250 || short[1] < 250 || len(tr.second.chunks) < 390 {
		t.Errorf("%v truncated of %d and %d chunks", short, len(tr.first.chunks), len(tr.second.chunks))
	}
}

// What is sealed with a key the far end does not have is dropped and counted.
func TestAnotherKeyIsHeardByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTransit(keys(t, keyFile, true), keys(t, keyFile2, false), nil)
		defer tr.end()
		for n := range 10 {
			tr.caller.Push(speech(n))
		}
		time.Sleep(time.Second)
		if s := tr.callee.Stats(); s.Malformed != 10 || s.Received != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// What a hop has tampered with is dropped and counted, and harms nothing else.
func TestTamperedMediaIsDropped(t *testing.T) {
	synctest.Test(t, tampered)
}

// tampered has a hop change chunks in every way it can.
func tampered(t *testing.T) {
	sender, receiver := NewPort(sealedBoth(false, 1, keys(t, keyFile, true))), NewPort(sealedBoth(true, 1, keys(t, keyFile, false)))
	defer receiver.Close()
	var heard listener
	receiver.Join(&heard)
	c := &kept{p: sender}
	sender.attach(c, 0, "peer")
	const frames = 20
	for n := range frames {
		sender.Push(speech(n))
	}
	synctest.Wait()
	sender.Close()
	if len(c.chunks) != frames {
		t.Fatalf("%d chunks", len(c.chunks))
	}
	changes := []func(*chunk.Chunk){
		func(c *chunk.Chunk) { c.Seq.Value++ },
		func(c *chunk.Chunk) { c.Timestamp.Value++ },
		func(c *chunk.Chunk) { c.Clock.Value++ },
		func(c *chunk.Chunk) { c.Clock = chunk.Number{} },
		func(c *chunk.Chunk) { c.Marker = !c.Marker },
		func(c *chunk.Chunk) { c.PayloadType = uint64(bridge.Opus) },
		func(c *chunk.Chunk) { c.KeyID++ },
		func(c *chunk.Chunk) { c.Video.Has, c.Video.SpatialLayer = 1<<chunk.TagSpatialLayer, 1 },
		func(c *chunk.Chunk) { c.Sealed[0] ^= 1 },
		func(c *chunk.Chunk) { c.Sealed[len(c.Sealed)-1] ^= 1 },
		func(c *chunk.Chunk) { c.Sealed = c.Sealed[:len(c.Sealed)-1] },
		func(c *chunk.Chunk) { c.Sealed = c.Sealed[:3] },
		func(c *chunk.Chunk) { c.Source, c.Sink, c.PayloadType = 2, 2, uint64(bridge.H264) },
	}
	take := func(c chunk.Chunk) { receiver.receive(c.Append(nil), WebTransport, 0) }
	take(c.chunks[0])
	for _, change := range changes {
		bad := c.chunks[1]
		bad.Sealed = bytes.Clone(bad.Sealed)
		change(&bad)
		take(bad)
	}
	if s := receiver.Stats(); s.Malformed != uint64(len(changes)) || s.Received != 1 {
		t.Errorf("%d forged chunks: %+v", len(changes), s)
	}
	// The hop's own part of the envelope may change, and the genuine ones still
	// open.
	level := c.chunks[1]
	level.Video.Has, level.Video.AudioLevel = 1<<chunk.TagAudioLevel, 5
	take(level)
	for _, c := range c.chunks[2:] {
		take(c)
	}
	if s := receiver.Stats(); s.Received != frames || s.Lost != 0 || s.Malformed != uint64(len(changes)) {
		t.Errorf("%+v", s)
	}
	// Replayed: known to have come, or too long ago to tell.
	take(c.chunks[5])
	if s := receiver.Stats(); s.Duplicate != 1 || s.Received != frames {
		t.Errorf("replayed: %+v", s)
	}
	// Nothing clear is let in, but a chunk without media.
	clear := c.chunks[5]
	clear.Seq.Value += 100
	clear.Sealed, clear.KeyID, clear.Media = nil, 0, []byte{1, 2, 3}
	take(clear)
	clear.Media = []byte{}
	take(clear)
	s := receiver.Stats()
	if s.UnknownPayload != 1 || s.Received != frames || s.Malformed != uint64(len(changes)) || len(heard.heard()) != frames {
		t.Errorf("clear: %+v", s)
	}
}

// A hop plays an old part of the call again, as if the peer had started anew.
func TestReplayIsMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender, receiver := NewPort(sealedBoth(false, 1, keys(t, keyFile, true))), NewPort(sealedBoth(true, 1, keys(t, keyFile, false)))
		defer receiver.Close()
		c := &kept{p: sender}
		sender.attach(c, 0, "peer")
		for n := range 3000 {
			sender.Push(speech(n))
			if n%32 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		sender.Close()
		for _, c := range c.chunks {
			receiver.receive(c.Append(nil), WebTransport, 0)
		}
		received := receiver.Stats().Received
		for _, c := range c.chunks[:100] {
			receiver.receive(c.Append(nil), WebTransport, 0)
		}
		if s := receiver.Stats(); s.Received != received || s.Malformed != 100 || received != 3000 {
			t.Errorf("%+v", s)
		}
	})
}

// kept is a carrier that keeps the packets it is given.
type kept struct {
	p      *Port
	chunks []chunk.Chunk
}

func (k *kept) about() traits { return traits{rung: WebTransport, limit: maxDatagram} }
func (k *kept) ready() bool   { return true }
func (k *kept) send(m message) {
	if c, err := chunk.Parse(bytes.Clone(m.body)); err == nil && m.packets > 0 {
		k.chunks = append(k.chunks, c)
	}
	k.p.settle(m, nil)
}

// A port keeps sealed and clear media apart.
func TestSealedAndClearDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sealed := &bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 180), Sealed: &bridge.Sealed{KeyID: 1, Seq: 1 << 50, Time: 1e12}}
		for name, tc := range map[string]struct {
			c    Config
			f    *bridge.Frame
			sent bool
		}{
			"clear to clear":                    {both(false), speech(0), true},
			"clear to sealed without keys":      {sealedBoth(false, 1, nil), speech(0), false},
			"clear to sealed with keys":         {sealedBoth(false, 1, keys(t, keyFile, true)), speech(0), true},
			"sealed to clear":                   {both(false), sealed, false},
			"sealed to sealed":                  {sealedBoth(false, 1, nil), sealed, true},
			"sealed to sealed with other keys":  {sealedBoth(false, 1, keys(t, keyFile, true)), sealed, false},
			"keys that are not for now":         {sealedBoth(false, 1, keys(t, `[{"kid":1,"suite":4,"key":"000102030405060708090a0b0c0d0e0f","until":"1990-01-01T00:00:00Z"}]`, true)), speech(0), false},
			"keys of a call that is not sealed": {func() Config { c := both(false); c.Keys = keys(t, keyFile, true); return c }(), speech(0), true},
		} {
			p := NewPort(tc.c)
			c := &kept{p: p}
			p.attach(c, 0, "peer")
			p.Push(tc.f)
			synctest.Wait()
			p.Close()
			if got := len(c.chunks) == 1; got != tc.sent {
				t.Errorf("%s: sent %v", name, got)
			} else if s := p.Stats(); s.Sent+s.SendDropped != 1 {
				t.Errorf("%s: %+v", name, s)
			}
			if tc.sent && (c.chunks[0].Sealed != nil) != tc.c.Audio.Sealed {
				t.Errorf("%s: %+v", name, c.chunks[0])
			}
		}
	})
}

// The same over real connections: two hops of HTTP/3, the ends have keys.
func TestSealedMediaOverTwoHops(t *testing.T) {
	t.Parallel()
	west, east := newSite(t, true), newSite(t, true)
	in := west.host("1", NewPort(sealedBoth(true, 1, nil)))
	callee := east.host("1", NewPort(sealedBoth(true, 8, keys(t, keyFile, false))))
	caller, out := NewPort(sealedBoth(false, 1, keys(t, keyFile, true))), NewPort(sealedBoth(false, 8, nil))
	defer caller.Close()
	defer out.Close()
	in.Join(out)
	out.Join(in)
	var heard, back listener
	callee.Join(&heard)
	caller.Join(&back)
	for p, s := range map[*Port]*site{caller: west, out: east} {
		rungs := Rungs("webtransport")
		if p == out {
			rungs = Rungs("put-get")
		}
		c, err := Dial(context.Background(), s.connect(t), s.url("1"), p, Options{Rungs: rungs})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	eventually(t, "carriers", func() bool { return caller.Stats().Carrier == "webtransport" && out.Stats().Carrier == "put/get" })
	var wg sync.WaitGroup
	wg.Go(func() { talk(caller, 0, 100, 5*time.Millisecond) })
	wg.Go(func() { talk(callee, 0, 100, 5*time.Millisecond) })
	wg.Wait()
	settled(t, "caller to bridge", caller, in, 100)
	settled(t, "callee to bridge", callee, out, 100)
	for name, l := range map[string]*listener{"callee": &heard, "caller": &back} {
		eventually(t, "all at the "+name, func() bool { return len(l.heard()) >= 95 })
		for _, f := range l.heard() {
			if want := speech(int(f.Timestamp-50000) / 160); !bytes.Equal(f.Payload, want.Payload) || f.Marker != want.Marker || f.Sealed != nil {
				t.Fatalf("%s heard %+v", name, f)
			}
		}
	}
}
