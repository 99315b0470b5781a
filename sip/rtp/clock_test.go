package rtp

import (
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// heard is what a port without sockets gives its sink.
type heard struct{ frames []bridge.Frame }

func (h *heard) Push(f *bridge.Frame) {
	g := *f
	g.Payload = slices.Clone(f.Payload)
	h.frames = append(h.frames, g)
}

// opusPort is a port that speaks Opus, with digits under two numbers, and what it
// hears.
func opusPort(t *testing.T, formats ...sdp.Format) (*Port, *heard, func(p rtp.Packet, at time.Duration)) {
	t.Helper()
	p := inMemory()
	a := agreed(said)
	a.Audio.Send, a.Audio.Receive = formats, formats
	p.Configure(a)
	h := &heard{}
	p.Join(h)
	return p, h, func(pk rtp.Packet, at time.Duration) {
		pk.Version, pk.SSRC = 2, 77
		b, err := pk.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		p.audio.onRTP(b, said, start.Add(at))
	}
}

func packet(pt uint8, seq uint16, ts uint32, payload ...byte) rtp.Packet {
	return rtp.Packet{Header: rtp.Header{PayloadType: pt, SequenceNumber: seq, Timestamp: ts}, Payload: payload}
}

const ms = time.Millisecond

// Opus counts 48 kHz; digits beside it do on the wire, and 8 kHz at the seam.
func TestDigitsBesideOpus(t *testing.T) {
	t.Parallel()
	_, h, take := opusPort(t, sdp.Opus(111), sdp.TelephoneEvent(110, 48000))
	take(packet(111, 1, 960_000, 1), 0)
	take(packet(111, 2, 960_960, 2), 20*ms)
	for i := range uint16(3) {
		take(packet(110, 3+i, 961_920, 5, 10, byte((i+1)*960>>8), byte((i+1)*960&0xff)), 40*ms)
	}
	take(packet(110, 6, 961_920, 5, 0x80|10, 0xff, 0xff), 60*ms)
	take(packet(111, 7, 1_000_320, 3), 820*ms)
	f := h.frames
	if len(f) != 7 || f[1].Timestamp-f[0].Timestamp != 960 || f[6].Timestamp-f[0].Timestamp != 40_320 {
		t.Fatalf("%+v", f)
	}
	for i, want := range [][]byte{{5, 10, 0, 160}, {5, 10, 1, 64}, {5, 10, 1, 224}, {5, 0x8a, 0x2a, 0xaa}} {
		e := f[2+i]
		if e.Codec != bridge.TelephoneEvent || e.Timestamp != (f[0].Timestamp+1920)/6 || !slices.Equal(e.Payload, want) {
			t.Errorf("event %d: %+v, want %x at %d", i, e, want, (f[0].Timestamp+1920)/6)
		}
	}
}

// Digits declared at 8000 Hz beside Opus: with the time of the speech, or with a
// time of their own.
func TestDigitsOfAnotherClock(t *testing.T) {
	t.Parallel()
	_, h, take := opusPort(t, sdp.Opus(111), sdp.TelephoneEvent(101, 8000))
	take(packet(111, 1, 960_000, 1), 0)
	take(packet(101, 2, 960_960, 5, 10, 0, 160), 20*ms)
	take(packet(101, 3, 960_960, 5, 0x8a, 1, 64), 40*ms)
	take(packet(111, 4, 964_800, 1), 100*ms)
	take(packet(101, 5, 3_000_000_000, 6, 10, 0, 160), 120*ms)
	take(packet(101, 6, 3_000_000_000, 6, 0x8a, 1, 64), 140*ms)
	take(packet(111, 7, 968_640, 1), 180*ms)
	f := h.frames
	zero := f[0].Timestamp
	for i, want := range []uint64{zero, (zero + 960) / 6, (zero + 960) / 6, zero + 4800, (zero + 4800) / 6, (zero + 4800) / 6, zero + 8640} {
		if f[i].Timestamp != want {
			t.Errorf("frame %d (%v) at %d, want %d", i, f[i].Codec, f[i].Timestamp, want)
		}
	}
	if !slices.Equal(f[1].Payload, []byte{5, 10, 0, 160}) {
		t.Errorf("duration changed: %x", f[1].Payload)
	}
}

// What leaves beside Opus: the time of the speech, the duration in the clock that
// was agreed on.
func TestDigitsAreSentBesideOpus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		formats []sdp.Format
		pt      uint8
		payload []byte
	}{
		{[]sdp.Format{sdp.Opus(111), sdp.TelephoneEvent(101, 8000), sdp.TelephoneEvent(110, 48000)}, 110, []byte{5, 10, 0x25, 0x80}},
		{[]sdp.Format{sdp.Opus(111), sdp.TelephoneEvent(110, 48000), sdp.TelephoneEvent(101, 8000)}, 110, []byte{5, 10, 0x25, 0x80}},
		{[]sdp.Format{sdp.Opus(111), sdp.TelephoneEvent(101, 8000)}, 101, []byte{5, 10, 6, 0x40}},
	} {
		p, _, _ := opusPort(t, c.formats...)
		out := &wire{t: t}
		var got []rtp.Packet
		out.took = func(pk rtp.Packet) { pk.Payload = slices.Clone(pk.Payload); got = append(got, pk) }
		p.audio.tx.out = out
		p.Push(&bridge.Frame{Codec: bridge.Opus, Seq: 1, Timestamp: 96_000, Payload: []byte{1}})
		p.Push(&bridge.Frame{Codec: bridge.TelephoneEvent, Seq: 2, Timestamp: 16_160, Payload: []byte{5, 10, 6, 0x40}})
		p.Push(&bridge.Frame{Codec: bridge.TelephoneEvent, Seq: 3, Timestamp: 16_160, Payload: []byte{5, 0x8a, 0x40, 0}})
		p.Push(&bridge.Frame{Codec: bridge.Opus, Seq: 4, Timestamp: 98_880, Payload: []byte{1}})
		if len(got) != 4 || got[1].PayloadType != c.pt || got[1].Timestamp-got[0].Timestamp != 960 || !slices.Equal(got[1].Payload, c.payload) ||
			got[2].Timestamp != got[1].Timestamp || got[3].Timestamp-got[0].Timestamp != 2880 || got[3].SequenceNumber-got[0].SequenceNumber != 3 {
			t.Errorf("%+v", got)
		}
		if c.pt == 110 && !slices.Equal(got[2].Payload, []byte{5, 0x8a, 0xff, 0xff}) {
			t.Errorf("a long digit ends as %x", got[2].Payload)
		}
	}
}

// Another clock is another source (RFC 7160): the peer must not take the old
// times for the new.
func TestClockChanges(t *testing.T) {
	t.Parallel()
	p, h, take := opusPort(t, sdp.PCMU, sdp.Opus(111))
	out := &wire{t: t}
	var got []rtp.Packet
	out.took = func(pk rtp.Packet) { got = append(got, pk) }
	p.audio.tx.out = out
	p.Push(&bridge.Frame{Codec: bridge.PCMU, Seq: 1, Timestamp: 8000, Payload: []byte{1}})
	a := agreed(said)
	a.Audio.Send, a.Audio.Receive = []sdp.Format{sdp.Opus(111)}, []sdp.Format{sdp.Opus(111), sdp.PCMU}
	p.Configure(a)
	p.Push(&bridge.Frame{Codec: bridge.Opus, Seq: 2, Timestamp: 48960, Payload: []byte{1, 2}})
	if len(got) != 2 || got[0].SSRC == got[1].SSRC || got[1].PayloadType != 111 {
		t.Errorf("%+v", got)
	}
	sr := p.audio.compound(start)
	if st := p.Stats(); st.Sent != 2 || p.audio.tx.octets != 2 || len(sr) != 2 {
		t.Errorf("%+v", st)
	}
	// The peer changes from one to the other within one source.
	take(packet(0, 1, 16_000, 1), 0)
	take(packet(0, 2, 16_160, 1), 20*ms)
	take(packet(111, 3, 7_000_000, 1), 40*ms)
	take(packet(111, 4, 7_000_960, 1), 60*ms)
	f := h.frames
	if len(f) != 4 || f[3].Timestamp-f[2].Timestamp != 960 {
		t.Fatalf("%+v", f)
	}
	if behind := f[2].Timestamp/6 - f[1].Timestamp; behind != 160 {
		t.Errorf("the change took %d samples, want 160", behind)
	}
	if st := p.Stats(); st.Lost != 0 || st.Jitter > ms {
		t.Errorf("%+v", st)
	}
}

func TestRescale(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in       []byte
		from, to uint32
		out      []byte
	}{
		{[]byte{5, 10, 0, 160}, 8000, 48000, []byte{5, 10, 3, 0xc0}},
		{[]byte{5, 10, 0x2a, 0xaa, 6, 0, 0, 1}, 8000, 48000, []byte{5, 10, 0xff, 0xfc, 6, 0, 0, 6}},
		{[]byte{5, 10, 0x2a, 0xab}, 8000, 48000, []byte{5, 10, 0xff, 0xff}},
		{[]byte{5, 10, 0xff, 0xff}, 48000, 8000, []byte{5, 10, 0x2a, 0xaa}},
		{[]byte{5, 10, 0}, 48000, 8000, []byte{5, 10, 0}},
		{nil, 48000, 8000, nil},
	} {
		if got := rescale(nil, c.in, c.from, c.to); !slices.Equal(got, c.out) {
			t.Errorf("%x from %d to %d: %x, want %x", c.in, c.from, c.to, got, c.out)
		}
	}
}
