package rtp

import (
	"testing"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
	"riptide/transcode"
)

// A far side that says nothing is no dead line: the peer is sent comfort noise
// now and then, and speech goes on behind it in the same stream.
func TestSilenceIsComfortable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		formats []sdp.Format
		dir     sdp.Direction
		payload uint8
		length  int
		packets int
	}{
		{"comfort noise", []sdp.Format{sdp.PCMU, sdp.CN}, sdp.SendRecv, 13, 1, 2},
		{"a packet of noise", []sdp.Format{sdp.PCMA}, sdp.SendRecv, 8, 160, 2},
		{"no way", []sdp.Format{sdp.G722}, sdp.SendRecv, 0, 0, 0},
		{"held", []sdp.Format{sdp.PCMU, sdp.CN}, sdp.RecvOnly, 0, 0, 0},
	} {
		p := inMemory()
		p.audio.tx.quietSince = time.Time{}
		now := start
		p.now = func() time.Time { return now }
		a := agreed(said)
		a.Audio.Send, a.Audio.Direction = c.formats, c.dir
		p.Configure(a)
		var sent []rtp.Packet
		w := &wire{t: t, took: func(pk rtp.Packet) {
			pk.Payload = append([]byte(nil), pk.Payload...)
			sent = append(sent, pk)
		}}
		p.audio.tx.out = w
		p.audio.rc.out = full{}
		for range 5 { // 25 s
			now = now.Add(5 * time.Second)
			p.audio.report(now)
		}
		if len(sent) != c.packets {
			t.Errorf("%s: %d packets, want %d", c.name, len(sent), c.packets)
			continue
		}
		for i, pk := range sent {
			if pk.PayloadType != c.payload || len(pk.Payload) != c.length {
				t.Errorf("%s: payload type %d of %d bytes", c.name, pk.PayloadType, len(pk.Payload))
			}
			if i > 0 && (pk.SequenceNumber != sent[i-1].SequenceNumber+1 || pk.Timestamp-sent[i-1].Timestamp != 80000) {
				t.Errorf("%s: number +%d, time +%d", c.name, pk.SequenceNumber-sent[i-1].SequenceNumber, pk.Timestamp-sent[i-1].Timestamp)
			}
			if c.length == 160 {
				if level := transcode.LevelDBm0(transcode.ALaw.Decode(nil, pk.Payload)); level > -55 {
					t.Errorf("%s: %.0f dBm0", c.name, level)
				}
			}
		}
		if c.packets == 0 {
			continue
		}
		now = now.Add(100 * time.Millisecond)
		codec := bridge.PCMU
		if c.payload == 8 {
			codec = bridge.PCMA
		}
		p.Push(&bridge.Frame{Codec: codec, Seq: 77, Timestamp: 123456, Payload: speech})
		last, before := sent[len(sent)-1], sent[len(sent)-2]
		if last.SequenceNumber != before.SequenceNumber+1 || last.Timestamp-before.Timestamp != uint32(now.Sub(start.Add(20*time.Second))/time.Millisecond)*8 || !last.Marker {
			t.Errorf("%s: speech has number +%d, time +%d, marker %v", c.name, last.SequenceNumber-before.SequenceNumber, last.Timestamp-before.Timestamp, last.Marker)
		}
	}
}
