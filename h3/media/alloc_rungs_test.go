package media

import (
	"context"
	"errors"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// A line is a call between two ports whose pumps the test drives itself, on one
// rung of the ladder: all that is ours, and in place of the network and of the
// libraries that speak HTTP a copy of bytes.
type line struct {
	ends [2]*Port
	over [2]func(message) // takes what one end sends to the other
	w    [2]writer
	f    bridge.Frame
}

func newLine() *line {
	l := &line{f: *speech(0)}
	for i := range l.ends {
		p := NewPort(Config{Server: i == 1})
		p.Close() // its pump
		p.out.closed = false
		p.Join(discard{})
		l.ends[i] = p
		l.w[i].ack.Direction = p.direction(false)
		l.w[i].ack.Ranges = make([]chunk.Range, 0, chunk.MaxRanges)
	}
	return l
}

// speak lets both ends send a packet, and with it what else is due.
func (l *line) speak(about traits) {
	l.f.Seq++
	l.f.Timestamp += 160
	for i, p := range l.ends {
		p.Push(&l.f)
		for {
			m, _ := p.compose(&l.w[i], about, time.Now())
			if len(m.body) == 0 {
				break
			}
			l.over[i](m)
		}
	}
}

// requestLine is a call on requests, but for the requests.
func requestLine() (*line, func()) {
	l := newLine()
	for i := range l.ends {
		from, to := l.ends[i], l.ends[1-i]
		from.attach(&hop{}, 0, "peer")
		l.over[i] = func(m message) {
			_ = to.receiveBody(m.body, 0)
			from.settle(m, nil)
		}
	}
	return l, func() { l.speak(requestTraits) }
}

// feed is a stream's bytes as they are there.
type feed struct{ out *laneStream }

var errNothing = errors.New("nothing is there")

func (f feed) Read(b []byte) (int, error) {
	n, err := f.out.take(b)
	if n == 0 && err == nil {
		err = errNothing
	}
	return n, err
}

// stripedLine is a call on striped streams, but for the streams.
func stripedLine() (*line, func()) {
	l := newLine()
	var sets [2]*stripes
	for i, p := range l.ends {
		sets[i] = &stripes{p: p, lanes: newLanes(p, stripeCount), proven: true}
		p.attach(sets[i], 0, "peer")
	}
	var in [2][stripeCount]*chunkStream
	for i, to := range []*stripes{sets[1], sets[0]} {
		for n := range in[i] {
			in[i][n] = newChunkStream(feed{sets[i].lanes[n].open(nil)}, nil)
		}
		l.over[i] = func(m message) {
			sets[i].send(m)
			for n, s := range in[i] {
				for one, err := s.next(); err == nil; one, err = s.next() {
					to.take(one, n, "peer")
				}
			}
		}
	}
	return l, func() { l.speak(stripeTraits) }
}

// copied is a session that hands datagrams to take, in a buffer that is used again.
type copied struct {
	buf  []byte
	take func([]byte)
}

func (c *copied) SendDatagram(b []byte) error {
	c.buf = append(c.buf[:0], b...)
	c.take(c.buf)
	return nil
}

func (c *copied) ReceiveDatagram(ctx context.Context) ([]byte, error) { return nil, ctx.Err() }

// datagramLine is a call on a WebTransport session, but for that.
func datagramLine() (*line, func()) {
	l := newLine()
	for i := range l.ends {
		to := l.ends[1-i]
		d := l.ends[i].begin(&copied{take: func(b []byte) { to.receive(b, WebTransport, 0) }}, 0, "peer")
		l.over[i] = d.send
	}
	return l, func() { l.speak(datagramTraits) }
}

// trunkLine is calls on a trunk session, but for that: one after the other speaks,
// and what they said travels together.
func trunkLine(calls int) (*line, func()) {
	lines := make([]*line, calls)
	var ends [2]*trunkSession
	for i := range ends {
		ends[i] = newTrunkSession("session")
	}
	for i := range ends {
		to := ends[1-i]
		ends[i].s = &copied{take: to.in.put}
	}
	for n := range lines {
		l := newLine()
		for i := range l.ends {
			s := &seat{t: ends[i], tag: uint64(n + 1), p: l.ends[i]}
			ends[i].sit(s)
			l.ends[i].attach(s, 0, "peer")
			l.over[i] = s.send
		}
		lines[n] = l
	}
	var parcels [2]parcel
	return lines[calls/2], func() {
		for _, l := range lines {
			l.speak(trunkTraits)
		}
		for i, t := range ends {
			for ok, _ := t.out.take(&parcels[i], 0); ok; ok, _ = t.out.take(&parcels[i], 0) {
				t.sendParcel(&parcels[i])
				ends[1-i].unpack(ends[1-i].in.take(t.ctx))
			}
		}
	}
}

// TestNoRungAllocates: in both directions, with acknowledgements.
func TestNoRungAllocates(t *testing.T) {
	for name, make := range map[string]func() (*line, func()){
		PutGet.String():       requestLine,
		Striped.String():      stripedLine,
		WebTransport.String(): datagramLine,
		Trunk.String():        func() (*line, func()) { return trunkLine(1) },
		"trunk, many calls":   func() (*line, func()) { return trunkLine(20) },
	} {
		t.Run(name, func(t *testing.T) {
			l, step := make()
			for range 2 * queueMost {
				step()
			}
			const runs = 1000
			if n := testing.AllocsPerRun(runs, step); n != 0 {
				t.Errorf("%v allocations per packet", n)
			}
			for i, p := range l.ends {
				s := p.Stats()
				if s.Received < runs || s.Sent < runs || s.Lost+s.PeerLost+s.SendDropped+s.Malformed+s.Duplicate+s.Foreign+s.Late != 0 {
					t.Errorf("end %d: %+v", i, s)
				}
			}
		})
	}
}
