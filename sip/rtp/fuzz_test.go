package rtp

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// inMemory is a port without sockets and goroutines.
func inMemory() *Port {
	p := &Port{now: func() time.Time { return start }, log: slog.New(slog.DiscardHandler), reports: reportEvery}
	p.audio = p.newStream(bridge.Audio)
	p.audio.rc.out, p.audio.tx.out = full{}, full{}
	p.Configure(agreed(said))
	p.Join(nobody{})
	return p
}

// FuzzMedia: datagrams from three sources never panic, and each is in exactly
// one counter. The input is a row of packets: source, milliseconds, length,
// bytes.
func FuzzMedia(f *testing.F) {
	pk := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 1, SequenceNumber: 65535, Timestamp: 5}, Payload: []byte{1, 2, 3, 4}}
	b, err := pk.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	one := append([]byte{0, 20, byte(len(b))}, b...)
	f.Add(append(append([]byte{}, one...), one...))
	f.Add([]byte{1, 0, 12, 0xbf, 0xff, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 0, 2, 0x80, 0xc8})
	sources := []netip.AddrPort{said, nat, spoof, {}}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := inMemory()
		now, packets := start, uint64(0)
		var last uint64
		for len(b) >= 3 {
			from, after, n := sources[b[0]%4], time.Duration(b[1])*time.Millisecond*10, min(int(b[2]), len(b)-3)
			now = now.Add(after)
			p.audio.onRTP(b[3:3+n], from, now)
			b = b[3+n:]
			packets++
			p.audio.compound(now)
			last = max(last, p.audio.rx.frame.Seq)
		}
		st := p.Stats()
		if sum := st.Received + st.Duplicate + st.Foreign + st.Malformed + st.UnknownPayload; sum != packets {
			t.Fatalf("%d packets, %d counted: %+v", packets, sum, st)
		}
		if st.Lost > packets*maxDropout {
			t.Fatalf("%d lost of %d packets", st.Lost, packets)
		}
		if last > 1<<17+packets*maxDropout {
			t.Fatalf("frame %d after %d packets", last, packets)
		}
	})
}

// FuzzReports: no datagram on the report port panics or makes figures absurd.
func FuzzReports(f *testing.F) {
	for _, packets := range [][]rtcp.Packet{
		{&rtcp.SenderReport{SSRC: 7, NTPTime: 1 << 40, Reports: []rtcp.ReceptionReport{{SSRC: 1, TotalLost: 3, LastSenderReport: 9}}}, rtcp.NewCNAMESourceDescription(7, "x")},
		{&rtcp.ReceiverReport{SSRC: 7, Reports: []rtcp.ReceptionReport{{SSRC: 1}, {SSRC: 2}}}, &rtcp.Goodbye{Sources: []uint32{7}}},
		{&rtcp.ReceiverReport{SSRC: 7}, &rtcp.PictureLossIndication{}},
		{&rtcp.FullIntraRequest{SenderSSRC: 7, FIR: []rtcp.FIREntry{{SSRC: 1, SequenceNumber: 3}, {SSRC: 1, SequenceNumber: 4}}}},
	} {
		b, err := rtcp.Marshal(packets)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := inMemory()
		p.audio.tx.ssrc = 1
		p.audio.onRTCP(b, said, start)
		st := p.Stats()
		if st.PeerLost > st.Sent || st.RoundTrip < 0 || st.RoundTrip > time.Minute {
			t.Fatalf("%+v", st)
		}
		p.audio.report(start)
		v := p.newStream(bridge.Video)
		v.rc.out, v.tx.out = full{}, full{}
		v.configure(sdp.Stream{Remote: said, Send: []sdp.Format{{Payload: 112, Name: "VP8", Clock: 90000, Channels: 1}}})
		v.onRTCP(b, said, start)
		if n := p.Stats().Requested; n > maxPacket/8 {
			t.Fatalf("%d requests in one datagram", n)
		}
	})
}
