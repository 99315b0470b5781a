package media

import "time"

const (
	// playable is how old speech may be and still be handed on. What was held
	// back while there was no way for it comes in a burst, of which a telephone
	// can play the newest part only: the rest would make it late for good.
	playable = 200 * time.Millisecond

	// heldBack is how late the first packet of a burst is. A machine that was busy
	// for a moment makes speech come in heaps, too: that is for the jitter buffer
	// of the telephone to mend.
	heldBack = 500 * time.Millisecond

	// steady is how many packets in a row, at the pace of speech, end a burst.
	steady = 10

	// lateWindow is for how long the fastest packet is remembered.
	lateWindow = 2 * time.Second
)

// lateness tells speech that was held back from speech that is merely slow. It
// compares the time each packet took, by two clocks that need not agree, with
// the least that one took lately.
type lateness struct {
	started      bool
	origin       time.Time     // the first packet came
	first        uint64        // its timestamp
	least, prior time.Duration // of this window, and of the one before; of the first packet 0
	since        time.Time     // when this one began
	at           time.Time     // the latest packet came
	millis       uint64        // its timestamp
	burst        bool
	slow         int // packets of it in a row that came at the pace of speech
}

// tooOld enters a packet sent at millis, and tells whether it is too old to be
// handed on. newest says that none with a higher number has come.
//
// A path that becomes slower does not make packets too old: they come late, but
// at the pace of speech. Those of a burst come faster, or behind newer ones.
func (l *lateness) tooOld(millis uint64, newest bool, now time.Time) bool {
	if !l.started {
		*l = lateness{started: true, origin: now, first: millis, since: now, at: now, millis: millis}
		return false
	}
	took := now.Sub(l.origin) - time.Duration(int64(millis-l.first))*time.Millisecond
	if now.Sub(l.since) > lateWindow {
		l.prior, l.least, l.since = l.least, took, now
	}
	l.least = min(l.least, took)
	gap, step := now.Sub(l.at), time.Duration(int64(millis-l.millis))*time.Millisecond
	if newest {
		l.at, l.millis = now, millis
	}
	age := took - min(l.least, l.prior)
	if age <= playable {
		l.burst = false
		return false
	}
	if !newest {
		return true
	}
	if fast := gap >= playable || 2*gap < step; fast {
		l.burst, l.slow = l.burst || age > heldBack, 0
	} else if l.slow++; l.slow >= steady {
		l.burst = false
	}
	return l.burst
}
