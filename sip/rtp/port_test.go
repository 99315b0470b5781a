package rtp

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// recorder is a sink that keeps copies of what it gets.
type recorder struct {
	mu     sync.Mutex
	frames []bridge.Frame
	more   chan struct{}
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{}, 10000)} }

func (r *recorder) Push(f *bridge.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := *f
	g.Payload = append([]byte(nil), f.Payload...)
	r.frames = append(r.frames, g)
	r.more <- struct{}{}
}

func (r *recorder) all() []bridge.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]bridge.Frame(nil), r.frames...)
}

// wait returns once n frames have come.
func (r *recorder) wait(t *testing.T, n int) []bridge.Frame {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		if got := r.all(); len(got) >= n {
			return got
		}
		select {
		case <-r.more:
		case <-limit:
			t.Fatalf("got %d frames, want %d", len(r.all()), n)
		}
	}
}

// peer is the other end: a plain UDP socket that speaks RTP.
type peer struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
	next rtp.Packet
}

func newPeer(t *testing.T, to netip.AddrPort) *peer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, conn: conn, to: to}
	p.next.Header = rtp.Header{Version: 2, SequenceNumber: 65530, Timestamp: 0xffffff00, SSRC: 0x1234}
	p.next.Payload = make([]byte, 160)
	return p
}

func (p *peer) addr() netip.AddrPort { return p.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// send sends n packets of speech, 20 ms apart in their timestamps.
func (p *peer) send(n int) {
	p.t.Helper()
	for range n {
		p.raw(p.packet())
		p.skip(1)
	}
}

func (p *peer) skip(n int) {
	p.next.SequenceNumber += uint16(n)
	p.next.Timestamp += 160 * uint32(n)
}

func (p *peer) packet() []byte {
	p.t.Helper()
	b, err := p.next.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *peer) raw(b []byte) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort(b, p.to); err != nil {
		p.t.Fatal(err)
	}
}

// receive reads one RTP packet.
func (p *peer) receive() rtp.Packet {
	p.t.Helper()
	b := make([]byte, 2000)
	if err := p.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	n, _, err := p.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		p.t.Fatalf("no packet: %v", err)
	}
	var pk rtp.Packet
	if err := pk.Unmarshal(b[:n]); err != nil {
		p.t.Fatalf("peer got rubbish: %v", err)
	}
	return pk
}

// silent checks that nothing has been sent to the peer. A marker datagram from
// the port's own socket bounds the wait without a clock.
func (p *peer) silent(port *Port) {
	p.t.Helper()
	mark := []byte("mark")
	port.audio.tx.mu.Lock()
	err := port.audio.media.send(mark, p.addr())
	port.audio.tx.mu.Unlock()
	if err != nil {
		p.t.Fatal(err)
	}
	b := make([]byte, 2000)
	if err := p.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	n, _, err := p.conn.ReadFromUDPAddrPort(b)
	if err != nil || string(b[:n]) != "mark" {
		p.t.Fatalf("peer got %d bytes (%v), want silence", n, err)
	}
}

// agreed is the usual outcome of offer and answer. Reports go where they hurt no
// test beside this one.
func agreed(remote netip.AddrPort) sdp.Agreed {
	f := []sdp.Format{sdp.PCMU, sdp.TelephoneEvent(101, 8000), sdp.CN}
	return sdp.Agreed{Audio: sdp.Stream{Remote: remote, RemoteRTCP: netip.AddrPortFrom(loopback, 9), Send: f, Receive: f}}
}

// openPort is a port with a recorder joined, and a peer that its SDP names.
func openPort(t *testing.T) (*Port, *recorder, *peer) {
	t.Helper()
	pool, err := NewPool(loopback, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	port, err := pool.Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	rec := newRecorder()
	port.Join(rec)
	p := newPeer(t, port.Local())
	port.Configure(agreed(p.addr()))
	return port, rec, p
}

func frame(seq uint64) *bridge.Frame {
	return &bridge.Frame{Codec: bridge.PCMU, Seq: seq, Timestamp: seq * 160, Payload: make([]byte, 160)}
}

func TestBothWays(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	p.send(20) // wraps sequence and timestamp
	got := rec.wait(t, 20)
	for i, f := range got {
		if i > 0 && (f.Seq != got[i-1].Seq+1 || f.Timestamp != got[i-1].Timestamp+160) {
			t.Errorf("frame %d: seq %d ts %d after %d %d", i, f.Seq, f.Timestamp, got[i-1].Seq, got[i-1].Timestamp)
		}
	}
	port.Push(frame(7))
	first := p.receive()
	if !first.Marker || first.SSRC == 0x1234 || len(first.Payload) != 160 {
		t.Errorf("first packet: %v", first.Header)
	}
	port.Push(frame(8))
	if second := p.receive(); second.SequenceNumber != first.SequenceNumber+1 || second.Timestamp != first.Timestamp+160 || second.Marker {
		t.Errorf("second packet %v after %v", second.Header, first.Header)
	}
	st := port.Close()
	if st.Received != 20 || st.Lost != 0 || st.Sent != 2 || st.SendDropped != 0 || st.Peer != p.addr().String() {
		t.Errorf("stats: %+v", st)
	}
}

// receiveRTP reads one RTP packet and passes over reports.
func (p *peer) receiveRTP() rtp.Packet {
	p.t.Helper()
	for {
		if pk := p.receive(); pk.PayloadType < 64 || pk.PayloadType > 95 {
			return pk
		}
	}
}

// waitFor waits until what was sent over loopback has been taken.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("it did not come to pass")
		}
	}
}
