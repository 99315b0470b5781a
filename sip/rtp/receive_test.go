package rtp

import (
	"net/netip"
	"testing"

	"riptide/bridge"
	"riptide/sip/sdp"
	"riptide/sip/siptest"
)

// livekit/sip#611: a peer behind NAT announces an address it never uses.
func TestSymmetricNAT(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "nat", "scripted")
	port, rec, p := openPort(t)
	port.Configure(agreed(netip.MustParseAddrPort("127.0.0.1:9"))) // the SDP lies
	p.send(lockAfter)
	rec.wait(t, lockAfter)
	port.Push(frame(1))
	p.receive()
	if st := port.Stats(); st.Received != lockAfter || st.Lost != 0 || st.Peer != p.addr().String() {
		t.Errorf("stats %+v", st)
	}
}

func TestSpooferIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	evil := newPeer(t, port.Local())
	evil.next.SSRC = 0x666
	p.send(lockAfter)
	rec.wait(t, lockAfter)
	evil.send(30)
	p.send(1)
	rec.wait(t, lockAfter+1)
	waitFor(t, func() bool { return port.Stats().Foreign == 30 })
	port.Push(frame(1))
	p.receive()
	evil.silent(port)
	if st := port.Stats(); st.Received != lockAfter+1 || st.Lost != 0 {
		t.Errorf("stats %+v", st)
	}
}

// sipwise/rtpengine#765: our stream goes on as before when a re-INVITE moves
// the media, changes the codec, or both.
func TestReconfigureKeepsTheStream(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	p.send(10)
	rec.wait(t, 10)
	port.Push(frame(1))
	before := p.receive()

	moved := newPeer(t, port.Local())
	a := agreed(moved.addr())
	a.Audio.Send = []sdp.Format{sdp.PCMA}
	port.Configure(a)
	f := frame(2)
	f.Codec = bridge.PCMA
	port.Push(f)
	after := moved.receive()
	if after.SSRC != before.SSRC || after.SequenceNumber != before.SequenceNumber+1 ||
		after.Timestamp != before.Timestamp+160 || after.PayloadType != 8 || after.Marker {
		t.Errorf("packet after the re-INVITE %v, before %v", after.Header, before.Header)
	}
	moved.next.SSRC = 0x99
	moved.send(10)
	got := rec.wait(t, 20)
	if last, first := got[9], got[10]; first.Seq != last.Seq+1 || first.Timestamp <= last.Timestamp {
		t.Errorf("first frame of the new source %d at %d, last of the old %d at %d", first.Seq, first.Timestamp, last.Seq, last.Timestamp)
	}
	if st := port.Stats(); st.Received != 20 || st.Lost != 0 || st.Peer != moved.addr().String() {
		t.Errorf("stats %+v", st)
	}
}

// Every packet is in exactly one counter, and none is missing.
func TestExactAccounting(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	evil := newPeer(t, port.Local())
	evil.next.SSRC = 0x666
	p.send(10)
	rec.wait(t, 10)

	p.skip(3) // lost
	p.send(5)
	again := p.packet()
	p.send(1)
	p.raw(again) // duplicate
	p.raw(again)
	p.skip(2) // overtaken by the next, then one of them comes, one is lost
	p.send(1)
	p.skip(-2)
	p.send(1)
	p.skip(1)

	p.next.PayloadType = 97 // asterisk#2059: the old codec still in flight
	p.send(4)
	p.next.PayloadType = 0
	for _, rubbish := range [][]byte{{}, {0x80}, []byte("GET / HTTP/1.0\r\n\r\n"), make([]byte, maxPacket), make([]byte, 12)} {
		p.raw(rubbish)
	}
	evil.send(6)
	evil.next.PayloadType = 97
	evil.send(2)
	p.send(1)

	want := bridge.MediaStats{Received: 19, Lost: 4, Duplicate: 2, UnknownPayload: 4, Malformed: 5, Foreign: 8}
	waitFor(t, func() bool {
		st := port.Stats()
		return st.Received+st.Duplicate+st.UnknownPayload+st.Malformed+st.Foreign == 38
	})
	st := port.Stats()
	if st.Received != want.Received || st.Lost != want.Lost || st.Duplicate != want.Duplicate ||
		st.UnknownPayload != want.UnknownPayload || st.Malformed != want.Malformed || st.Foreign != want.Foreign {
		t.Errorf("have %+v\nwant %+v", st, want)
	}
	got := rec.wait(t, 19)
	if gaps := int(got[18].Seq-got[0].Seq) + 1 - len(got); gaps != 4 {
		t.Errorf("frames show %d gaps, want the 4 lost", gaps)
	}
}

func TestPacketSizes(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	p.next.Payload = make([]byte, maxPayload)
	p.send(1)
	p.next.Payload = make([]byte, maxPayload+1)
	p.send(1)
	p.next.Payload = make([]byte, 60_000)
	p.send(1)
	p.next.Payload = nil
	p.send(1)
	got := rec.wait(t, 2)
	if len(got[0].Payload) != maxPayload || len(got[1].Payload) != 0 {
		t.Errorf("payloads of %d and %d bytes", len(got[0].Payload), len(got[1].Payload))
	}
	if st := port.Stats(); st.Received != 2 || st.Malformed != 2 {
		t.Errorf("stats %+v", st)
	}
	f := frame(1)
	f.Payload = make([]byte, maxPayload+1)
	port.Push(f)
	if st := port.Stats(); st.SendDropped != 1 || st.Sent != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	p.send(3)
	rec.wait(t, 3)
	other := newRecorder()
	port.Join(other)
	p.send(3)
	other.wait(t, 3)
	port.Join(nil)
	p.send(3)
	waitFor(t, func() bool { return port.Stats().Received == 9 })
	waitFor(t, func() bool { return port.Stats().Unheard == 3 })
	if len(rec.all()) != 3 || len(other.all()) != 3 {
		t.Errorf("%d and %d frames, want 3 and 3", len(rec.all()), len(other.all()))
	}
	if port.LastReceived().IsZero() {
		t.Error("never received")
	}
}

func TestHold(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	port.Push(frame(1))
	first := p.receive()
	for _, dir := range []sdp.Direction{sdp.RecvOnly, sdp.Inactive} {
		port.SetDirection(dir)
		port.Push(frame(2))
		p.silent(port)
	}
	p.send(1) // music on hold
	rec.wait(t, 1)
	port.SetDirection(sdp.SendRecv)
	port.Push(frame(300))
	if next := p.receive(); next.SequenceNumber != first.SequenceNumber+1 || !next.Marker {
		t.Errorf("after the hold %v, before %v", next.Header, first.Header)
	}
	if st := port.Stats(); st.Sent != 2 || st.SendDropped != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestPushWithoutAddressOrFormat(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	port.Configure(agreed(netip.AddrPort{}))
	port.Push(frame(1))
	if st := port.Stats(); st.SendDropped != 1 {
		t.Errorf("no address: %+v", st)
	}
	p.send(lockAfter)
	rec.wait(t, lockAfter)
	port.Push(frame(2))
	first := p.receive()
	f := frame(3)
	f.Codec = bridge.PCMA // not agreed
	port.Push(f)
	port.Push(frame(4))
	if next := p.receive(); next.SequenceNumber != first.SequenceNumber+1 {
		t.Errorf("%d after %d: the frame that could not be sent looks lost", next.SequenceNumber, first.SequenceNumber)
	}
	if st := port.Stats(); st.Sent != 2 || st.SendDropped != 2 {
		t.Errorf("stats %+v", st)
	}
}

// The peer's number for telephone events may differ from ours.
func TestPayloadNumbersPerDirection(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	a := agreed(p.addr())
	a.Audio.Send = []sdp.Format{sdp.PCMU, sdp.TelephoneEvent(96, 8000)}
	port.Configure(a)
	f := frame(1)
	f.Codec, f.Payload = bridge.TelephoneEvent, []byte{5, 10, 0, 160}
	port.Push(f)
	if got := p.receive(); got.PayloadType != 96 || !got.Marker {
		t.Errorf("event sent as %v", got.Header)
	}
	p.next.PayloadType = 101
	p.next.Payload = f.Payload
	p.send(1)
	if got := rec.wait(t, 1)[0]; got.Codec != bridge.TelephoneEvent {
		t.Errorf("event received as %v", got.Codec)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	port, _, p := openPort(t)
	port.Push(frame(1))
	last := p.receive()
	state := port.State()
	port.Close()
	if state.SSRC != last.SSRC || state.Seq != last.SequenceNumber+1 || state.Local != port.Local() || state.Remote != p.addr() {
		t.Fatalf("state %+v after %v", state, last.Header)
	}
	again, err := port.pool.Open(Options{Restore: &state})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Local() != port.Local() {
		t.Errorf("restored on %v, was on %v", again.Local(), port.Local())
	}
	again.Configure(agreed(p.addr()))
	p.next.SequenceNumber = 0
	again.Push(frame(99))
	next := p.receiveRTP()
	ahead := next.SequenceNumber - last.SequenceNumber
	if next.SSRC != last.SSRC || ahead == 0 || ahead > 1000 || int32(next.Timestamp-last.Timestamp) <= 0 || !next.Marker {
		t.Errorf("restored stream %v continues %v", next.Header, last.Header)
	}
}
