package rtp

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// wire keeps what a port without sockets sends.
type wire struct {
	t    *testing.T
	last rtp.Packet
	n    int
	took func(rtp.Packet)
}

func (w *wire) send(b []byte, _ netip.AddrPort) error {
	if err := w.last.Unmarshal(b); err != nil {
		w.t.Fatal(err)
	}
	w.n++
	w.took(w.last)
	return nil
}

// pjsip/pjproject#2682: what goes wrong only after 17 minutes. Two hours of
// packets with loss cross two joined ports; numbers and time wrap on the way.
func TestLongCall(t *testing.T) {
	t.Parallel()
	a, b := inMemory(), inMemory()
	now := start
	a.now = func() time.Time { return now }
	b.now = a.now
	a.Join(b)
	out := &wire{t: t}
	var seq uint16
	var ts uint32
	lost := 0
	out.took = func(p rtp.Packet) {
		if out.n > 1 {
			gap := p.SequenceNumber - seq
			lost += int(gap) - 1
			if p.Timestamp-ts != 160*uint32(gap) || p.Marker {
				t.Fatalf("packet %d: seq +%d, ts +%d, marker %v", out.n, gap, p.Timestamp-ts, p.Marker)
			}
		}
		seq, ts = p.SequenceNumber, p.Timestamp
	}
	b.audio.tx.out = out
	in := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 9, SequenceNumber: 60_000, Timestamp: 1<<32 - 1_000_000}, Payload: make([]byte, 160)}
	buf := make([]byte, 200)
	const packets = 2 * 60 * 60 * 50
	for i := range packets {
		if i%100 != 99 {
			n, err := in.MarshalTo(buf)
			if err != nil {
				t.Fatal(err)
			}
			a.audio.onRTP(buf[:n], said, now)
		}
		in.SequenceNumber++
		in.Timestamp += 160
		now = now.Add(20 * time.Millisecond)
	}
	const want = packets / 100
	st := a.Stats()
	if st.Received != packets-want || st.Lost != want-1 || lost != want-1 || out.n != packets-want {
		t.Errorf("received %d, lost %d; %d left, showing %d lost", st.Received, st.Lost, out.n, lost)
	}
	if st.Jitter > time.Microsecond {
		t.Errorf("jitter %v", st.Jitter)
	}
}

// Everything at once, for the race detector; and nothing after Close.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	repeat := func(f func()) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		})
	}
	other := nobody{}
	repeat(func() { port.Stats(); port.State(); port.LastReceived() })
	repeat(func() { port.Configure(agreed(p.addr())); port.SetDirection(sdp.Inactive) })
	repeat(func() { port.Push(frame(1)) })
	repeat(func() { port.Join(other); port.Join(rec) })
	repeat(func() { port.audio.report(time.Now()) })
	for range 500 {
		p.send(1)
	}
	waitFor(t, func() bool {
		st := port.Stats()
		return st.Received+st.Foreign+st.Duplicate > 100
	})
	port.Close()
	close(stop)
	wg.Wait()
	final := port.Close()
	n := len(rec.all())
	p.send(5)
	port.Push(frame(2))
	if st := port.Stats(); st != final || len(rec.all()) != n {
		t.Errorf("after Close %+v, at Close %+v; %d frames, then %d", st, final, n, len(rec.all()))
	}
}

func TestCodecs(t *testing.T) {
	t.Parallel()
	all := bridge.MediaOffer{
		Speech: []bridge.Codec{bridge.Opus, bridge.G722, bridge.PCMA, bridge.PCMU}, Digits: true, ComfortNoise: true, Ptime: 30 * time.Millisecond,
		Video: []bridge.Format{
			{Codec: bridge.H264, Params: []bridge.Param{{Name: "profile-level-id", Value: 0x42e01f}, {Name: "packetization-mode", Value: 1}}},
			{Codec: bridge.VP8},
		},
	}
	c := CapabilityOf(all)
	h264 := sdp.Format{
		Payload: 112, Name: "H264", Clock: 90000, Channels: 1, Params: "profile-level-id=42e01f;packetization-mode=1", Feedback: sdp.PLI | sdp.FIR,
	}
	if want := []sdp.Format{sdp.Opus(111), sdp.G722, sdp.PCMA, sdp.PCMU, sdp.TelephoneEvent(110, 48000), sdp.TelephoneEvent(101, 8000), sdp.CN}; !reflect.DeepEqual(c.Audio, want) {
		t.Errorf("formats %v, want %v", c.Audio, want)
	}
	if len(c.Video) != 2 || c.Video[0] != h264 || c.Video[1].Payload != 113 {
		t.Errorf("video %+v", c.Video)
	}
	local := sdp.Local{RTP: said, Video: nat}
	if got, ok := OfferOf(sdp.MakeOffer(local, c)); !ok || !reflect.DeepEqual(got, all) {
		t.Errorf("offer %+v, want %+v", got, all)
	}
	for _, plan := range []bridge.MediaPlan{
		{Speech: bridge.PCMA, Digits: true, Ptime: 20 * time.Millisecond},
		{Speech: bridge.Opus, Digits: true, Ptime: 20 * time.Millisecond, Video: &all.Video[0]},
		{Speech: bridge.G722, ComfortNoise: true, Ptime: 20 * time.Millisecond, Video: &all.Video[1]},
	} {
		p := AnswerOf(sdp.MakeOffer(local, c), plan)
		if got, ok := PlanOf(sdp.Agreed{Audio: sdp.Stream{Send: p.Audio}, Video: sdp.Stream{Send: p.Video}}); !ok || !got.Equal(plan) {
			t.Errorf("plan %+v %v, want %+v", got, ok, plan)
		}
	}
	if _, ok := PlanOf(sdp.Agreed{Audio: sdp.Stream{Send: []sdp.Format{sdp.CN}}}); ok {
		t.Error("a plan without speech")
	}
	for _, f := range []sdp.Format{
		{Payload: 96, Name: "G722", Clock: 16000, Channels: 1}, {Payload: 96, Name: "PCMU", Clock: 16000, Channels: 1},
		{Payload: 97, Name: "PCMU", Clock: 8000, Channels: 2}, sdp.TelephoneEvent(98, 16000), {Payload: 99}, {Payload: 99, Name: "VP8", Clock: 8000, Channels: 1},
	} {
		if c, ok := CodecOf(f); ok {
			t.Errorf("%+v taken for %v", f, c)
		}
	}
}

func TestVideoParameters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, out string }{
		{"H264", "profile-level-id=42E01F; packetization-mode=1;level-asymmetry-allowed=1;max-mbps=108000;max-fs=3600", "profile-level-id=42e01f;packetization-mode=1;max-mbps=108000;max-fs=3600"},
		{"h264", "sprop-parameter-sets=Z0LgC5ZUCg/I,aM4BrFSAa;profile-level-id=00000a", "profile-level-id=00000a"},
		{"H264", "profile-level-id=xyz;max-br=-1;max-fs=4294967296;max-mbps=4294967295;max-dpb=7", "max-mbps=4294967295"},
		{"VP8", "max-fr=30; max-fs=3600;profile-level-id=1", "max-fr=30;max-fs=3600"},
		{"VP8", "", ""},
	} {
		v, ok := videoOf(sdp.Format{Name: c.name, Clock: 90000, Channels: 1, Params: c.in})
		if got := videoFormat(v, 112); !ok || got.Params != c.out {
			t.Errorf("%s %q: %q, want %q", c.name, c.in, got.Params, c.out)
		}
	}
	odd := bridge.Format{Codec: bridge.H264, Params: []bridge.Param{{Name: "profile-level-id", Value: 1 << 24}, {Name: "max-fs", Value: -1}, {Name: "width", Value: 3}}}
	if f := videoFormat(odd, 112); f.Params != "" {
		t.Errorf("written: %q", f.Params)
	}
	many := bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}, Video: make([]bridge.Format, maxVideoFormats+1)}
	for i := range many.Video {
		many.Video[i].Codec = bridge.VP8
	}
	if c := CapabilityOf(many); len(c.Video) != maxVideoFormats || c.Video[maxVideoFormats-1].Payload != 127 {
		t.Errorf("%d formats: %+v", len(c.Video), c.Video)
	}
}

func TestStateInARecord(t *testing.T) {
	t.Parallel()
	port, _, _ := openPort(t)
	for _, st := range []State{{}, port.State()} {
		b, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := json.Unmarshal(b, &back); err != nil || !back.At.Equal(st.At) {
			t.Fatalf("%s read as %+v: %v", b, back, err)
		}
		if back.At = st.At; back != st {
			t.Errorf("%s read as %+v, was %+v", b, back, st)
		}
	}
}

// livekit/sip#424: nobody could say where the media came from.
func TestBothAddressesAreLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := inMemory()
	p.log = slog.New(slog.NewTextHandler(&log, nil))
	pk := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 1}}
	for range 20 {
		b, err := pk.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		p.audio.onRTP(b, nat, start)
		pk.SequenceNumber++
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, said.String()) || !strings.Contains(got, nat.String()) {
		t.Errorf("log:\n%s", got)
	}
	if peer := p.Stats().Peer; peer != nat.String() {
		t.Errorf("peer %q", peer)
	}
	if peer := inMemory().Stats().Peer; peer != "" {
		t.Errorf("peer %q before any packet", peer)
	}
}

func TestPacketsAreMarkedAsVoice(t *testing.T) {
	t.Parallel()
	port, _, _ := openPort(t)
	for _, s := range []*socket{port.audio.media, port.audio.reports} {
		var tos int
		var err error
		if e := s.raw.Control(func(fd uintptr) { tos, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS) }); e != nil {
			t.Fatal(e)
		}
		if err != nil || tos != 0xb8 {
			t.Errorf("traffic class %#x (%v), want EF", tos, err)
		}
	}
}
