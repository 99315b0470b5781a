package rtp

import (
	"encoding/binary"
	"time"

	"github.com/pion/rtp"

	"riptide/bridge"
	"riptide/transcode"
)

// SetDigits says how digits reach a peer with which no telephone-event was
// agreed on. By request, request is called for each of them when it ends; it
// must not block, and must not call the port.
func (p *Port) SetDigits(d Digits, request func(key byte, duration time.Duration)) {
	p.audio.tx.mu.Lock()
	defer p.audio.tx.mu.Unlock()
	p.audio.tx.keys.way, p.audio.tx.keys.request = d, request
}

// Listen says whether keys are to be heard in the sound of the peer's G.711.
func (p *Port) Listen(on bool) {
	p.audio.rx.mu.Lock()
	defer p.audio.rx.mu.Unlock()
	if !on {
		p.audio.rx.keys = nil
	} else if p.audio.rx.keys == nil {
		p.audio.rx.keys = &keysIn{}
	}
}

// keysIn hears keys in the sound.
type keysIn struct {
	transcode.Keys
	samples [maxPayload]int16
	pressed byte // within the frame taken last
}

// keysOut brings events to a peer that takes none.
type keysOut struct {
	way     Digits
	request func(key byte, duration time.Duration)

	known  bool
	at     uint64 // time of the event under way, which names it
	done   bool   // its end was heard
	event  byte
	length uint32      // so far, at 8000 Hz
	limit  *time.Timer // ends it where its end is lost; nil before the first

	key     transcode.Key
	made    uint32 // samples of it
	until   uint64 // speech before this is drowned by it, at 8000 Hz
	samples [maxTone]int16
}

// maxTone is one packet of a tone: 20 ms.
const maxTone = 160

// note takes one packet of an event. It tells whether that begins one.
func (k *keysOut) note(f *bridge.Frame) (begins, ends, ok bool) {
	if len(f.Payload) < eventBlock || int(f.Payload[0]) >= len(eventKeys) {
		return false, false, false
	}
	begins = !k.known || k.at != f.Timestamp
	if begins {
		k.known, k.at, k.done, k.event, k.length, k.made = true, f.Timestamp, false, f.Payload[0], 0, 0
	}
	k.length = max(k.length, uint32(binary.BigEndian.Uint16(f.Payload[2:])))
	if f.Payload[1]&eventEnd != 0 && !k.done {
		k.done, ends = true, true
	}
	return begins, ends, true
}

// digit takes an event for a peer with no telephone-event. It tells false if
// there is no way to bring it over.
func (s *sender) digit(f *bridge.Frame, now time.Time) bool {
	k := &s.keys
	if k.way == DigitsAsEvents || k.way == DigitsAsTones && !s.companded() {
		return false
	}
	if k.known && !k.done && k.at != f.Timestamp {
		s.finishDigit(now) // its end was lost
	}
	begins, ends, ok := k.note(f)
	if !ok {
		return false
	}
	s.awaitEnd()
	s.flush(now)
	if !begins || s.line.started && !s.line.fresh || k.way != DigitsAsTones {
		s.line.skip(f, now)
	}
	if k.way == DigitsByRequest {
		if ends {
			s.finishDigit(now)
		}
		return true
	}
	if begins {
		k.key, _ = transcode.NewKey(eventKeys[k.event])
		k.until = f.Timestamp
		s.line.begin(f, now)
	}
	want := k.length
	if k.done {
		want = max(want, minTone)
	}
	s.tone(want/maxTone*maxTone, now)
	if ends {
		s.tone((want+maxTone-1)/maxTone*maxTone, now)
	}
	return true
}

// eventPatience is how long an event goes on of which nothing more is heard:
// three packets are missing by then, and its end may be among them (RFC 4733
// section 2.5.2.2).
const eventPatience = 250 * time.Millisecond

// awaitEnd sees to it that the event under way ends, even if nobody says so:
// nothing else would bring it over, nor let the speech be heard again.
func (s *sender) awaitEnd() {
	k := &s.keys
	switch {
	case k.done:
		k.forgetEnd()
	case k.limit == nil:
		k.limit = time.AfterFunc(eventPatience, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.closed && k.known && !k.done {
				s.finishDigit(time.Now())
			}
		})
	default:
		k.limit.Reset(eventPatience)
	}
}

func (k *keysOut) forgetEnd() {
	if k.limit != nil {
		k.limit.Stop()
	}
}

// minTone is the shortest tone that anybody listens to: 60 ms.
const minTone = 480

func (s *sender) finishDigit(now time.Time) {
	k := &s.keys
	k.done = true
	if k.way == DigitsByRequest && k.request != nil {
		k.request(eventKeys[k.event], time.Duration(max(k.length, 800))*time.Second/seamEvents)
	}
	if k.way == DigitsAsTones {
		s.tone(max(k.length+maxTone-1, minTone)/maxTone*maxTone, now)
	}
}

// companded tells whether the peer hears G.711.
func (s *sender) companded() bool { return s.first == bridge.PCMU || s.first == bridge.PCMA }

// tone sends the tone of the event under way up to a length, in packets of 20 ms
// between those of the speech.
func (s *sender) tone(upTo uint32, now time.Time) {
	k := &s.keys
	law := transcode.MuLaw
	if s.first == bridge.PCMA {
		law = transcode.ALaw
	}
	for k.made < upTo {
		ts := s.line.eventTime(k.at) + k.made
		s.header = rtp.Header{Version: 2, Marker: k.made == 0, PayloadType: uint8(s.types[s.first]), SequenceNumber: s.line.insert(), Timestamp: ts, SSRC: s.ssrc}
		n, err := s.header.MarshalTo(s.buf[:])
		k.made += maxTone
		k.until = max(k.until, k.at+uint64(k.made))
		n = len(law.Encode(s.buf[:n], k.key.Append(k.samples[:0], maxTone)))
		s.leave(err, n, maxTone, now)
	}
}

// drowned tells whether speech gives way to a tone.
func (s *sender) drowned(f *bridge.Frame) bool {
	k := &s.keys
	if !k.known || k.way != DigitsAsTones || !f.Codec.Speech() {
		return false
	}
	const longest = 10 * seamEvents
	since := f.Timestamp - k.at // of what is from before, more than the longest
	return since < longest && (!k.done || f.Timestamp < k.until)
}

// begin starts the line at a frame that is itself not sent.
func (t *timeline) begin(f *bridge.Frame, now time.Time) {
	if !t.started || t.fresh {
		t.jump(f, now)
		t.seq--
		t.off--
	}
}

// insert gives out a number for a packet that no frame stands for.
func (t *timeline) insert() uint16 {
	t.seq++
	t.off++
	return t.seq
}

// eventTime is the time of an event in the stream, in the clock of G.711.
func (t *timeline) eventTime(at uint64) uint32 { return t.ts + uint32(at-t.refTS) }

// listen looks for keys in the sound of a frame, which is silenced as long as one
// is heard: it goes on as an event, and would be heard twice. The key that went down
// is left in r.keys.
func (r *receiver) listen(f *bridge.Frame) {
	law, silence := transcode.MuLaw, byte(0xff)
	switch f.Codec {
	case bridge.PCMA:
		law, silence = transcode.ALaw, 0xd5
	case bridge.PCMU:
	default:
		return
	}
	var down bool
	r.keys.pressed, down = r.keys.Take(law.Decode(r.keys.samples[:0], f.Payload))
	if down {
		for i := range f.Payload {
			f.Payload[i] = silence
		}
	}
}
