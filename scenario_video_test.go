package main_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"riptide/sip/siptest"
)

// recordedVideo reads a stream of testdata/video.
func recordedVideo(t *testing.T, name string) []rtp.Packet {
	t.Helper()
	b, err := os.ReadFile("testdata/video/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var packets []rtp.Packet
	for len(b) > 2 {
		n := int(b[0])<<8 | int(b[1])
		var p rtp.Packet
		if err := p.Unmarshal(b[2 : 2+n]); err != nil {
			t.Fatal(err)
		}
		packets = append(packets, p)
		b = b[2+n:]
	}
	return packets
}

// film sends a recorded stream in pictures, as fast as they were made.
func film(ctx context.Context, packets []rtp.Packet, from *net.UDPConn, to *net.UDPAddr, payload uint8) error {
	for _, p := range packets {
		p.PayloadType = payload
		b, err := p.Marshal()
		if err != nil {
			return err
		}
		if _, err := from.WriteToUDP(b, to); err != nil {
			return err
		}
		if p.Marker {
			select {
			case <-time.After(time.Second / 15):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// watch takes RTP until n packets have come, or none for a while.
func watch(from *net.UDPConn, n int) []rtp.Packet {
	var got []rtp.Packet
	buf := make([]byte, 2048)
	for len(got) < n {
		_ = from.SetReadDeadline(time.Now().Add(5 * time.Second))
		size, _, err := from.ReadFromUDP(buf)
		if err != nil {
			return got
		}
		var p rtp.Packet
		if p.Unmarshal(slices.Clone(buf[:size])) == nil {
			got = append(got, p)
		}
	}
	return got
}

// sameVideo compares what was watched with what was filmed: every packet, its
// payload bit by bit, its marker, and the steps of numbers and times. Packets may
// overtake each other on their way, as they may on any network.
func sameVideo(t *testing.T, got, want []rtp.Packet) {
	t.Helper()
	slices.SortStableFunc(got, func(a, b rtp.Packet) int { return int(int16(a.SequenceNumber - b.SequenceNumber)) })
	if len(got) != len(want) {
		t.Errorf("%d packets arrived, %d were sent", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if g.SequenceNumber-got[0].SequenceNumber != w.SequenceNumber-want[0].SequenceNumber ||
			g.Timestamp-got[0].Timestamp != w.Timestamp-want[0].Timestamp || g.Marker != w.Marker || !slices.Equal(g.Payload, w.Payload) {
			t.Errorf("packet %d: number +%d, time +%d, marker %v, %d bytes; sent +%d, +%d, %v, %d bytes", i,
				g.SequenceNumber-got[0].SequenceNumber, g.Timestamp-got[0].Timestamp, g.Marker, len(g.Payload),
				w.SequenceNumber-want[0].SequenceNumber, w.Timestamp-want[0].Timestamp, w.Marker, len(w.Payload))
			return
		}
	}
}

// asked waits for a request for a keyframe.
func asked(from *net.UDPConn, limit time.Duration) error {
	buf := make([]byte, 2048)
	deadline := time.Now().Add(limit)
	for {
		_ = from.SetReadDeadline(deadline)
		n, _, err := from.ReadFromUDP(buf)
		if err != nil {
			return fmt.Errorf("no request for a keyframe: %w", err)
		}
		packets, err := rtcp.Unmarshal(buf[:n])
		if err != nil {
			return fmt.Errorf("a malformed report: %w", err)
		}
		for _, p := range packets {
			switch p.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				return nil
			}
		}
	}
}

// videoPair is two telephones with video, or not, and two bridges between.
func videoPair(t *testing.T, media string, caller, callee *siptest.Phone) (context.Context, *pair) {
	t.Helper()
	caller.User, callee.User = officeNumber, telcoNumber
	caller.Start(t)
	callee.Start(t)
	p := startPair(t, pairOptions{args: []string{"--to", callee.Addr(), "--from", caller.Addr(), "--media", media}})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	if err := caller.Call(ctx, p.office.sip, telcoNumber); err != nil {
		t.Fatal(err)
	}
	if err := callee.Talks(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx, p
}

// TestVideoCrosses: a recorded stream goes SIP, HTTP/3, SIP in both directions at
// once and arrives bit by bit; requests for keyframes go both ways.
func TestVideoCrosses(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "video", "scripted")
	for _, c := range []struct{ codec, fmtp, file, media string }{
		{"H264", "profile-level-id=4d001e;packetization-mode=1", "h264.rtp", "auto"},
		{"VP8", "max-fr=30;max-fs=3600", "vp8.rtp", "auto"},
		{"H264", "profile-level-id=4d001e;packetization-mode=1", "h264.rtp", "put-get"},
	} {
		t.Run(c.codec+" by "+c.media, func(t *testing.T) {
			t.Parallel()
			caller, callee := &siptest.Phone{Video: c.codec, Fmtp: c.fmtp}, &siptest.Phone{Video: c.codec, Fmtp: c.fmtp}
			ctx, p := videoPair(t, c.media, caller, callee)
			spoken := converse(t, caller, callee)
			quiet := sync.OnceFunc(func() { close(spoken.stop); spoken.said.Wait() })
			defer quiet()
			spoken.hear(ctx, t, 10) // media have found their way: what comes before may get lost
			packets := recordedVideo(t, c.file)
			var wg sync.WaitGroup
			seen := map[*siptest.Phone][]rtp.Packet{}
			var mu sync.Mutex
			for _, phone := range []*siptest.Phone{caller, callee} {
				peer := phone.Peer()
				if peer.Video == nil {
					t.Fatalf("%s got no video:\n%s", phone.User, peer.SDP)
				}
				wg.Go(func() {
					got := watch(phone.VideoRTP, len(packets))
					mu.Lock()
					seen[phone] = got
					mu.Unlock()
				})
				wg.Go(func() {
					if err := film(ctx, packets, phone.VideoRTP, peer.Video, peer.Payload); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for _, phone := range []*siptest.Phone{caller, callee} {
				sameVideo(t, seen[phone], packets)
			}
			for asker, other := range map[*siptest.Phone]*siptest.Phone{caller: callee, callee: caller} {
				b, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 7}, &rtcp.PictureLossIndication{SenderSSRC: 7, MediaSSRC: seen[asker][0].SSRC}})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := asker.VideoRTCP.WriteToUDP(b, asker.Peer().VideoRTCP); err != nil {
					t.Fatal(err)
				}
				if err := asked(other.VideoRTCP, 10*time.Second); err != nil {
					t.Errorf("%s asked, %s: %v", asker.User, other.User, err)
				}
			}
			quiet()
			if err := caller.HangUp(ctx); err != nil {
				t.Fatal(err)
			}
			if err := callee.Over(ctx); err != nil {
				t.Fatal(err)
			}
			p.settle()
		})
	}
}

// TestVideoOfOneSideOnly: who calls with video somebody without it has an audio
// call, and hears.
func TestVideoOfOneSideOnly(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "video", "scripted")
	for name, c := range map[string]struct{ caller, callee string }{"callee has none": {"VP8", ""}, "caller has none": {"", "VP8"}, "different": {"VP8", "H264"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caller, callee := &siptest.Phone{Video: c.caller}, &siptest.Phone{Video: c.callee}
			ctx, _ := videoPair(t, "auto", caller, callee)
			if a, b := caller.Peer(), callee.Peer(); a.Video != nil || b.Video != nil {
				t.Errorf("video was agreed on:\n%s\n%s", a.SDP, b.SDP)
			}
			hears(t, ctx, caller, callee)
			hears(t, ctx, callee, caller)
			if err := callee.HangUp(ctx); err != nil {
				t.Fatal(err)
			}
			if err := caller.Over(ctx); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// hears sends a second of speech from one telephone and counts what arrives at
// the other.
func hears(t *testing.T, ctx context.Context, from, to *siptest.Phone) {
	t.Helper()
	var speech []rtp.Packet
	for i := range 50 {
		speech = append(speech, rtp.Packet{
			Header:  rtp.Header{Version: 2, SSRC: 9, SequenceNumber: uint16(i), Timestamp: uint32(160 * i)},
			Payload: slices.Repeat([]byte{byte(i)}, 160),
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, p := range speech {
			b, err := p.Marshal()
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := from.Audio.WriteToUDP(b, from.Peer().Audio); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	})
	if got := watch(to.Audio, 45); len(got) < 45 {
		t.Errorf("%s said 50 packets, %s heard %d", from.User, to.User, len(got))
	}
	wg.Wait()
}

// TestVideoIsSwitchedOffAndOn: re-INVITEs that take video away and bring it back
// keep the call.
func TestVideoIsSwitchedOffAndOn(t *testing.T) {
	t.Parallel()
	caller, callee := &siptest.Phone{Video: "VP8"}, &siptest.Phone{Video: "VP8"}
	ctx, p := videoPair(t, "auto", caller, callee)
	if err := caller.Offer(ctx, false); err != nil {
		t.Fatal(err)
	}
	if caller.Peer().Video != nil {
		t.Error("still video")
	}
	hears(t, ctx, caller, callee)
	if err := caller.Offer(ctx, true); err != nil {
		t.Fatal(err)
	}
	peer := caller.Peer()
	if peer.Video == nil {
		t.Fatalf("no video:\n%s", peer.SDP)
	}
	// The answer to the offer is ahead of the agreement with the far bridge, on
	// another hop: pictures that are ahead of it too have nowhere to go.
	time.Sleep(time.Second)
	packets := recordedVideo(t, "vp8.rtp")[:40]
	go func() { _ = film(ctx, packets, caller.VideoRTP, peer.Video, peer.Payload) }()
	sameVideo(t, watch(callee.VideoRTP, len(packets)), packets)
	if err := caller.HangUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := callee.Over(ctx); err != nil {
		t.Fatal(err)
	}
	p.settle()
}

// TestVideoOfBaresip: two telephones that nobody here wrote film and talk through
// an SBC, and all of it arrives.
func TestVideoOfBaresip(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "video", "baresip")
	s := startSBC(t)
	a := siptest.Baresip{Netns: s.pbx, Port: 5060, User: officeNumber, Hz: 620, Codec: "PCMU", Video: true}.Start(t)
	b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040, Codec: "PCMU", Video: true}.Start(t)
	inside := siptest.Capture{Netns: s.pbx, Device: "wire"}.Start(t)
	outside := siptest.Capture{Netns: s.carrier, Device: "wire"}.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s.connect(t, ctx, a, b)
	time.Sleep(4 * time.Second)
	if err := b.HangUp(); err != nil {
		t.Fatal(err)
	}
	s.node.settle(t)
	hearsTone(t, a, 1040)
	hearsTone(t, b, 620)
	for wire, streams := range map[string][]siptest.RTPStream{"192.0.2.": inside.Streams(t), "198.51.100.": outside.Streams(t)} {
		arrived := 0
		for _, r := range streams {
			t.Logf("%+v", r)
			if strings.HasPrefix(r.From, wire+"10:") && strings.HasPrefix(r.To, wire+"20:") && r.Packets > 30 && r.Lost == 0 {
				arrived++
			}
		}
		if arrived != 2 {
			t.Errorf("%d whole streams arrived at %s20, want speech and video", arrived, wire)
		}
	}
}
