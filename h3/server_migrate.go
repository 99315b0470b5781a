package h3

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// Clients that are asked to attach anew come at once, and each has a node take its
// call over and new carriers opened: where that takes longer than speech can wait
// there are too many of them. So the next is asked when one of those before is there.
const (
	migrateAtOnce = 8  // calls on their way, at least
	migrateShare  = 40 // or one in so many: thousands have to go, too, in their time
	migratePoll   = 25 * time.Millisecond
	// migratePatience is how long others wait for a client that does not come.
	migratePatience = time.Second
)

// Migration is what became of a wish that clients attach anew.
type Migration struct {
	Asked    int // calls whose clients were asked
	Attached int // those that have attached anew
	Ended    int // those that were over before
}

// Migrate asks the clients of all calls to attach anew, with the `migrate` event
// (core draft, "Graceful Migration"): to take calls off a balancer, or off
// connections that are to go. With an origin ("https://host[:port]"), that is
// where they are told to come; it must lead to this server, and lie within the
// site of the call's URI, since clients take their tokens nowhere else. It
// returns when every call has moved or ended, or when ctx ends, which is no error.
func (s *Server) Migrate(ctx context.Context, origin string) (Migration, error) {
	if err := s.mayMigrateTo(origin); err != nil {
		return Migration{}, err
	}
	var m Migration
	calls := s.calls.live()
	atOnce := max(migrateAtOnce, len(calls)/migrateShare)
	var waiting []*migrating
	for {
		waiting = m.settle(waiting)
		now, moving := s.cfg.Now(), 0
		for _, w := range waiting {
			if now.Sub(w.asked) < migratePatience {
				moving++
			}
		}
		for ; len(calls) > 0 && moving < atOnce; calls = calls[1:] {
			if w := calls[0].migrate(origin, now); w != nil {
				waiting = append(waiting, w)
				m.Asked++
				moving++
			}
		}
		if len(calls)+len(waiting) == 0 || !pause(ctx, migratePoll) {
			return m, nil
		}
	}
}

// settle counts those that have arrived, and leaves those that have not.
func (m *Migration) settle(waiting []*migrating) []*migrating {
	left := waiting[:0]
	for _, w := range waiting {
		switch attached, ended := w.state(); {
		case attached:
			m.Attached++
		case ended:
			m.Ended++
		default:
			left = append(left, w)
		}
	}
	return left
}

// mayMigrateTo refuses an origin that no client would follow.
func (s *Server) mayMigrateTo(origin string) error {
	if origin == "" {
		return nil
	}
	own, err := url.Parse("https://" + s.cfg.Authority)
	if err != nil {
		return fmt.Errorf("authority %q: %w", s.cfg.Authority, err)
	}
	u, err := sameSite(origin, own)
	if err != nil {
		return fmt.Errorf("move calls to another place: %w", err)
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return fmt.Errorf("move calls to another place: %s has a path; write https://HOST or https://HOST:PORT", origin)
	}
	return nil
}

// live are the calls that are up.
func (t *callTable) live() []*serverCall {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*serverCall, 0, len(t.calls))
	for _, c := range t.calls {
		out = append(out, c)
	}
	return out
}

// migrating is a call whose client was asked to attach anew.
type migrating struct {
	call  *serverCall
	after uint64 // how many reverse byways it had opened until then
	asked time.Time
}

// migrate asks the call's client to attach anew; nil: the call is over, or
// nobody is listening, so that its client is looking for us as it is.
func (c *serverCall) migrate(origin string, now time.Time) *migrating {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != live || len(c.byways) == 0 {
		return nil
	}
	ev := Event{Type: eventMigrate}
	if origin != "" {
		ev.URI = withOrigin(c.uri, origin)
	}
	c.announce(ev)
	return &migrating{call: c, after: c.attached, asked: now}
}

// withOrigin is a URI at another place.
func withOrigin(uri, origin string) string {
	u, err := url.Parse(uri)
	o, oerr := url.Parse(origin)
	if err != nil || oerr != nil {
		return ""
	}
	u.Host = o.Host
	return u.String()
}

func (w *migrating) state() (attached, ended bool) {
	w.call.mu.Lock()
	defer w.call.mu.Unlock()
	return w.call.attached > w.after, w.call.phase != live
}
