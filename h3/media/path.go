package media

import (
	"time"
)

const (
	tendEvery = time.Second
	// A path loses packets if more than three of a thousand are lost, of at least
	// as many as tell, twice in a row: once is a machine that was busy. If it is
	// every fifth, the session has collapsed, and there is nothing to wait for.
	lossyPermille    = 3
	collapsePermille = 200
	lossyLeast       = 400
	lossyRow         = 2
	// cleanFor is how long a path stays clean before its sessions get twice the calls.
	cleanFor   = 5 * time.Second
	cleanLeast = 1000 // packets that have to have crossed meanwhile
	// In one round so many calls change their session because they should, and so
	// many for nothing but economy.
	movesAtOnce   = 40
	gathersAtOnce = 10
)

// books are what a call has counted on its way.
type books struct{ crossed, lost uint64 }

func booksOf(p *Port) books {
	s := p.Stats()
	return books{crossed: s.Sent + s.Received, lost: s.PeerLost + s.Lost + s.SendDropped}
}

// path is what the calls on all sessions tell of the way they take, and how
// many of them may share one.
type path struct {
	limit      int // calls on a session
	cleanSince time.Time
	window     books // since the last verdict on loss
	row        int   // verdicts of loss in a row
	clean      books // since cleanSince
}

// judge takes what was counted lately, and tells whether the path loses packets.
func (a *path) judge(d books, now time.Time) (lossy bool) {
	a.window.crossed += d.crossed
	a.window.lost += d.lost
	a.clean.crossed += d.crossed
	if a.window.crossed+a.window.lost < lossyLeast {
		return false
	}
	permille := a.window.lost * 1000 / (a.window.crossed + a.window.lost)
	a.window = books{}
	if a.row++; permille < lossyPermille {
		a.row = 0
	}
	lossy = a.row >= lossyRow || permille >= collapsePermille
	switch {
	case lossy:
		a.limit, a.cleanSince, a.clean = fewSeats, now, books{}
	case a.row > 0, a.cleanSince.IsZero():
		a.cleanSince, a.clean = now, books{}
	case now.Sub(a.cleanSince) >= cleanFor && a.clean.crossed >= cleanLeast && a.limit < mostSeats:
		a.limit, a.cleanSince, a.clean = min(2*a.limit, mostSeats), now, books{}
	}
	return lossy
}

// tend looks after the sessions while there are any: it spreads the calls when
// the path loses packets, gathers them when it is clean, and closes what is idle.
func (s *Sessions) tend() {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		if len(s.all)+s.opening+s.waiting == 0 {
			s.tending = false
			s.mu.Unlock()
			return
		}
		now := time.Now()
		lossy := s.path.judge(s.audit(), now)
		switch {
		case lossy:
			s.spread()
		default:
			s.gather()
		}
		s.closeIdle(now)
		s.mu.Unlock()
	}
}

// audit adds up what the calls have counted since the last time. mu is held.
func (s *Sessions) audit() (sum books) {
	for _, c := range s.all {
		for _, seat := range c.held {
			if seat.taken == nil {
				continue
			}
			b := booksOf(seat.taken.p)
			sum.crossed += b.crossed - seat.last.crossed
			// What was lost may turn up late, and is not lost then.
			sum.lost += b.lost - min(b.lost, seat.last.lost)
			seat.last = b
		}
	}
	return sum
}

// spread asks the calls that are too many on a session to find another one, and
// opens as many as they will all need.
func (s *Sessions) spread() {
	calls, moves := 0, movesAtOnce
	for _, c := range s.all {
		calls += len(c.held)
		for i := s.path.limit; i < len(c.held) && moves > 0; i++ {
			if !c.held[i].asked {
				c.held[i].askToMove()
				moves--
			}
		}
	}
	for want := (calls+s.path.limit-1)/s.path.limit + 1; len(s.all)+s.opening < min(want, maxSessionsOpen) && !s.closed; {
		s.opening++
		s.wg.Go(s.open)
	}
}

// gather empties the session with the fewest calls if the others have room for
// them: the more calls share a session, the less each datagram costs.
func (s *Sessions) gather() {
	var least *clientSession
	room := 0
	for _, c := range s.all {
		if c.leaving {
			s.empty(c)
			return // one after the other
		}
		room += max(0, s.path.limit-len(c.held))
		if least == nil || len(c.held) < len(least.held) {
			least = c
		}
	}
	if least == nil || len(s.all) < 2 || s.path.limit == fewSeats {
		return
	}
	room -= s.path.limit - len(least.held)
	if room >= len(least.held)+s.path.limit/4 {
		least.leaving = true
		s.empty(least)
	}
}

// empty asks some calls of a session to leave it.
func (s *Sessions) empty(c *clientSession) {
	for i := range min(gathersAtOnce, len(c.held)) {
		c.held[i].askToMove()
	}
}

// closeIdle closes the sessions that nobody uses, but for one that is kept for
// the next call a while longer.
func (s *Sessions) closeIdle(now time.Time) {
	for i, c := range s.all {
		idle := now.Sub(c.idleSince)
		if len(c.held) == 0 && (c.leaving || idle > 4*sessionIdle || idle > sessionIdle && i > 0) {
			c.cancel()
		}
	}
}
