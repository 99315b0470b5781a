package rtp

import (
	"encoding/binary"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// recorded reads a stream of testdata/video.
func recorded(t *testing.T, name string) []rtp.Packet {
	t.Helper()
	b, err := os.ReadFile("../../testdata/video/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var packets []rtp.Packet
	for len(b) > 2 {
		n := int(binary.BigEndian.Uint16(b))
		var p rtp.Packet
		if err := p.Unmarshal(b[2 : 2+n]); err != nil {
			t.Fatal(err)
		}
		packets = append(packets, p)
		b = b[2+n:]
	}
	return packets
}

const videoNumber = 112

func videoAgreed(p, v *peer, codec bridge.Codec, feedback sdp.Feedback) sdp.Agreed {
	f := []sdp.Format{{Payload: videoNumber, Name: codec.String(), Clock: 90000, Channels: 1, Feedback: feedback}}
	a := agreed(p.addr())
	a.Video = sdp.Stream{Remote: v.addr(), Send: f, Receive: f}
	return a
}

// openVideo is a port with audio and video, and a peer for each.
func openVideo(t *testing.T, codec bridge.Codec) (port *Port, rec *recorder, audio, video *peer) {
	t.Helper()
	port, rec, audio = openPort(t)
	if err := port.OpenVideo(nil, false); err != nil {
		t.Fatal(err)
	}
	video = newPeer(t, port.VideoLocal())
	port.Configure(videoAgreed(audio, video, codec, sdp.PLI|sdp.FIR))
	return port, rec, audio, video
}

// A stream comes out of two joined ports as it went in: payloads bit by bit,
// markers, the steps of numbers and of times, also where times run backwards.
func TestVideoIsExact(t *testing.T) {
	t.Parallel()
	for file, codec := range map[string]bridge.Codec{"h264.rtp": bridge.H264, "vp8.rtp": bridge.VP8} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			in, _, _, sender := openVideo(t, codec)
			out, _, _, watcher := openVideo(t, codec)
			in.Join(out)
			skipped := 0
			var sent, got []rtp.Packet
			for i, p := range recorded(t, file) {
				if i%50 == 49 { // lost on the way to us
					skipped++
					continue
				}
				p.PayloadType = videoNumber
				b, err := p.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				sender.raw(b)
				sent, got = append(sent, p), append(got, watcher.receiveRTP())
			}
			first := got[0]
			for i, g := range got {
				want := sent[i]
				if g.SequenceNumber-first.SequenceNumber != want.SequenceNumber-sent[0].SequenceNumber ||
					g.Timestamp-first.Timestamp != want.Timestamp-sent[0].Timestamp ||
					g.Marker != want.Marker || g.PayloadType != videoNumber || !slices.Equal(g.Payload, want.Payload) {
					t.Fatalf("packet %d: %v after %v, want %v after %v", i, g.Header, first.Header, want.Header, sent[0].Header)
				}
			}
			if st := out.Close(); st.Sent != uint64(len(got)) || st.SendDropped != 0 {
				t.Errorf("stats %+v", st)
			}
			if st := in.Close(); st.Received != uint64(len(got)) || st.Lost != uint64(skipped) {
				t.Errorf("stats %+v, %d skipped", st, skipped)
			}
		})
	}
}

func TestVideoAndAudioAreApart(t *testing.T) {
	t.Parallel()
	port, rec, audio, video := openVideo(t, bridge.VP8)
	if v := port.VideoLocal(); v.Port()%2 != 0 || v == port.Local() || port.pool.InUse() != 2 {
		t.Errorf("audio at %v, video at %v, %d pairs", port.Local(), v, port.pool.InUse())
	}
	audio.send(1)
	video.next.PayloadType, video.next.Payload = videoNumber, make([]byte, maxPayload)
	video.send(1)
	video.next.PayloadType = 0 // speech has no business here
	video.send(1)
	frames := rec.wait(t, 2)
	waitFor(t, func() bool { return port.Stats().UnknownPayload == 1 })
	kinds := map[bridge.Kind]int{}
	for _, f := range frames {
		kinds[f.Codec.Kind()]++
	}
	if kinds[bridge.Audio] != 1 || kinds[bridge.Video] != 1 {
		t.Errorf("%v", kinds)
	}
	port.Push(&bridge.Frame{Codec: bridge.VP8, Seq: 1, Timestamp: 9, Marker: true, Payload: make([]byte, maxPayload)})
	if p := video.receiveRTP(); p.PayloadType != videoNumber || !p.Marker || len(p.Payload) != maxPayload {
		t.Errorf("%v", p.Header)
	}
	port.Push(frame(1))
	if p := audio.receiveRTP(); p.PayloadType != 0 {
		t.Errorf("%v", p.Header)
	}
	port.Push(&bridge.Frame{Codec: bridge.H264, Payload: []byte{1}})
	st := port.Stats()
	if st.Sent != 2 || st.SendDropped != 1 || st.Received != 2 {
		t.Errorf("%+v", st)
	}
	var class int
	err := port.video.Load().media.raw.Control(func(fd uintptr) {
		class, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS)
	})
	if err != nil || class != assured41 {
		t.Errorf("video is marked %#x (%v), want AF41", class, err)
	}
}

// Video comes and goes while the audio runs, and what it counted stays.
func TestVideoIsSwitchedOff(t *testing.T) {
	t.Parallel()
	port, rec, _, video := openVideo(t, bridge.VP8)
	if err := port.OpenVideo(nil, false); err != nil || port.pool.InUse() != 2 {
		t.Errorf("opened twice: %v, %d pairs", err, port.pool.InUse())
	}
	st, ok := port.VideoState()
	if !ok || st.Local != port.VideoLocal() || st.CNAME != port.State().CNAME || st.SSRC == port.State().SSRC {
		t.Errorf("state %+v %v", st, ok)
	}
	video.next.PayloadType = videoNumber
	video.send(3)
	rec.wait(t, 3)
	port.CloseVideo()
	port.CloseVideo()
	if _, ok := port.VideoState(); ok || port.VideoLocal().IsValid() || port.pool.InUse() != 1 {
		t.Errorf("still there: %v, %d pairs", port.VideoLocal(), port.pool.InUse())
	}
	port.Push(&bridge.Frame{Codec: bridge.VP8, Payload: []byte{1}})
	port.Push(&bridge.Frame{Codec: bridge.VP8, Request: bridge.RequestKeyframe})
	if st := port.Stats(); st.Received != 3 || st.SendDropped != 1 {
		t.Errorf("%+v", st)
	}
	if err := port.OpenVideo(nil, false); err != nil {
		t.Fatal(err)
	}
	if st := port.Close(); st.Received != 3 || port.pool.InUse() != 0 {
		t.Errorf("%+v, %d pairs", st, port.pool.InUse())
	}
	if err := port.OpenVideo(nil, false); err == nil {
		t.Error("opened after Close")
	}
}

// A pool with one pair left has none for video; the audio does not mind.
func TestNoPortsForVideo(t *testing.T) {
	t.Parallel()
	pool, base := smallPool(t, 1)
	port, err := pool.Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	if err := port.OpenVideo(nil, false); err == nil || port.VideoLocal().IsValid() {
		t.Errorf("video on %v of a pool with one pair at %d: %v", port.VideoLocal(), base, err)
	}
}

// smallPool is a pool of n pairs that were free a moment ago.
func smallPool(t *testing.T, n int) (*Pool, uint16) {
	t.Helper()
	any, err := NewPool(loopback, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	port, err := any.Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	base := port.Local().Port()
	port.Close()
	pool, err := NewPool(loopback, base, base+uint16(2*n)-1)
	if err != nil {
		t.Fatal(err)
	}
	return pool, base
}

func TestKeyframeIsRequestedOfThePeer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		feedback sdp.Feedback
		check    func(rtcp.Packet) bool
	}{
		"PLI":            {sdp.PLI | sdp.FIR, func(p rtcp.Packet) bool { q, ok := p.(*rtcp.PictureLossIndication); return ok && q.MediaSSRC == 0x1234 }},
		"nothing agreed": {0, func(p rtcp.Packet) bool { q, ok := p.(*rtcp.PictureLossIndication); return ok && q.MediaSSRC == 0x1234 }},
		"FIR":            {sdp.FIR, func(p rtcp.Packet) bool { q, ok := p.(*rtcp.FullIntraRequest); return ok && q.FIR[0].SSRC == 0x1234 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, rec, audio, video := openVideo(t, bridge.H264)
			r := &reporter{t, newPeer(t, port.VideoLocal()).conn, port.VideoLocal()}
			a := videoAgreed(audio, video, bridge.H264, c.feedback)
			a.Video.RemoteRTCP = r.addr()
			port.Configure(a)
			request := &bridge.Frame{Codec: bridge.H264, Request: bridge.RequestKeyframe}
			port.Push(request) // nothing has come that could be broken
			video.next.PayloadType = videoNumber
			video.send(1)
			rec.wait(t, 1)
			port.Push(request)
			port.Push(request)
			var numbers []uint8
			for range 2 {
				got := r.receive()
				last := got[len(got)-1]
				if _, ok := got[0].(*rtcp.ReceiverReport); !ok || !c.check(last) {
					t.Errorf("asked by %v", got)
				}
				if fir, ok := last.(*rtcp.FullIntraRequest); ok {
					numbers = append(numbers, fir.FIR[0].SequenceNumber)
				}
			}
			if len(numbers) == 2 && numbers[1] != numbers[0]+1 {
				t.Errorf("FIR numbers %v", numbers)
			}
		})
	}
}

func TestPeerRequestsKeyframe(t *testing.T) {
	t.Parallel()
	port, rec, _, video := openVideo(t, bridge.H264)
	to := port.VideoLocal()
	reports := &reporter{t, newPeer(t, to).conn, to}
	reports.to = addrAfter(to)
	fir := func(number uint8) *rtcp.FullIntraRequest {
		return &rtcp.FullIntraRequest{SenderSSRC: 7, FIR: []rtcp.FIREntry{{SSRC: 1, SequenceNumber: number}}}
	}
	reports.send(&rtcp.ReceiverReport{SSRC: 7}, &rtcp.PictureLossIndication{SenderSSRC: 7, MediaSSRC: 1})
	reports.send(&rtcp.PictureLossIndication{SenderSSRC: 7})
	reports.send(fir(3))
	reports.send(fir(3)) // the same again
	reports.send(fir(4))
	reports.send(&rtcp.TransportLayerNack{SenderSSRC: 7, Nacks: []rtcp.NackPair{{PacketID: 1}}}) // not agreed on, and not ours to mend
	for _, f := range rec.wait(t, 4) {
		if f.Request != bridge.RequestKeyframe || f.Codec != bridge.H264 || f.Payload != nil {
			t.Errorf("%+v", f)
		}
	}
	video.next.PayloadType = videoNumber
	video.send(1)
	rec.wait(t, 5)
	if st := port.Stats(); st.Requested != 4 || st.Received != 1 || st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
	// Beside speech a request means nothing.
	speech := &reporter{t, reports.conn, addrAfter(port.Local())}
	speech.send(&rtcp.PictureLossIndication{SenderSSRC: 7})
	port.Join(nil)
	reports.send(&rtcp.PictureLossIndication{SenderSSRC: 7})
	waitFor(t, func() bool { return port.Stats().Requested == 5 })
	if st := port.Stats(); st.Unheard != 0 {
		t.Errorf("a request counts as a packet: %+v", st)
	}
	for _, b := range [][]byte{{0x81, 206, 0, 1, 0, 0, 0, 0}, {0x84, 206, 0, 1, 0, 0, 0, 7}} {
		if eachReport(b, reportTaker{request: func(uint32, uint32, int) { t.Errorf("%x taken", b) }}) {
			t.Errorf("%x is not malformed", b)
		}
	}
}

// Reports of the video count 90 kHz.
func TestVideoReports(t *testing.T) {
	t.Parallel()
	port, _, _, video := openVideo(t, bridge.VP8)
	port.Push(&bridge.Frame{Codec: bridge.VP8, Seq: 1, Timestamp: 5, Payload: []byte{1, 2}})
	sent := video.receiveRTP()
	s := port.video.Load()
	s.tx.mu.Lock()
	at := s.tx.line.refAt
	s.tx.mu.Unlock()
	sr, ok := s.compound(at.Add(2 * time.Second))[0].(*rtcp.SenderReport)
	if !ok || sr.RTPTime != sent.Timestamp+180_000 || sr.PacketCount != 1 || sr.OctetCount != 2 {
		t.Errorf("%+v", sr)
	}
}
