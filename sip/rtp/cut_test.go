package rtp

import (
	"testing"

	"github.com/pion/rtcp"

	"riptide/sip/sdp"
)

// What is left of a protected packet is dropped, however little that is, and so
// is what has a byte more; the stream goes on.
func TestProtectedPacketsCutOff(t *testing.T) {
	t.Parallel()
	for _, s := range sdp.Suites() {
		for _, mki := range [][]byte{nil, {0, 0, 7}} {
			theirs := key(s.Name, 1)
			theirs.MKI = mki
			p := newPair(theirs, key(s.Name, 2))
			p.talk(1)
			p.ab.keep, p.ab.drop = true, true
			p.talk(1)
			b := p.ab.kept[0]
			for i := range b {
				p.b.audio.onRTP(b[:i], said, p.now)
			}
			p.b.audio.onRTP(append(b[:len(b):len(b)], 0), said, p.now)
			reports, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1}})
			if err == nil {
				reports, err = p.a.audio.tx.seal.rtcp(reports)
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range reports {
				p.b.audio.onReports(reports[:i], said, p.now)
			}
			if p.heard.frames != 1 || p.b.Stats().Received != 1 {
				t.Errorf("%s: %d frames of pieces, %+v", s.Name, p.heard.frames, p.b.Stats())
			}
			p.ab.drop = false
			p.talk(10)
			if p.heard.frames != 11 || p.heard.wrong != 0 {
				t.Errorf("%s: %d frames, %d wrong: %+v", s.Name, p.heard.frames, p.heard.wrong, p.b.Stats())
			}
		}
	}
}
