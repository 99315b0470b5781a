package media

import (
	"testing"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

func TestTheDatagramPathAllocatesNothing(t *testing.T) {
	client, server := NewPort(Config{}), NewPort(Config{Server: true})
	defer client.Close()
	defer server.Close()
	client.Close() // its pump; the test pumps itself
	client.out.closed = false
	server.Join(discard{})
	w := &writer{}
	w.ack.Ranges = make([]chunk.Range, 0, chunk.MaxRanges)
	f := speech(0)
	step := func() {
		f.Seq++
		f.Timestamp += 160
		client.Push(f)
		for {
			m, _ := client.compose(w, datagramTraits, time.Now())
			if len(m.body) == 0 {
				return
			}
			server.receive(m.body, WebTransport)
			client.settle(m, nil)
		}
	}
	for range 2 * queueMost {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	if s := server.Stats(); s.Received < 1000 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

type discard struct{}

func (discard) Push(*bridge.Frame) {}

func BenchmarkPacket(b *testing.B) {
	client, server := NewPort(Config{}), NewPort(Config{Server: true})
	defer server.Close()
	client.Close()
	client.out.closed = false
	server.Join(discard{})
	w := &writer{}
	w.ack.Ranges = make([]chunk.Range, 0, chunk.MaxRanges)
	f := speech(0)
	b.ReportAllocs()
	for b.Loop() {
		f.Seq++
		f.Timestamp += 160
		client.Push(f)
		for {
			m, _ := client.compose(w, datagramTraits, time.Now())
			if len(m.body) == 0 {
				break
			}
			server.receive(m.body, WebTransport)
			client.settle(m, nil)
		}
	}
}
