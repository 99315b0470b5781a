package media

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// wire is one end of an in-memory session that may lose datagrams.
type wire struct {
	out  chan<- []byte
	in   <-chan []byte
	lose func(b []byte) bool
	done chan struct{}
	once *sync.Once
}

func wires() (a, b *wire) {
	ab, ba, done, once := make(chan []byte, 64), make(chan []byte, 64), make(chan struct{}), new(sync.Once)
	return &wire{out: ab, in: ba, done: done, once: once}, &wire{out: ba, in: ab, done: done, once: once}
}

func (w *wire) SendDatagram(b []byte) error {
	if w.lose != nil && w.lose(b) {
		return nil
	}
	select {
	case w.out <- append([]byte(nil), b...):
		return nil
	case <-w.done:
		return io.ErrClosedPipe
	}
}

func (w *wire) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	select {
	case b := <-w.in:
		return b, nil
	case <-w.done:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *wire) close() { w.once.Do(func() { close(w.done) }) }

// listener is a sink that keeps what it heard.
type listener struct {
	mu     sync.Mutex
	frames []bridge.Frame
}

func (l *listener) Push(f *bridge.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := *f
	g.Payload = append([]byte(nil), f.Payload...)
	if f.Sealed != nil {
		sealed := *f.Sealed
		g.Sealed = &sealed
	}
	l.frames = append(l.frames, g)
}

func (l *listener) heard() []bridge.Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]bridge.Frame(nil), l.frames...)
}

// speech is the nth frame of a source, told apart by its payload.
func speech(n int) *bridge.Frame {
	f := &bridge.Frame{
		Codec: bridge.PCMU, Seq: uint64(1000 + n), Timestamp: uint64(50000 + 160*n),
		Marker: n == 0, Payload: make([]byte, 160),
	}
	binary.BigEndian.PutUint64(f.Payload, uint64(n))
	return f
}

// pair joins a client's and a server's port by wires, in a synctest bubble.
func pair(t *testing.T, lose func([]byte) bool) (client, server *Port, end func()) {
	return pairOf(Config{}, Config{Server: true}, lose)
}

// pairOf is the same of configured ports.
func pairOf(c, s Config, lose func([]byte) bool) (client, server *Port, end func()) {
	client, server = NewPort(c), NewPort(s)
	a, b := wires()
	a.lose = lose
	var wg sync.WaitGroup
	for p, w := range map[*Port]*wire{client: a, server: b} {
		d := p.begin(w, 0, "peer")
		wg.Go(func() { _ = p.carry(d) })
	}
	return client, server, func() {
		client.Close()
		server.Close()
		a.close()
		wg.Wait()
	}
}

func TestFramesCrossUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, end := pair(t, nil)
		defer end()
		var heard listener
		server.Join(&heard)
		for n := range 100 {
			client.Push(speech(n))
			time.Sleep(20 * time.Millisecond)
		}
		event := &bridge.Frame{Codec: bridge.TelephoneEvent, Marker: true, Seq: 1100, Timestamp: 66000, Payload: []byte{5, 10, 0, 160}}
		client.Push(event)
		synctest.Wait()
		got := heard.heard()
		if len(got) != 101 {
			t.Fatalf("%d frames", len(got))
		}
		for n, f := range got[:100] {
			want := speech(n)
			if f.Codec != want.Codec || f.Marker != want.Marker || string(f.Payload) != string(want.Payload) {
				t.Fatalf("frame %d: %+v", n, f)
			}
			if f.Seq != uint64(n+1) || f.Timestamp != want.Timestamp {
				t.Fatalf("frame %d: number %d, time %d", n, f.Seq, f.Timestamp)
			}
		}
		if f := got[100]; f.Codec != bridge.TelephoneEvent || f.Timestamp != 66000 || f.Seq != 101 || string(f.Payload) != string(event.Payload) {
			t.Errorf("event %+v", f)
		}
	})
}

func TestLossIsCountedAtBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		client, server, end := pair(t, func(b []byte) bool {
			c, err := chunk.Parse(b)
			if err != nil || c.Control || len(c.Media) == 0 {
				return false
			}
			n++
			return n%7 == 0
		})
		defer end()
		const frames = 700
		for i := range frames {
			client.Push(speech(i))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		s, c := server.Stats(), client.Stats()
		if c.Sent != frames || c.SendDropped != 0 {
			t.Errorf("sent %+v", c)
		}
		if s.Received != 600 || s.Lost != 100 || s.Unheard != 600 || s.Duplicate+s.Malformed+s.UnknownPayload+s.Foreign != 0 {
			t.Errorf("received %+v", s)
		}
		// The very last packet was among the lost: the keep-alive told the
		// receiver, but an acknowledgement speaks of what came.
		if c.PeerLost != 99 {
			t.Errorf("peer lost %d", c.PeerLost)
		}
	})
}

func TestUpstreamGapsStayVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, end := pair(t, nil)
		defer end()
		for _, n := range []int{0, 1, 2, 6, 7, 9} {
			client.Push(speech(n))
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if s := server.Stats(); s.Received != 6 || s.Lost != 4 {
			t.Errorf("received %+v", s)
		}
		if c := client.Stats(); c.PeerLost != 0 || c.Sent != 6 {
			t.Errorf("sent %+v", c)
		}
	})
}

func TestNumbersAreTruncatedOnceAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full, short int
		deaf := true
		client, _, end := pair(t, func(b []byte) bool {
			c, err := chunk.Parse(b)
			if err != nil {
				t.Errorf("sent rubbish: %v", err)
			}
			switch {
			case c.Control:
			case c.Seq.Value == 0 && c.Clock.Len == 0: // a sign of life before the first packet
			case c.Seq.Len == chunk.Full && c.Timestamp.Len == chunk.Full && c.Clock.Len == chunk.Full:
				full++
			case c.Seq.Len == 2 && c.Timestamp.Len == 2 && c.Clock.Len == 4:
				short++
			default:
				t.Errorf("mixed lengths in %+v", c)
			}
			return deaf
		})
		defer end()
		say := func(n int) {
			for i := range n {
				client.Push(speech(i))
				time.Sleep(20 * time.Millisecond)
			}
			synctest.Wait()
		}
		say(100)
		if short != 0 {
			t.Errorf("%d chunks truncated, and none was acknowledged", short)
		}
		deaf, full = false, 0
		say(500)
		if full < 10 || full > 25 || short < 450 {
			t.Errorf("%d full and %d truncated in 10 s", full, short)
		}
	})
}

func TestSilenceKeepsTheStreamAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last time.Time
		var longest time.Duration
		client, server, end := pair(t, func(b []byte) bool {
			if c, err := chunk.Parse(b); err == nil && !c.Control {
				if !last.IsZero() {
					longest = max(longest, time.Since(last))
				}
				last = time.Now()
			}
			return false
		})
		defer end()
		var heard listener
		server.Join(&heard)
		time.Sleep(5 * time.Second)
		client.Push(speech(0))
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if longest > time.Second || last.IsZero() {
			t.Errorf("%v without a chunk", longest)
		}
		if got := heard.heard(); len(got) != 1 {
			t.Errorf("%d frames of 1 pushed", len(got))
		}
		if s := server.Stats(); s.Received != 1 || s.Lost != 0 {
			t.Errorf("received %+v", s)
		}
		if c := client.Stats(); c.Sent != 1 || c.PeerLost != 0 || c.RoundTrip <= 0 && c.RoundTrip != time.Microsecond {
			t.Errorf("sent %+v", c)
		}
		if q := client.Quiet(); time.Since(q.Received) > time.Second || time.Since(q.Acked) > 2*time.Second {
			t.Errorf("quiet since %+v, now %v", q, time.Now())
		}
	})
}

func TestWithoutACarrierTheOldestIsDropped(t *testing.T) {
	p := NewPort(Config{})
	const most = queueMost + backlogMost
	for n := range most + 10 {
		p.Push(speech(n))
	}
	if s := p.Stats(); s.SendDropped != 10 || s.Sent != 0 {
		t.Errorf("%+v", s)
	}
	p.Close()
	p.Push(speech(0))
	if s := p.Stats(); s.SendDropped != most+11 {
		t.Errorf("%+v", s)
	}
	p.Push(&bridge.Frame{Payload: make([]byte, MaxPayload+1)})
	p.Close()
}

func TestABlockedCarrierBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, end := pair(t, nil)
		_ = server
		stuck := make(chan struct{})
		d := client.begin(&blocked{stuck}, 0, "stuck")
		for n := range 200 {
			client.Push(speech(n))
		}
		synctest.Wait()
		// One is with the carrier, the keep-alive of its start perhaps before it.
		if s := client.Stats(); s.SendDropped < 200-queueMost-2 || s.SendDropped > 200-queueMost {
			t.Errorf("%+v", s)
		}
		close(stuck)
		client.detach(d)
		time.Sleep(time.Second)
		c := client.Stats()
		if c.Sent+c.SendDropped != 200 {
			t.Errorf("%+v", c)
		}
		end()
	})
}

// blocked is a session whose congestion window is closed.
type blocked struct{ until chan struct{} }

func (b *blocked) SendDatagram([]byte) error { <-b.until; return nil }
func (b *blocked) ReceiveDatagram(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestRubbishIsCountedAndHarmsNothing(t *testing.T) {
	p := NewPort(Config{Audio: Streams{Receive: Stream{2, 3}, Accept: []bridge.Codec{bridge.PCMU}}})
	defer p.Close()
	var heard listener
	p.Join(&heard)
	good := func(f func(*chunk.Chunk)) []byte {
		c := chunk.Chunk{
			Seq: chunk.FullNumber(1), Timestamp: chunk.FullNumber(1), Clock: chunk.FullNumber(1),
			Source: 2, Sink: 3, Media: []byte{1},
		}
		f(&c)
		return c.Append(nil)
	}
	ack := func(a chunk.Ack) []byte {
		c := chunk.Chunk{Control: true, Ack: a.Append(nil)}
		return c.Append(nil)
	}
	for _, b := range [][]byte{
		nil, {1}, []byte("GET / HTTP/1.1\r\n"),
		good(func(c *chunk.Chunk) { c.Seq = chunk.Truncated(1, 2) }),                                                          // nothing to complete it from
		good(func(c *chunk.Chunk) { c.Control, c.Ack = true, []byte{1, 2, 3} }),                                               // no acknowledgement
		ack(chunk.Ack{Direction: chunk.ClientToServer, Source: 1, Sink: 1, Ranges: []chunk.Range{{First: 1, Last: 1}}}),       // of what was never sent
		ack(chunk.Ack{Direction: chunk.ServerToClient, Source: 1, Sink: 1, Ranges: []chunk.Range{{First: 1, Last: 1 << 60}}}), // of the peer's own
	} {
		p.receive(b, WebTransport, 0)
	}
	p.receive(good(func(c *chunk.Chunk) { c.Source = 1 }), WebTransport, 0)
	p.receive(good(func(c *chunk.Chunk) { c.PayloadType = 8 }), WebTransport, 0)
	p.receive(good(func(c *chunk.Chunk) { c.Seq, c.PayloadType = chunk.FullNumber(2), 1<<40 }), WebTransport, 0)
	p.receive(good(func(c *chunk.Chunk) { c.Seq = chunk.FullNumber(1 << 61) }), WebTransport, 0)
	p.receive(good(func(c *chunk.Chunk) { c.Seq = chunk.FullNumber(3) }), WebTransport, 0)
	p.receive(good(func(c *chunk.Chunk) { c.Seq = chunk.FullNumber(3) }), WebTransport, 0)
	if err := p.receiveBody([]byte{0x40}, 0); err == nil {
		t.Error("a cut body was taken")
	}
	s := p.Stats()
	want := bridge.MediaStats{Received: 1, Malformed: 8, Foreign: 1, UnknownPayload: 2, Duplicate: 2, Jitter: s.Jitter}
	if s != want {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	if got := heard.heard(); len(got) != 1 || got[0].Seq != 3 {
		t.Errorf("heard %+v", got)
	}
}

func FuzzReceiveBody(f *testing.F) {
	c := chunk.Chunk{Seq: chunk.FullNumber(1), Timestamp: chunk.FullNumber(1), Source: 1, Sink: 1, Media: []byte{1}}
	f.Add(c.AppendSized(nil))
	p := NewPort(Config{})
	p.Join(&listener{})
	f.Cleanup(p.Close)
	f.Fuzz(func(t *testing.T, b []byte) { _ = p.receiveBody(b, 0) })
}
