package bridge

import (
	"math"
	"time"
)

// pace counts the calls of one trunk against its rate: a bucket that holds what
// may come in one second.
type pace struct {
	tokens float64
	at     time.Time
}

// refill gives a trunk the calls that it has saved up. The bridge's lock is
// held.
func (b *Bridge) refill(trunk string) *pace {
	rate := b.rules.Load().Policy.Trunks[trunk].Rate
	now := b.cfg.Now()
	p := b.paces[trunk]
	if p == nil {
		p = &pace{tokens: math.Max(1, rate), at: now}
		b.paces[trunk] = p
	}
	p.tokens = math.Min(math.Max(1, rate), p.tokens+rate*now.Sub(p.at).Seconds())
	p.at = now
	return p
}

// full tells why a trunk takes no further call. The bridge's lock is held.
func (b *Bridge) full(trunk string) error {
	t := b.rules.Load().Policy.Trunks[trunk]
	if t.Calls > 0 && b.busy[trunk] >= t.Calls {
		return Cause{Code: "rate-limited", RetryAfter: 5 * time.Second}.With("trunk %q has %d calls, its limit (trunks.%s.calls)", trunk, b.busy[trunk], trunk)
	}
	if t.Rate > 0 && b.refill(trunk).tokens < 1 {
		return Cause{Code: "rate-limited", RetryAfter: time.Second}.With("trunk %q has had %v calls a second, its limit (trunks.%s.calls-per-second)", trunk, t.Rate, trunk)
	}
	return nil
}

// count takes a place of a trunk. The bridge's lock is held.
func (b *Bridge) count(trunk string) {
	b.busy[trunk]++
	if b.rules.Load().Policy.Trunks[trunk].Rate > 0 {
		b.refill(trunk).tokens--
	}
}

// uncount gives it back.
func (b *Bridge) uncount(trunk string) {
	if b.busy[trunk]--; b.busy[trunk] <= 0 {
		delete(b.busy, trunk)
	}
}

// overloaded says to the caller's trunk what is wrong with the called one's.
func overloaded(err error) error {
	cause := CauseOf(err)
	cause.Code = CauseOverloaded.Code
	return cause
}

// move counts a call against another trunk than before, if that has room.
func (b *Bridge) move(c *call, trunk string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.draining {
		return CauseShuttingDown.With("node %q is going down", b.cfg.Node)
	}
	if err := b.full(trunk); err != nil {
		return overloaded(err)
	}
	b.uncount(c.places[sideB])
	b.count(trunk)
	c.places[sideB] = trunk
	return nil
}
