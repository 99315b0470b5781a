package media

import (
	"sync"
	"time"
)

// Verdict is what is known of an authority's WebTransport.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota
	Works
	Fails
	asked // somebody is finding out
)

const (
	maxVerdicts  = 1024
	maxMisses    = 5 // unanswered in a row that make one that worked fail
	worksFor     = time.Hour
	failsFor     = 10 * time.Minute // the peer, or a balancer before it, has none
	unanswered   = time.Minute      // it did not answer in time
	sessionsDied = time.Minute      // it answered, and carried nothing
)

// Ladder remembers, for all calls of a client, which authorities carry
// WebTransport: the answer is looked for once. The zero Ladder is ready.
type Ladder struct {
	mu sync.Mutex
	m  map[string]entry
}

type entry struct {
	verdict Verdict
	until   time.Time
	misses  int // unanswered in a row
}

// Verdict is what is known of an authority (host:port).
func (l *Ladder) Verdict(authority string) Verdict {
	if l == nil {
		return Unknown
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.m[authority]
	if !ok || time.Now().After(e.until) || e.verdict == asked {
		return Unknown
	}
	return e.verdict
}

// Probe tells one caller that it is the first to ask an authority nothing is
// known of. The others need not prepare for the worst: the answer is on its way,
// and fifty calls that park twenty GETs each would only delay it.
func (l *Ladder) Probe(authority string) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if e, ok := l.m[authority]; ok && !now.After(e.until) {
		return false
	}
	l.enter(authority, entry{verdict: asked, until: now.Add(dialLimit)}, now)
	return true
}

// Learn enters a verdict, for a time.
func (l *Ladder) Learn(authority string, v Verdict, d time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.enter(authority, entry{verdict: v, until: now.Add(d)}, now)
}

// enter is called with mu held.
func (l *Ladder) enter(authority string, e entry, now time.Time) {
	if l.m == nil {
		l.m = make(map[string]entry)
	}
	if _, known := l.m[authority]; !known && len(l.m) >= maxVerdicts {
		for a, old := range l.m {
			if len(l.m) >= maxVerdicts || now.After(old.until) {
				delete(l.m, a)
			}
		}
	}
	l.m[authority] = e
}

// Unanswered enters that a session was asked for in vain. Where sessions work,
// one that gets lost does not send every call to the fallback, which costs the
// peer many times as much.
func (l *Ladder) Unanswered(authority string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	e, ok := l.m[authority]
	e.misses++
	patient := ok && e.verdict == Works && time.Now().Before(e.until) && e.misses < maxMisses
	if patient {
		l.m[authority] = e
	}
	l.mu.Unlock()
	if !patient {
		l.Learn(authority, Fails, unanswered)
	}
}

// Forget makes the next call look anew: a fresh connection may lead elsewhere.
func (l *Ladder) Forget(authority string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.m, authority)
}
