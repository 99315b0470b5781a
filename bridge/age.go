package bridge

import "time"

// idle is how long nobody has served a call, as far as its record and our clock tell.
// The clocks of two nodes, or of one before and after, need not agree: where we have
// seen the last record come, our own sense of time tells whether that can be. Where
// it cannot be, nobody knows: then it is the longest time after which a call goes on,
// since numbers go by it that must not come twice.
func (b *Bridge) idle(rec CallRecord) time.Duration {
	idle := b.cfg.Now().Sub(rec.lastServed())
	if rec.seen.IsZero() {
		if idle < 0 {
			return longestIdle
		}
		return idle
	}
	seen := time.Since(rec.seen)
	if behind, ahead := idle < seen-time.Second, idle > longestIdle && seen <= longestIdle; behind || ahead {
		return max(seen, longestIdle)
	}
	return max(seen, idle)
}
