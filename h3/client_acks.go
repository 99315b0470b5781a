package h3

import "time"

// Who sends and is not acknowledged for a second looks for another way (core
// draft, "Ungraceful Migration"; 20-protocol.md A.4-7).
const (
	ackSilence     = time.Second
	ackSilenceMost = 16 * time.Second
	ackPackets     = 25 // half a second of speech: fewer may well have been lost
)

// ackWatch notices that a peer no longer acknowledges what it is sent. One that
// never did is left in peace, and where another way does not help either the
// next is looked for later each time.
type ackWatch struct {
	acked time.Time // the last acknowledgement
	sent  uint64    // packets sent when it came
	wait  time.Duration
}

// silent tells whether it is time to look for another way, given the number of
// packets sent so far and the time of the last acknowledgement.
func (w *ackWatch) silent(sent uint64, acked, now time.Time) bool {
	if acked.IsZero() {
		return false
	}
	if acked.After(w.acked) {
		w.acked, w.sent, w.wait = acked, sent, ackSilence
		return false
	}
	if now.Sub(w.acked) < w.wait || sent < w.sent+ackPackets {
		return false
	}
	w.acked, w.sent, w.wait = now, sent, min(2*w.wait, ackSilenceMost)
	return true
}
