package rtp

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
)

type nobody struct{}

func (nobody) Push(*bridge.Frame) {}

// bench is a port with real sockets that nothing is sent to, fed by hand: two
// goroutines must not call onRTP.
func bench(tb testing.TB) (port *Port, peer netip.AddrPort, next func() []byte) {
	tb.Helper()
	pool, err := NewPool(loopback, 0, 0)
	if err != nil {
		tb.Fatal(err)
	}
	port, err = pool.Open(Options{})
	if err != nil {
		tb.Fatal(err)
	}
	sink, err := listen(netip.AddrPortFrom(loopback, 0))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { port.Close(); sink.close() })
	port.Configure(agreed(sink.local()))
	port.Join(nobody{})
	pk := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 1}, Payload: make([]byte, 160)}
	buf := make([]byte, 200)
	return port, sink.local(), func() []byte {
		pk.SequenceNumber++
		pk.Timestamp += 160
		n, err := pk.MarshalTo(buf)
		if err != nil {
			tb.Fatal(err)
		}
		return buf[:n]
	}
}

func TestNoAllocations(t *testing.T) {
	port, addr, next := bench(t)
	now := start
	rubbish := []byte("not a packet at all")
	stranger := netip.MustParseAddrPort("198.51.100.66:7")
	for range lockAfter {
		port.audio.onRTP(next(), addr, now)
	}
	f := frame(0)
	for name, run := range map[string]func(){
		"receive":   func() { now = now.Add(20 * time.Millisecond); port.audio.onRTP(next(), addr, now) },
		"malformed": func() { port.audio.onRTP(rubbish, addr, now) },
		"foreign":   func() { port.audio.onRTP(next(), stranger, now) },
		"send":      func() { f.Seq++; f.Timestamp += 160; port.Push(f) },
	} {
		if n := testing.AllocsPerRun(1000, run); n != 0 {
			t.Errorf("%s: %v allocations per packet", name, n)
		}
	}
	if st := port.Stats(); st.Received < 1000 || st.Foreign < 1000 || st.Malformed < 1000 || st.Sent < 1000 {
		t.Errorf("the test did not do what it says: %+v", st)
	}
}

// A socket that cannot take more costs the packet, never the goroutine.
func TestFullSocketDropsAndCounts(t *testing.T) {
	t.Parallel()
	port, _, _ := bench(t)
	port.audio.tx.mu.Lock()
	port.audio.tx.out = full{}
	port.audio.tx.mu.Unlock()
	port.Push(frame(1))
	port.Push(frame(2))
	if st := port.Stats(); st.SendDropped != 2 || st.Sent != 0 {
		t.Errorf("stats %+v", st)
	}
}

type full struct{}

var errFull = errors.New("no room")

func (full) send([]byte, netip.AddrPort) error { return errFull }

func BenchmarkReceive(b *testing.B) {
	port, addr, next := bench(b)
	now := start
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(20 * time.Millisecond)
		port.audio.onRTP(next(), addr, now)
	}
}

func BenchmarkSend(b *testing.B) {
	port, _, _ := bench(b)
	f := frame(0)
	b.ReportAllocs()
	for b.Loop() {
		f.Seq++
		f.Timestamp += 160
		port.Push(f)
	}
}

// BenchmarkPass is a packet's way through two joined ports.
func BenchmarkPass(b *testing.B) {
	in, addr, next := bench(b)
	out, _, _ := bench(b)
	in.Join(out)
	now := start
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(20 * time.Millisecond)
		in.audio.onRTP(next(), addr, now)
	}
}
