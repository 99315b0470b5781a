package rtp

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/sip/sdp"
	"riptide/sip/siptest"
	"riptide/transcode"
)

// jambonz/jambonz-feature-server#128: digits come in every way there is, and
// from some telephones in several at once. Each is heard once.
func TestDigitsAreHeardOnce_jambonz128(t *testing.T) {
	t.Parallel()
	type digit struct {
		ms  int
		way way
		key byte
	}
	for name, c := range map[string]struct {
		digits []digit
		want   string
	}{
		"one way, the same key twice":          {[]digit{{0, byEvent, '1'}, {200, byEvent, '1'}, {400, byEvent, '1'}}, "111"},
		"two ways, one after the other":        {[]digit{{0, byEvent, '1'}, {100, byRequest, '1'}, {300, byEvent, '2'}, {390, byRequest, '2'}}, "12"},
		"two ways, the request first":          {[]digit{{0, byRequest, '1'}, {20, byEvent, '1'}, {300, byRequest, '1'}, {330, byEvent, '1'}}, "11"},
		"two ways, one lags behind":            {[]digit{{0, byEvent, '1'}, {200, byEvent, '1'}, {400, byEvent, '2'}, {500, byRequest, '1'}, {600, byRequest, '1'}, {700, byRequest, '2'}}, "112"},
		"three ways":                           {[]digit{{0, byEvent, '#'}, {10, byTone, '#'}, {150, byRequest, '#'}}, "#"},
		"another way much later is another":    {[]digit{{0, byEvent, '1'}, {2000, byRequest, '1'}}, "11"},
		"different keys":                       {[]digit{{0, byEvent, '1'}, {10, byRequest, '2'}}, "12"},
		"a way that begins in the middle":      {[]digit{{0, byEvent, '1'}, {200, byEvent, '1'}, {300, byRequest, '1'}}, "11"},
		"more than are remembered, in one way": {[]digit{{0, byEvent, '1'}, {1, byEvent, '2'}, {2, byEvent, '3'}, {3, byEvent, '4'}, {4, byEvent, '5'}, {5, byEvent, '6'}, {6, byEvent, '7'}, {7, byEvent, '8'}, {8, byEvent, '9'}}, "123456789"},
	} {
		var h hearing
		got := ""
		for _, d := range c.digits {
			if h.heard(d.way, d.key, start.Add(time.Duration(d.ms)*time.Millisecond)) {
				got += string(d.key)
			}
		}
		if got != c.want {
			t.Errorf("%s: heard %q, want %q", name, got, c.want)
		}
	}
}

// eventsIn are the keys of the events among frames.
func eventsIn(t *testing.T, frames []bridge.Frame) string {
	t.Helper()
	keys, last := "", uint64(0)
	for _, f := range frames {
		if f.Codec != bridge.TelephoneEvent {
			continue
		}
		if keys == "" || f.Timestamp != last {
			keys += string(eventKeys[f.Payload[0]])
			last = f.Timestamp
		}
	}
	return keys
}

func TestPressedDigitsBecomeEvents(t *testing.T) {
	t.Parallel()
	port, rec, p := openPort(t)
	p.send(20)
	rec.wait(t, 20)
	for _, key := range "42#" {
		if !port.Press(byte(key), 80*time.Millisecond) {
			t.Fatalf("%c was not taken", key)
		}
	}
	if port.Press('x', 0) {
		t.Error("x was taken")
	}
	const each = 1 + pressEnds // updates, and ends
	frames := rec.wait(t, 20+3*each)
	p.send(20)
	frames = append([]bridge.Frame(nil), rec.wait(t, len(frames)+20)...)
	if got := eventsIn(t, frames); got != "42#" {
		t.Errorf("events %q", got)
	}
	for i := 1; i < len(frames); i++ {
		if frames[i].Seq != frames[i-1].Seq+1 {
			t.Errorf("frame %d (%v) has number %d after %d", i, frames[i].Codec, frames[i].Seq, frames[i-1].Seq)
		}
	}
	for i, f := range frames[20 : 20+each] {
		if want := min(uint16(i+1)*320, 640); binary.BigEndian.Uint16(f.Payload[2:]) != want || f.Marker != (i == 0) || (f.Payload[1]&eventEnd != 0) != (i > 0) {
			t.Errorf("packet %d of the first event: %x, marker %v", i, f.Payload, f.Marker)
		}
	}
}

func TestEventAndRequestAreOneDigit(t *testing.T) {
	t.Parallel()
	p := inMemory()
	var looks atomic.Int64 // at the clock, which goes on by that
	p.now = func() time.Time { return start.Add(time.Duration(looks.Add(1)) * 5 * time.Millisecond) }
	rec := newRecorder()
	p.Join(rec)
	send := eventSender(t, p)
	send('5', 1, 160)
	if !p.Press('5', 0) {
		t.Error("the same digit was refused")
	}
	if !p.Press('6', 0) {
		t.Error("the next digit was refused")
	}
	rec.wait(t, 3+2+pressEnds)
	send('6', 1, 160)
	send('7', 1, 160)
	frames := rec.all()
	if got := eventsIn(t, frames); got != "567" {
		t.Errorf("events %q", got)
	}
	for i := 1; i < len(frames); i++ {
		if frames[i].Seq != frames[i-1].Seq+1 {
			t.Errorf("frame %d has number %d after %d", i, frames[i].Seq, frames[i-1].Seq)
		}
	}
	if st := p.Stats(); st.Duplicate != 3 || st.Received != 6 {
		t.Errorf("%+v", st)
	}
}

// eventSender sends events from the peer of a port: one update and three ends.
func eventSender(t *testing.T, p *Port) func(key byte, updates int, length uint16) {
	t.Helper()
	pk := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 101, SSRC: 5, SequenceNumber: 100}}
	return func(key byte, updates int, length uint16) {
		pk.Timestamp += 8000
		for i := range updates + 2 {
			end := byte(0)
			if i >= updates {
				end = eventEnd
			}
			pk.Payload = []byte{byte(strings.IndexByte(eventKeys, key)), end | 10, byte(length >> 8), byte(length)}
			b, err := pk.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			p.audio.onRTP(b, said, p.now())
			pk.SequenceNumber++
		}
	}
}

// pressed is a digit as the other leg of a call hands it on.
func pressed(seq *uint64, ts uint64, key byte, lengths ...uint16) (frames []*bridge.Frame) {
	for i, n := range append(lengths, lengths[len(lengths)-1], lengths[len(lengths)-1], lengths[len(lengths)-1]) {
		end := byte(0)
		if i >= len(lengths) {
			end = eventEnd
		}
		*seq++
		frames = append(frames, &bridge.Frame{
			Codec: bridge.TelephoneEvent, Marker: i == 0, Seq: *seq, Timestamp: ts,
			Payload: []byte{byte(strings.IndexByte(eventKeys, key)), end | 10, byte(n >> 8), byte(n)},
		})
	}
	return frames
}

// withoutEvents is an agreement with a peer that knows no telephone-event.
func withoutEvents(f sdp.Format) sdp.Agreed {
	a := agreed(said)
	a.Audio.Send, a.Audio.Receive = []sdp.Format{f}, []sdp.Format{f}
	return a
}

func TestDigitsByRequest(t *testing.T) {
	t.Parallel()
	p := inMemory()
	p.Configure(withoutEvents(sdp.PCMU))
	var got []string
	p.SetDigits(DigitsByRequest, func(key byte, d time.Duration) { got = append(got, fmt.Sprintf("%c %v", key, d)) })
	var seq uint64
	for _, f := range pressed(&seq, 8000, '1', 160, 480, 800) {
		p.Push(f)
	}
	for _, f := range pressed(&seq, 16000, '2', 400, 1600)[:2] { // its end is lost
		p.Push(f)
	}
	for _, f := range pressed(&seq, 24000, '3', 1200) {
		p.Push(f)
	}
	if want := "[1 100ms 2 200ms 3 150ms]"; fmt.Sprint(got) != want {
		t.Errorf("have %v, want %s", got, want)
	}
	if st := p.Stats(); st.Sent != 0 || st.SendDropped != 0 {
		t.Errorf("%+v", st)
	}
}

// TestLostEndOfDigit: a digit of which no end is heard has one all the same: it is
// told of, once, and the speech that it drowned comes back.
func TestLostEndOfDigit(t *testing.T) {
	t.Parallel()
	for _, way := range []Digits{DigitsByRequest, DigitsAsTones} {
		synctest.Test(t, func(t *testing.T) {
			p := inMemory()
			p.now = time.Now
			p.Configure(withoutEvents(sdp.PCMU))
			var got []string
			p.SetDigits(way, func(key byte, d time.Duration) { got = append(got, fmt.Sprintf("%c %v", key, d)) })
			sent := 0
			p.audio.tx.out = &wire{t: t, took: func(rtp.Packet) { sent++ }}
			seq, frame := uint64(1), bridge.Frame{Codec: bridge.PCMU, Seq: 1, Timestamp: 7840, Payload: make([]byte, 160)}
			p.Push(&frame)
			frames := pressed(&seq, 8000, '2', 400, 1600)
			for _, f := range frames[:2] {
				p.Push(f)
				time.Sleep(20 * time.Millisecond)
			}
			time.Sleep(2 * eventPatience)
			synctest.Wait()
			before := sent
			for _, f := range frames[2:] { // late
				p.Push(f)
			}
			frame.Seq, frame.Timestamp = seq+1, 8000+8*540
			p.Push(&frame)
			if want := 1; sent-before != want {
				t.Errorf("way %d: %d packets of speech were sent after the digit, want %d", way, sent-before, want)
			}
			if want := map[Digits]string{DigitsByRequest: "[2 200ms]", DigitsAsTones: "[]"}[way]; fmt.Sprint(got) != want {
				t.Errorf("way %d: have %v, want %s", way, got, want)
			}
		})
	}
}

// What a peer without telephone-event hears: the tones in place of the speech,
// in one stream without gaps.
func TestDigitsAsTones(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "dtmf-inband", "scripted")
	for _, c := range []struct {
		format sdp.Format
		codec  bridge.Codec
		law    transcode.Law
	}{{sdp.PCMU, bridge.PCMU, transcode.MuLaw}, {sdp.PCMA, bridge.PCMA, transcode.ALaw}} {
		p := inMemory()
		now := start
		p.now = func() time.Time { return now }
		p.Configure(withoutEvents(c.format))
		p.SetDigits(DigitsAsTones, nil)
		var keys transcode.Keys
		heard, n := "", 0
		out := &wire{t: t}
		var seq uint16
		var ts uint32
		out.took = func(pk rtp.Packet) {
			if n > 0 && (pk.SequenceNumber != seq+1 || pk.Timestamp != ts+160) {
				t.Errorf("%v packet %d: number +%d, time +%d", c.codec, n, pk.SequenceNumber-seq, pk.Timestamp-ts)
			}
			n++
			seq, ts = pk.SequenceNumber, pk.Timestamp
			if k, _ := keys.Take(c.law.Decode(nil, pk.Payload)); k != 0 {
				heard += string(k)
			}
		}
		p.audio.tx.out = out
		var number uint64
		at := uint64(80000)
		speak := func(packets int) {
			for range packets {
				number++
				p.Push(&bridge.Frame{Codec: c.codec, Seq: number, Timestamp: at, Payload: c.law.Encode(nil, make([]int16, 160))})
				at += 160
				now = now.Add(20 * time.Millisecond)
			}
		}
		speak(10)
		for _, key := range "159#" {
			begin := at
			var unused uint64
			for i, f := range pressed(&unused, begin, byte(key), 160, 320, 480, 640, 800) {
				number++
				f.Seq = number
				p.Push(f)
				if i < 5 {
					speak(1) // goes on beside the events, as some telephones let it
				}
			}
			speak(5)
		}
		if heard != "159#" {
			t.Errorf("%v: heard %q", c.codec, heard)
		}
		if want := 10 + 4*10; n != want || p.Stats().SendDropped != 0 {
			t.Errorf("%v: %d packets, want %d: %+v", c.codec, n, want, p.Stats())
		}
	}
}

func TestNoWayForDigits(t *testing.T) {
	t.Parallel()
	p := inMemory()
	p.Configure(withoutEvents(sdp.G722))
	p.SetDigits(DigitsAsTones, nil)
	var seq uint64
	for _, f := range pressed(&seq, 8000, '1', 160) {
		p.Push(f)
	}
	if st := p.Stats(); st.SendDropped != 4 {
		t.Errorf("%+v", st)
	}
}

// Keys in the sound become events, and the sound is silent meanwhile.
func TestTonesBecomeDigits(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "dtmf-inband", "scripted")
	p := inMemory()
	p.Listen(true)
	rec := newRecorder()
	p.Join(rec)
	pk := rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 5, SequenceNumber: 100}}
	now, packets := start, 0
	send := func(samples []int16) {
		for ; len(samples) >= 160; samples = samples[160:] {
			pk.Payload = transcode.MuLaw.Encode(nil, samples[:160])
			b, err := pk.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			p.audio.onRTP(b, said, now)
			packets++
			now = now.Add(20 * time.Millisecond)
			pk.SequenceNumber++
			pk.Timestamp += 160
		}
	}
	quiet := transcode.NewTone(300, -30).Append(nil, 8*160)
	send(quiet)
	for _, c := range "73*" {
		k, _ := transcode.NewKey(byte(c))
		send(k.Append(nil, 5*160))
		send(quiet)
	}
	frames := rec.wait(t, packets+3*(2+pressEnds))
	if got := eventsIn(t, frames); got != "73*" {
		t.Errorf("events %q", got)
	}
	var keys transcode.Keys
	for _, f := range frames {
		if f.Codec == bridge.PCMU {
			if k, _ := keys.Take(transcode.MuLaw.Decode(nil, f.Payload)); k != 0 {
				t.Errorf("%c is still to be heard in the sound", k)
			}
		}
	}
	p.release()
}

// A key that is held for seconds comes by INFO when it is let go of, and is
// still one digit.
func TestLongDigitIsHeardOnce_jambonz128(t *testing.T) {
	t.Parallel()
	p := inMemory()
	now := start
	p.now = func() time.Time { return now }
	rec := newRecorder()
	p.Join(rec)
	pk := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 101, SSRC: 5, Timestamp: 8000}}
	for i := range 60 { // 3 s
		now = now.Add(50 * time.Millisecond)
		pk.SequenceNumber++
		pk.Payload = []byte{11, 10, byte(i * 400 >> 8), byte(i * 400)}
		if i == 59 {
			pk.Payload[1] |= eventEnd
		}
		b, err := pk.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		p.audio.onRTP(b, said, now)
	}
	now = now.Add(100 * time.Millisecond)
	if !p.Press('#', 3*time.Second) {
		t.Error("the digit was refused")
	}
	p.pressMu.Lock()
	defer p.pressMu.Unlock()
	if len(p.presses) != 0 {
		t.Error("the digit is heard twice")
	}
}
