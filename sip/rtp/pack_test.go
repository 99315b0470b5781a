package rtp

import (
	"fmt"
	"testing"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
)

// packed is what leaves toward a peer that asked for packets of a length, when
// frames of another come: their number, time, length, and what is in them.
func packed(t *testing.T, ptime, maxPtime time.Duration, frames []*bridge.Frame) (out []string, p *Port) {
	t.Helper()
	p = inMemory()
	now := start
	p.now = func() time.Time { return now }
	a := agreed(said)
	a.Audio.Ptime, a.Audio.MaxPtime = ptime, maxPtime
	p.Configure(a)
	w := &wire{t: t}
	var seq0 uint16
	var ts0 uint32
	w.took = func(pk rtp.Packet) {
		if w.n == 1 {
			seq0, ts0 = pk.SequenceNumber, pk.Timestamp
		}
		out = append(out, fmt.Sprintf("%d@%d:%d", pk.SequenceNumber-seq0, pk.Timestamp-ts0, len(pk.Payload)))
		if pk.PayloadType != 0 {
			return
		}
		for i, b := range pk.Payload {
			if want := byte((pk.Timestamp - ts0 + uint32(i)) / 80); b != want {
				t.Fatalf("%s: byte %d is %d, want %d", out[len(out)-1], i, b, want)
			}
		}
	}
	p.audio.tx.out = w
	for _, f := range frames {
		if f != nil {
			p.Push(f)
		}
		now = now.Add(20 * time.Millisecond)
	}
	return out, p
}

// spoken are frames of ms each, whose bytes tell their time in 10 ms.
func spoken(ms, n int, lost ...int) []*bridge.Frame {
	var out []*bridge.Frame
	for i := range n {
		f := &bridge.Frame{Codec: bridge.PCMU, Seq: uint64(i + 1), Timestamp: uint64(i * ms * 8), Payload: make([]byte, ms*8)}
		for j := range f.Payload {
			f.Payload[j] = byte((i*ms*8 + j) / 80)
		}
		out = append(out, f)
	}
	for _, i := range lost {
		out[i] = nil
	}
	return out
}

func TestPacketTimes(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	event := func(frames []*bridge.Frame, at int) []*bridge.Frame {
		f := &bridge.Frame{Codec: bridge.TelephoneEvent, Marker: true, Seq: uint64(at + 1), Timestamp: uint64(at * 160), Payload: []byte{5, 10, 0, 160}}
		frames[at] = f
		return frames
	}
	for _, c := range []struct {
		name        string
		ptime, most time.Duration
		frames      []*bridge.Frame
		want        string
	}{
		{"as they come", 0, 0, spoken(30, 3), "[0@0:240 1@240:240 2@480:240]"},
		{"as asked for", 20 * ms, 0, spoken(20, 3), "[0@0:160 1@160:160 2@320:160]"},
		{"20 from 10", 20 * ms, 0, spoken(10, 6), "[0@0:160 1@160:160 2@320:160]"},
		{"60 from 20", 60 * ms, 0, spoken(20, 7), "[0@0:480 1@480:480]"},
		{"30 from 20", 30 * ms, 0, spoken(20, 6), "[0@0:240 1@240:240 2@480:240 3@720:240]"},
		{"20 from 30", 20 * ms, 0, spoken(30, 4), "[0@0:160 1@160:160 2@320:160 3@480:160 4@640:160 5@800:160]"},
		{"10 from 60", 10 * ms, 0, spoken(60, 1), "[0@0:80 1@80:80 2@160:80 3@240:80 4@320:80 5@400:80]"},
		{"only a limit", 0, 20 * ms, spoken(40, 2), "[0@0:160 1@160:160 2@320:160 3@480:160]"},
		{"under the limit", 0, 40 * ms, spoken(20, 2), "[0@0:160 1@160:160]"},
		{"loss stays visible", 40 * ms, 0, spoken(20, 8, 2, 3), "[0@0:320 3@640:320 4@960:320]"},
		{"loss within a packet", 40 * ms, 0, spoken(20, 8, 3), "[0@0:320 1@320:160 2@640:320 3@960:320]"},
		{"a digit between", 40 * ms, 0, event(spoken(20, 6), 3), "[0@0:320 1@320:160 2@480:4 3@640:320]"},
	} {
		got, p := packed(t, c.ptime, c.most, c.frames)
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s:\nhave %v\nwant %s", c.name, got, c.want)
		}
		if st := p.Stats(); st.SendDropped != 0 || st.Sent != uint64(len(got)) {
			t.Errorf("%s: %+v", c.name, st)
		}
	}
}

// Silence without packets ends a packet that waits for more.
func TestPacketTimeAcrossSilence(t *testing.T) {
	t.Parallel()
	frames, later := spoken(20, 3), spoken(20, 152)[150:]
	later[0].Seq, later[0].Marker, later[1].Seq = 4, true, 5
	got, _ := packed(t, 40*time.Millisecond, 0, append(append(frames, make([]*bridge.Frame, 147)...), later...))
	if want := "[0@0:320 1@320:160 2@24000:320]"; fmt.Sprint(got) != want {
		t.Errorf("have %v, want %s", got, want)
	}
}

func TestRepackingAllocatesNothing(t *testing.T) {
	p := inMemory()
	a := agreed(said)
	a.Audio.Ptime = 30 * time.Millisecond
	p.Configure(a)
	w := &crossing{to: p, drop: true}
	p.audio.tx.out = w
	f := frame(0)
	if n := testing.AllocsPerRun(1000, func() { f.Seq++; f.Timestamp += 160; p.Push(f) }); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
	if st := p.Stats(); st.Sent < 600 || st.Sent > 700 || st.SendDropped != 0 {
		t.Errorf("%+v", st)
	}
}
