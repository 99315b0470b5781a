package sip

import (
	"net/netip"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// target is one place where a trunk can be reached.
type target struct {
	addr    netip.AddrPort
	over    transport
	binding *binding   // of a user who registered
	uri     *sipgo.Uri // of a redirection
}

// reached is a target as its standing is remembered: by address.
type reached struct {
	addr netip.AddrPort
	over transport
}

func (t target) reached() reached { return reached{t.addr, t.over} }

func (t target) String() string { return transports[t.over].key + ":" + t.addr.String() }

// How long a target that failed comes last (RFC 3263 section 4.3 leaves it to
// us), and when a whole trunk is given a rest.
const (
	penaltyFirst = 30 * time.Second
	penaltyMost  = 5 * time.Minute
	breakerAfter = 5                // failures in a row, of all targets together
	breakerFirst = 10 * time.Second // then doubled each time, up to penaltyMost
	tryAgain     = 40 * time.Second // how long the call that tries it has, for Timer B and more
)

// standing is what is known of how a trunk's targets work.
type standing struct {
	mu      sync.Mutex
	targets map[reached]*record
	broken  int       // failures of the trunk since its last success
	rests   int       // in a row
	until   time.Time // no call is tried before
	trying  time.Time // until then, one call is out to see whether it works again
	why     string    // the last failure
}

// record is the standing of one target.
type record struct {
	failures int
	until    time.Time // comes last before
	missed   int       // probes without an answer, in a row
	down     bool      // by probes
}

func (s *standing) of(to target) *record {
	if s.targets == nil {
		s.targets = map[reached]*record{}
	}
	r := s.targets[to.reached()]
	if r == nil {
		r = &record{}
		s.targets[to.reached()] = r
	}
	return r
}

// retain forgets targets that the trunk has no more.
func (s *standing) retain(targets []target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := make(map[reached]*record, len(targets))
	for _, to := range targets {
		if r := s.targets[to.reached()]; r != nil {
			kept[to.reached()] = r
		}
	}
	s.targets = kept
}

// resting tells why the trunk as a whole is left alone. The lock is held.
func (s *standing) resting(now time.Time) error {
	switch {
	case now.Before(s.until):
		cause := bridge.CauseUnreachable.With("taken out of service for %v after %d failures in a row; the last: %s",
			s.until.Sub(now).Round(time.Second), s.broken, s.why)
		cause.RetryAfter = s.until.Sub(now)
		return cause
	case s.rests > 0 && now.Before(s.trying):
		return bridge.CauseUnreachable.With("out of service after %d failures in a row, and one call is out to see whether it works again; the last: %s", s.broken, s.why)
	}
	return nil
}

// state tells why no call is tried just now.
func (s *standing) state(targets []target, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.allDown(targets); err != nil {
		return err
	}
	return s.resting(now)
}

// failure is how a target failed. One that says 503 comes last for a while, but
// only silence, or a server that asks to be left alone, puts a trunk at rest:
// carriers say 503 of a number that they cannot route, too.
type failure struct {
	why   string
	pause time.Duration // how long it wants to be left alone, if it said so
	alive bool
}

// fail notes that a target did not do what was asked of it. opened is how long
// the trunk is out of service because of that.
func (s *standing) fail(to target, now time.Time, f failure) (opened time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.of(to)
	r.failures++
	if f.pause == 0 {
		f.pause = doubled(penaltyFirst, r.failures-1)
	} else {
		f.alive = false
	}
	r.until = now.Add(f.pause)
	if f.alive {
		return 0
	}
	s.broken, s.why = s.broken+1, f.why
	if s.broken < breakerAfter && s.rests == 0 || now.Before(s.until) {
		return 0
	}
	s.trying = time.Time{}
	opened = doubled(breakerFirst, s.rests)
	s.rests++
	s.until = now.Add(opened)
	return opened
}

// succeed forgets what was held against a target, and says whether the trunk
// was at rest.
func (s *standing) succeed(to target) (closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.targets[to.reached()]; r != nil {
		r.failures, r.until = 0, time.Time{}
	}
	closed = s.rests > 0
	s.broken, s.rests, s.trying, s.until, s.why = 0, 0, time.Time{}, time.Time{}, ""
	return closed
}

// doubled is first, doubled n times, up to penaltyMost.
func doubled(first time.Duration, n int) time.Duration {
	for ; n > 0 && first < penaltyMost; n-- {
		first *= 2
	}
	return min(first, penaltyMost)
}

// order puts targets that failed behind the others, and leaves out those that
// are known to be down. err says why there is none to be tried.
func (s *standing) order(targets []target, now time.Time) ([]target, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.allDown(targets); err != nil {
		return nil, err
	}
	if err := s.resting(now); err != nil {
		return nil, err
	}
	var good, bad []target
	for _, to := range targets {
		switch r := s.targets[to.reached()]; {
		case r == nil:
			good = append(good, to)
		case r.down:
		case now.Before(r.until):
			bad = append(bad, to)
		default:
			good = append(good, to)
		}
	}
	if s.rests > 0 {
		s.trying = now.Add(tryAgain)
	}
	return append(good, bad...), nil
}

func (t *trunk) failed(to target, f failure) {
	f.why = to.String() + ": " + f.why
	if opened := t.standing.fail(to, t.now(), f); opened > 0 {
		t.log.Warn("trunk out of service", "trunk", t.Name, "for", opened, "why", f.why)
	}
}

func (t *trunk) succeeded(to target) {
	if t.standing.succeed(to) {
		t.log.Info("trunk back in service", "trunk", t.Name, "target", to.String())
	}
}
