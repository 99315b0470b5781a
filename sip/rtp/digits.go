package rtp

import (
	"strings"
	"time"

	"riptide/bridge"
)

// Digits says how digits reach the peer.
type Digits uint8

// The ways.
const (
	DigitsAsEvents  Digits = iota // telephone-event, if that was agreed on (RFC 4733); else not at all
	DigitsByRequest               // whoever is named in SetDigits sends them
	DigitsAsTones                 // in the sound, of G.711
)

// eventKeys are the keys of a telephone by their event codes (RFC 4733 section
// 3.2).
const eventKeys = "0123456789*#ABCD"

// way is how a digit came from the peer.
type way uint8

const (
	byEvent way = 1 << iota
	byRequest
	byTone
)

// sameDigit is how far apart one digit may come by two ways.
const sameDigit = 1500 * time.Millisecond

// hearing finds which digits are the same one: there are telephones that send
// each of them in every way they know, and nobody dials a number twice for that.
type hearing struct {
	recent [8]heardDigit
	next   int
}

type heardDigit struct {
	key  byte
	ways way
	at   time.Time
}

// heard tells whether a digit is one that was not heard yet. Two that came by the
// same way are two.
func (h *hearing) heard(w way, key byte, now time.Time) bool {
	for i := range h.recent {
		// The oldest first: they come in their order.
		d := &h.recent[(h.next+i)%len(h.recent)]
		if d.key == key && d.ways&w == 0 && d.ways != 0 && now.Sub(d.at) < sameDigit {
			d.ways |= w
			return false
		}
	}
	h.recent[h.next] = heardDigit{key, w, now}
	h.next = (h.next + 1) % len(h.recent)
	return true
}

// lasts notes that the newest digit of a way is still being pressed: other ways may
// tell of it when it ends.
func (h *hearing) lasts(w way, key byte, now time.Time) {
	for i := range h.recent {
		d := &h.recent[(h.next+len(h.recent)-1-i)%len(h.recent)]
		if d.key == key && d.ways&w != 0 {
			d.at = now
			return
		}
	}
}

// Times of the digits that we make into events: as long as most telephones
// press them, with an update every 40 ms.
const (
	pressTime   = 120 * time.Millisecond
	minPress    = 40 * time.Millisecond
	maxPress    = 5 * time.Second
	pressStep   = 40 * time.Millisecond
	pressEnds   = 3  // the end is said so often (RFC 4733 section 2.5.1.4)
	maxPresses  = 32 // that wait
	eventEnd    = 0x80
	eventVolume = 10 // -dBm0
)

// press is a digit that did not come as an event, and becomes one.
type press struct {
	event    byte
	duration time.Duration
	passed   time.Duration
	ends     int
	ts       uint64
}

// Press takes a digit that the peer sent by signalling: 0 to 9, *, #, A to D. To
// whoever is joined it is a telephone event like any other. It tells false of
// what is no digit, or when too many wait; one that came as an event or a tone
// already is taken, and heard no second time.
func (p *Port) Press(key byte, duration time.Duration) bool {
	return p.press(byRequest, key, duration)
}

func (p *Port) press(w way, key byte, duration time.Duration) bool {
	event := strings.IndexByte(eventKeys, key)
	if event < 0 {
		return false
	}
	s := p.audio
	now := p.now()
	s.rx.mu.Lock()
	fresh := s.rx.hearing.heard(w, key, now)
	s.rx.mu.Unlock()
	if !fresh {
		return true
	}
	if duration <= 0 {
		duration = pressTime
	}
	p.pressMu.Lock()
	defer p.pressMu.Unlock()
	if p.pressStopped || len(p.presses) >= maxPresses {
		return false
	}
	p.presses = append(p.presses, press{event: byte(event), duration: min(max(duration, minPress), maxPress)})
	if len(p.presses) == 1 {
		p.pressTimer = time.AfterFunc(0, p.step)
	}
	return true
}

// step sends the next packet of the digit that is being pressed. It runs on a
// timer, which Close waits for by the lock.
func (p *Port) step() {
	p.pressMu.Lock()
	defer p.pressMu.Unlock()
	if p.pressStopped || len(p.presses) == 0 {
		return
	}
	d := &p.presses[0]
	now, r := p.now(), &p.audio.rx
	r.mu.Lock()
	seq, ts := r.num.insert(now)
	if d.passed == 0 {
		// Another time than the one before: it is what tells them apart.
		d.ts = max(r.num.scaled(ts, bridge.TelephoneEvent), r.num.scaled(r.event.at, bridge.TelephoneEvent)+1, p.pressedAt+1)
		p.pressedAt = d.ts
	}
	r.mu.Unlock()
	first := d.passed == 0
	d.passed = min(d.passed+pressStep, d.duration)
	flags := byte(eventVolume)
	if d.passed == d.duration {
		flags |= eventEnd
		d.ends++
	}
	units := min(d.passed*seamEvents/time.Second, maxDuration)
	f := bridge.Frame{
		Codec: bridge.TelephoneEvent, Marker: first, Seq: seq, Timestamp: d.ts,
		Payload: []byte{d.event, flags, byte(units >> 8), byte(units)},
	}
	p.hand(&f)
	if d.ends == pressEnds {
		p.presses = p.presses[1:]
	}
	if len(p.presses) > 0 {
		p.pressTimer = time.AfterFunc(pressStep, p.step)
	}
}

// release ends all presses, and waits for a step under way.
func (p *Port) release() {
	p.pressMu.Lock()
	defer p.pressMu.Unlock()
	p.pressStopped, p.presses = true, nil
	if p.pressTimer != nil {
		p.pressTimer.Stop()
	}
}

// insert gives out a number and a time for a frame that did not come from the
// peer's stream, in line with those that did.
func (n *numbering) insert(now time.Time) (seq, ts uint64) {
	if !n.numbered {
		*n = numbering{seq: 1 << 16, ts: 1 << 32, at: now, clock: n.clock, numbered: true}
		return n.seq, n.ts
	}
	n.before, n.leftOut = n.shift, n.seq-n.shift+1
	n.shift++
	n.seq++
	return n.seq, n.ts + uint64(max(units(now.Sub(n.at), n.clock), 0))
}
