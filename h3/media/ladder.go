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
)

const (
	maxVerdicts  = 1024
	worksFor     = time.Hour
	failsFor     = 10 * time.Minute // the peer, or a balancer before it, has none
	unanswered   = time.Minute      // it did not answer within the budget
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
}

// Verdict is what is known of an authority (host:port).
func (l *Ladder) Verdict(authority string) Verdict {
	if l == nil {
		return Unknown
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.m[authority]
	if !ok || time.Now().After(e.until) {
		return Unknown
	}
	return e.verdict
}

// Learn enters a verdict, for a time.
func (l *Ladder) Learn(authority string, v Verdict, d time.Duration) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = make(map[string]entry)
	}
	now := time.Now()
	if _, known := l.m[authority]; !known && len(l.m) >= maxVerdicts {
		for a, e := range l.m {
			if len(l.m) >= maxVerdicts || now.After(e.until) {
				delete(l.m, a)
			}
		}
	}
	l.m[authority] = entry{v, now.Add(d)}
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
