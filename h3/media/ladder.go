package media

import (
	"sync"
	"time"
)

// Verdict is what is known of a rung at an authority.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota
	Works
	Fails
	asked // somebody is finding out
)

const (
	maxVerdicts  = 4096
	maxMisses    = 5 // unanswered in a row that make one that worked fail
	worksFor     = time.Hour
	failsFor     = 10 * time.Minute // the peer, or a balancer before it, has none
	unanswered   = time.Minute      // it did not answer in time
	carrierDied  = time.Minute      // it answered, and carried nothing
	renewedAfter = 30 * time.Second // a verdict outlives connections that are newer, for so long
)

// Ladder remembers, for all calls of a client, which rungs carry media to which
// authorities: the answer is looked for once. The zero Ladder is ready; nil
// remembers nothing.
type Ladder struct {
	mu sync.Mutex
	m  map[place]entry
}

type place struct {
	authority string
	rung      Rung
}

type entry struct {
	verdict Verdict
	at      time.Time // when it was learnt
	until   time.Time
	misses  int // unanswered in a row
}

// Verdict is what is known of a rung at an authority (host:port).
func (l *Ladder) Verdict(authority string, r Rung) Verdict {
	if r == PutGet {
		return Works // everybody can
	}
	if l == nil {
		return Unknown
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.m[place{authority, r}]
	if !ok || time.Now().After(e.until) || e.verdict == asked {
		return Unknown
	}
	return e.verdict
}

// Probe tells one caller that it is the first to try what nothing is known of.
// The others need not prepare for the worst: the answer is on its way, and fifty
// calls that fall back for the time being would only delay it.
func (l *Ladder) Probe(authority string, r Rung) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if e, ok := l.m[place{authority, r}]; ok && !now.After(e.until) {
		return false
	}
	l.enter(place{authority, r}, entry{verdict: asked, at: now, until: now.Add(dialLimit)})
	return true
}

// Learn enters a verdict, for a time.
func (l *Ladder) Learn(authority string, r Rung, v Verdict, d time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.enter(place{authority, r}, entry{verdict: v, at: now, until: now.Add(d)})
}

// enter is called with mu held.
func (l *Ladder) enter(p place, e entry) {
	if l.m == nil {
		l.m = make(map[place]entry)
	}
	if _, known := l.m[p]; !known && len(l.m) >= maxVerdicts {
		for a, old := range l.m {
			if len(l.m) >= maxVerdicts || e.at.After(old.until) {
				delete(l.m, a)
			}
		}
	}
	l.m[p] = e
}

// Unanswered enters that a rung was tried in vain. Where it works, one attempt
// that gets lost does not send every call to the next, which costs the peer
// more.
func (l *Ladder) Unanswered(authority string, r Rung) {
	if l == nil {
		return
	}
	p := place{authority, r}
	l.mu.Lock()
	e, ok := l.m[p]
	e.misses++
	patient := ok && e.verdict == Works && time.Now().Before(e.until) && e.misses < maxMisses
	if patient {
		l.m[p] = e
	}
	l.mu.Unlock()
	if !patient {
		l.Learn(authority, r, Fails, unanswered)
	}
}

// Known is what is known of the rungs at an authority, by their names: whether
// they work.
func (l *Ladder) Known(authority string) map[string]bool {
	var out map[string]bool
	for r := PutGet + 1; int(r) < len(rungs); r++ {
		v := l.Verdict(authority, r)
		if v != Works && v != Fails {
			continue
		}
		if out == nil {
			out = map[string]bool{}
		}
		out[r.String()] = v == Works
	}
	return out
}

// Recall enters what Known told a former process, where nothing newer is known.
// That something failed there is worth a try before long.
func (l *Ladder) Recall(authority string, known map[string]bool) {
	for name, works := range known {
		r, ok := RungOf(name)
		switch {
		case !ok || r == PutGet || l.Verdict(authority, r) != Unknown:
		case works:
			l.Learn(authority, r, Works, worksFor)
		default:
			l.Learn(authority, r, Fails, unanswered)
		}
	}
}

// Renew makes the next call look anew for what has failed: there is a new
// connection, which may lead elsewhere. A verdict that is new itself stays: a
// pool that fills opens many connections, and all lead to the same place.
func (l *Ladder) Renew(authority string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for r := range Rung(len(rungs)) {
		p := place{authority, r}
		if e, ok := l.m[p]; ok && e.verdict == Fails && now.Sub(e.at) > renewedAfter {
			delete(l.m, p)
		}
	}
}
