package media

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// both is the configuration of a call with speech and video.
func both(server bool) Config {
	return Config{
		Server: server,
		Audio:  Streams{Send: Stream{1, 1}, Receive: Stream{1, 1}, Accept: []bridge.Codec{bridge.PCMU, bridge.Opus, bridge.TelephoneEvent, bridge.ComfortNoise}},
		Video:  Streams{Send: Stream{2, 2}, Receive: Stream{2, 2}, Accept: []bridge.Codec{bridge.H264, bridge.VP8}},
	}
}

// picture is packet part of parts of the nth picture of a source. Every tenth
// picture is a keyframe.
func picture(n, part, parts int) *bridge.Frame {
	f := &bridge.Frame{
		Codec: bridge.H264, Seq: uint64(500 + n*parts + part), Timestamp: uint64(1<<40 + 3003*n),
		Marker: part == parts-1, Payload: make([]byte, 700),
	}
	for i := range f.Payload {
		f.Payload[i] = byte(rand.N(256))
	}
	f.Payload[0] = 0x41
	if n%10 == 0 {
		f.Payload[0] = 0x65
	}
	binary.BigEndian.PutUint32(f.Payload[1:], uint32(n*parts+part))
	return f
}

// Every bit of a picture arrives, with its marker and the exact clock, numbered
// apart from speech.
func TestVideoCrossesUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, end := pairOf(both(false), both(true), nil)
		defer end()
		var heard listener
		server.Join(&heard)
		var sent []*bridge.Frame
		for n := range 100 {
			client.Push(speech(n))
			for part := range 3 {
				f := picture(n, part, 3)
				sent = append(sent, f)
				client.Push(f)
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		var pictures, words int
		for _, f := range heard.heard() {
			if f.Codec == bridge.PCMU {
				words++
				if f.Seq != uint64(words) || f.Timestamp != speech(words-1).Timestamp {
					t.Fatalf("speech %d: %+v", words, f)
				}
				continue
			}
			want := sent[pictures]
			pictures++
			if f.Codec != bridge.H264 || f.Seq != uint64(pictures) || f.Timestamp != want.Timestamp || f.Marker != want.Marker || !bytes.Equal(f.Payload, want.Payload) {
				t.Fatalf("packet %d: %+v, want %+v", pictures, f, want)
			}
		}
		if pictures != 300 || words != 100 {
			t.Errorf("%d packets of video and %d of speech", pictures, words)
		}
		if s := server.Stats(); s.Received != 400 || s.Lost+s.Foreign+s.Malformed+s.Duplicate+s.Late != 0 {
			t.Errorf("received %+v", s)
		}
		if c := client.Stats(); c.Sent != 400 || c.PeerLost != 0 {
			t.Errorf("sent %+v", c)
		}
	})
}

// Draft rows 90 and 92: numbers are full where a picture begins that needs no
// other, and truncated between.
func TestNumbersAreFullOnIntraFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full, short, wrong int
		client, _, end := pairOf(both(false), both(true), func(b []byte) bool {
			c, err := chunk.Parse(b)
			if err != nil || c.Control || len(c.Media) == 0 {
				return false
			}
			whole := c.Seq.Len == chunk.Full && c.Timestamp.Len == chunk.Full && c.Clock.Len == chunk.Full
			switch {
			case c.Media[0] == 0x65 && !whole:
				wrong++
			case whole:
				full++
			default:
				short++
			}
			return false
		})
		defer end()
		for n := range 300 {
			client.Push(picture(n, 0, 1))
			time.Sleep(33 * time.Millisecond)
		}
		synctest.Wait()
		if wrong != 0 || full < 30 || short < 240 {
			t.Errorf("%d intra frames truncated; %d full and %d truncated of 300", wrong, full, short)
		}
	})
}

// Each stream's losses are its own.
func TestEachStreamCountsItsLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		client, server, end := pairOf(both(false), both(true), func(b []byte) bool {
			c, err := chunk.Parse(b)
			if err != nil || c.Control || c.Source != 2 || len(c.Media) == 0 {
				return false
			}
			n++
			return n%5 == 0
		})
		defer end()
		for i := range 500 {
			client.Push(speech(i))
			client.Push(picture(i, 0, 1))
			time.Sleep(20 * time.Millisecond)
		}
		client.Push(picture(500, 0, 1))
		time.Sleep(2 * time.Second)
		if s := server.Stats(); s.Received != 901 || s.Lost != 100 {
			t.Errorf("received %+v", s)
		}
		if c := client.Stats(); c.Sent != 1001 || c.PeerLost != 100 {
			t.Errorf("sent %+v", c)
		}
	})
}

// slow is a carrier that takes a message whenever it is told to.
type slow struct {
	p     *Port
	takes chan struct{}
	got   []chunk.Chunk
}

func (s *slow) about() traits { return traits{rung: WebTransport, limit: maxDatagram} }
func (s *slow) ready() bool   { return true }
func (s *slow) send(m message) {
	<-s.takes
	if c, err := chunk.Parse(append([]byte(nil), m.body...)); err == nil && !c.Control && len(c.Media) > 0 {
		s.got = append(s.got, c)
	}
	s.p.settle(m, nil)
}

// Speech that comes after video goes before it, and video that does not fit is
// dropped by whole pictures, for which a keyframe is asked of the source.
func TestVideoNeverDelaysSpeech(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPort(both(false))
		var source listener
		p.Join(&source)
		c := &slow{p: p, takes: make(chan struct{})}
		p.attach(c, 0, "peer")
		synctest.Wait() // it has a chunk that keeps a stream alive in hand
		const parts = 10
		for n := range 40 {
			for part := range parts {
				p.Push(picture(n, part, parts))
			}
		}
		p.Push(speech(0))
		p.Push(speech(1))
		close(c.takes)
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if len(c.got) < 3 || c.got[0].PayloadType != 0 || c.got[1].PayloadType != 0 {
			t.Fatalf("speech did not go first: %+v", c.got[:3])
		}
		first := c.got[2]
		if n := binary.BigEndian.Uint32(first.Media[1:]); n%parts != 0 {
			t.Errorf("video goes on with part %d of a picture", n%parts)
		}
		s := p.Stats()
		if s.SendDropped == 0 || s.SendDropped%parts != 0 || s.Sent+s.SendDropped != 402 {
			t.Errorf("%+v", s)
		}
		asked := source.heard()
		if len(asked) != 1 || asked[0].Request != bridge.RequestKeyframe || asked[0].Codec.Kind() != bridge.Video {
			t.Errorf("the source was asked %+v", asked)
		}
		p.Close()
	})
}

// Video that found no carrier is not kept: it is asked for anew.
func TestVideoIsNotBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPort(both(false))
		defer p.Close()
		var source listener
		p.Join(&source)
		for n := range 10 {
			p.Push(picture(n, 0, 1))
		}
		synctest.Wait()
		if s := p.Stats(); s.SendDropped != 10 || len(source.heard()) != 0 {
			t.Errorf("%+v, asked %d times", s, len(source.heard()))
		}
		c := &slow{p: p, takes: make(chan struct{})}
		close(c.takes)
		p.attach(c, 0, "peer")
		synctest.Wait()
		if got := source.heard(); len(got) != 1 || got[0].Request != bridge.RequestKeyframe {
			t.Errorf("asked %+v", got)
		}
	})
}

// Requests for a keyframe cross, at most one in 500 ms.
func TestKeyframeRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		onWire := 0
		client, server, end := pairOf(both(false), both(true), func(b []byte) bool {
			if c, err := chunk.Parse(b); err == nil && c.Control && c.ControlType == chunk.ControlKeyframe {
				onWire++
				if k, err := chunk.ParseKeyframe(c.Body); err != nil || k != (chunk.Keyframe{Source: 2, Sink: 2}) {
					t.Errorf("asks for %+v, %v", k, err)
				}
			}
			return false
		})
		defer end()
		var source listener
		server.Join(&source)
		began := time.Now()
		for range 100 { // of a decoder that is desperate
			client.Push(&bridge.Frame{Codec: bridge.VP8, Request: bridge.RequestKeyframe})
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if most := int(time.Since(began)/keyframeEvery) + 1; onWire < 4 || onWire > most {
			t.Errorf("%d requests in %v", onWire, time.Since(began))
		}
		asked := source.heard()
		if len(asked) != onWire {
			t.Errorf("%d requests came, the source heard %d", onWire, len(asked))
		}
		for _, f := range asked {
			if f.Request != bridge.RequestKeyframe || f.Codec.Kind() != bridge.Video || len(f.Payload) != 0 {
				t.Errorf("the source heard %+v", f)
			}
		}
		if s := server.Stats(); s.Requested != uint64(onWire) || s.Received+s.Malformed+s.Foreign != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Requests of a peer that does not keep to the pace, or to its streams.
func TestKeyframeRequestsOfAStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPort(both(true))
		defer p.Close()
		var source listener
		p.Join(&source)
		ask := func(source, sink uint8) {
			c := chunk.Chunk{Control: true, ControlType: chunk.ControlKeyframe, Body: chunk.Keyframe{Source: source, Sink: sink}.Append(nil)}
			p.receive(c.Append(nil), WebTransport, 0)
		}
		ask(1, 1) // speech has no keyframes
		ask(2, 3)
		ask(9, 9)
		for range 1000 {
			ask(2, 2)
		}
		unknown := chunk.Chunk{Control: true, ControlType: 99, Body: []byte{1}}
		p.receive(unknown.Append(nil), WebTransport, 0)
		hello := chunk.Chunk{Control: true, ControlType: chunk.ControlHello, Body: make([]byte, 8)}
		p.receive(hello.Append(nil), WebTransport, 0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s := p.Stats()
		want := bridge.MediaStats{Foreign: 3, Requested: 1000, UnknownPayload: 1}
		if s != want {
			t.Errorf("got  %+v\nwant %+v", s, want)
		}
		if n := len(source.heard()); n < 1 || n > 2 {
			t.Errorf("the source was asked %d times", n)
		}
	})
}

// An audio call drops video, and a request for it, whichever side they come from.
func TestVideoOnACallWithoutVideo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, end := pairOf(both(false), Config{Server: true}, nil)
		defer end()
		var heard listener
		server.Join(&heard)
		client.Push(picture(0, 0, 1))
		server.Push(picture(0, 0, 1))
		server.Push(&bridge.Frame{Codec: bridge.H264, Request: bridge.RequestKeyframe})
		time.Sleep(time.Second / 2)
		if s := server.Stats(); s.Foreign == 0 || s.Received != 0 || s.SendDropped != 1 || len(heard.heard()) != 0 {
			t.Errorf("%+v", s)
		}
	})
}
