package h3

import (
	"cmp"
	"errors"
	"time"
)

// Who sends and is not acknowledged for a second looks for another way (core
// draft, "Ungraceful Migration"; 20-protocol.md A.4-7), and gives the call up
// when the TG's media-timeout has passed and no other way has helped.
const (
	ackSilence      = time.Second
	ackSilenceMost  = 16 * time.Second
	ackPackets      = 25 // a second, at least: half of what speech is. Fewer may well have been lost
	mediaTimeout    = 5 * time.Second
	minMediaTimeout = 2 * ackSilence // another way needs time to help
)

var errUnacknowledged = errors.New("media is not acknowledged any more")

// ackVerdict is what the watch over acknowledgements finds.
type ackVerdict uint8

const (
	acksCome   ackVerdict = iota
	acksDoubt             // ask the peer on the byway whether it is there
	acksSilent            // look for another way
	acksOver              // no way has helped within media-timeout
)

// ackWatch notices that a peer no longer acknowledges what it is sent. One that
// never did is left in peace, and where another way does not help either the
// next is looked for later each time.
type ackWatch struct {
	acked time.Time // the last acknowledgement
	sent  uint64    // packets sent when it came, or when another way was looked for
	wait  time.Duration
	moved bool // another way was looked for since

	doubted time.Time // the peer was asked whether it is there

	// For media-timeout: how long the peer was within reach, was sent something,
	// and acknowledged nothing.
	asked   time.Time
	had     uint64
	without time.Duration
}

// look is to be called every watchPeriod or more often while the peer's events come, with the
// number of packets sent so far and the time of the last acknowledgement. Time
// between two calls that are further apart is no silence of the media: all of
// the peer was away.
//
// heard is when the byway last brought something. A peer that answers there lives,
// and has twice as long: it is busy, and a hundred calls that come by new ways
// would not make it less so.
func (w *ackWatch) look(sent uint64, acked, heard, now time.Time, silence, timeout time.Duration) ackVerdict {
	if acked.IsZero() {
		return acksCome
	}
	if acked.After(w.acked) {
		*w = ackWatch{acked: acked, sent: sent, wait: silence, asked: now, had: sent}
		return acksCome
	}
	if step := now.Sub(w.asked); sent > w.had && step <= 4*watchPeriod {
		w.without += step
	}
	w.asked, w.had = now, sent
	if w.moved && w.without >= timeout {
		return acksOver
	}
	wait, enough := w.wait, uint64(ackPackets*silence/time.Second)
	if !w.doubted.IsZero() && heard.After(w.doubted) {
		wait *= 2
	}
	switch quiet := now.Sub(w.acked); {
	case quiet >= wait && sent >= w.sent+enough:
	case w.doubted.IsZero() && quiet >= w.wait/2 && sent >= w.sent+enough/2:
		w.doubted = now
		return acksDoubt
	default:
		return acksCome
	}
	if !w.moved { // where little is sent, the time may be up already: it has to help in what is left
		w.without = min(w.without, max(timeout-minMediaTimeout, ackSilence))
	}
	w.acked, w.sent, w.wait, w.moved, w.doubted = now, sent, min(2*w.wait, ackSilenceMost), true, time.Time{}
	return acksSilent
}

// silence is how long media may go unacknowledged before the call is looked for
// elsewhere.
func (t *trunk) silence() time.Duration { return cmp.Or(t.cfg.Silence, ackSilence) }

// mediaTimeout is how long the trunk's TG lets media go unacknowledged.
func (t *trunk) mediaTimeout() time.Duration {
	ms := t.doc().MediaTimeout
	if ms <= 0 {
		return mediaTimeout
	}
	return max(time.Duration(min(ms, 60_000))*time.Millisecond, minMediaTimeout)
}
