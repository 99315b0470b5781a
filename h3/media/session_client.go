package media

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"riptide/h3/chunk"
)

// OwnSession is a WebTransport session on a QUIC connection of its own.
type OwnSession struct {
	*webtransport.Session
	Conn *quic.Conn
	Name string // what the server calls it: SessionHeader
}

// SessionDialer opens a session on {tg}/media.
type SessionDialer func(ctx context.Context) (OwnSession, error)

// Calls on one trunk session. One congestion window serves them all, and on a
// path that loses packets that of stock QUIC starves from some fifteen calls on.
// So a path begins with few calls on each, and gets more as long as it is clean.
const (
	fewSeats  = 10
	mostSeats = 100

	maxSessionsOpen = 256
	spareSeats      = 4 // with fewer left the next session is opened
	sessionIdle     = 30 * time.Second
	proveEvery      = 250 * time.Millisecond
	proveLimit      = time.Second
)

// errNoDatagrams says that a session was opened, and no datagram came back.
var errNoDatagrams = errors.New("the trunk session carries no datagrams")

// Sessions are a client's trunk sessions to one TG, which its calls share.
// They are opened when calls want them, ahead of need.
type Sessions struct {
	dial SessionDialer
	path path // all sessions take the same one

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	all     []*clientSession
	opening int
	waiting int
	failed  uint64 // attempts, ever
	err     error  // of the last one
	changed chan struct{}
	tending bool // tend is running
	closed  bool
}

// clientSession is one of them. Fields are guarded by Sessions.mu.
type clientSession struct {
	*trunkSession
	held      []*Seat
	leaving   bool // takes no more calls
	running   sync.WaitGroup
	idleSince time.Time
}

// Seat is a place on a trunk session for one call.
type Seat struct {
	set   *Sessions
	on    *clientSession
	taken *seat         // the carrier, when the server has given a tag
	move  chan struct{} // closed when the call is to find another session
	asked bool
	last  books
}

// Session is the name of the session, for the request that puts the call on it.
func (s *Seat) Session() string {
	if s == nil {
		return ""
	}
	return s.on.id
}

// NewSessions makes an empty set. Close must be called.
func NewSessions(dial SessionDialer) *Sessions {
	s := &Sessions{dial: dial, changed: make(chan struct{})}
	s.path.limit = fewSeats
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends all sessions.
func (s *Sessions) Close() {
	s.mu.Lock()
	s.closed = true
	all := slices.Clone(s.all)
	s.mu.Unlock()
	s.cancel()
	for _, c := range all {
		c.cancel()
	}
	s.wg.Wait()
}

// Reserve takes a place if one is free at once, and sees to it that there will
// be more. Nil: none is.
func (s *Sessions) Reserve() *Seat {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seat := s.reserve()
	s.openAhead()
	return seat
}

// Await waits for a place.
func (s *Sessions) Await(ctx context.Context) (*Seat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := s.failed
	for {
		if s.closed {
			return nil, errClosed
		}
		seat := s.reserve()
		if seat == nil && s.failed != failed {
			return nil, s.err
		}
		if seat == nil {
			s.waiting++
		}
		s.openAhead()
		if seat != nil {
			return seat, nil
		}
		changed := s.changed
		s.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-ctx.Done():
			err = fmt.Errorf("wait for a trunk session: %w", context.Cause(ctx))
		}
		s.mu.Lock()
		s.waiting--
		if err != nil {
			return nil, err
		}
	}
}

// reserve takes a place on the fullest session that has one. mu is held.
func (s *Sessions) reserve() *Seat {
	var best *clientSession
	for _, c := range s.all {
		if !c.leaving && len(c.held) < s.path.limit && (best == nil || len(c.held) > len(best.held)) {
			best = c
		}
	}
	if best == nil {
		return nil
	}
	seat := &Seat{set: s, on: best, move: make(chan struct{})}
	best.held = append(best.held, seat)
	return seat
}

// openAhead opens as many sessions as those who wait will need, and one when
// places run low. mu is held.
func (s *Sessions) openAhead() {
	free := 0
	for _, c := range s.all {
		if !c.leaving {
			free += max(0, s.path.limit-len(c.held))
		}
	}
	want := (s.waiting + spareSeats - free + s.path.limit - 1) / s.path.limit
	for s.opening < want && len(s.all)+s.opening < maxSessionsOpen && !s.closed {
		s.opening++
		s.wg.Go(s.open)
	}
	if !s.tending && !s.closed {
		s.tending = true
		s.wg.Go(s.tend)
	}
}

// open opens one session and carries it until it is over.
func (s *Sessions) open() {
	c, wt, err := s.connect()
	s.mu.Lock()
	s.opening--
	if err == nil && s.closed {
		err = errClosed
	}
	if err != nil {
		s.failed++
		s.err = err
	} else {
		s.all = append(s.all, c)
	}
	s.wakeLocked()
	s.mu.Unlock()
	if err != nil {
		if c != nil {
			c.cancel()
			c.running.Wait()
		}
		if wt != nil {
			_ = wt.CloseWithError(0, "")
		}
		return
	}
	<-c.ctx.Done()
	_ = wt.CloseWithError(0, "")
	s.mu.Lock()
	s.all = slices.DeleteFunc(s.all, func(x *clientSession) bool { return x == c })
	for _, seat := range c.held {
		seat.askToMove()
	}
	s.wakeLocked()
	s.mu.Unlock()
	c.running.Wait()
}

// connect opens a session and waits until a datagram has come back.
func (s *Sessions) connect() (*clientSession, *webtransport.Session, error) {
	ctx, cancel := context.WithTimeout(s.ctx, dialLimit)
	defer cancel()
	own, err := s.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	wt, id := own.Session, own.Name
	if id == "" || wt.SessionState().ApplicationProtocol != Protocol {
		return nil, wt, fmt.Errorf("open a trunk session: the server has not named it, or does not speak %s", Protocol)
	}
	c := &clientSession{trunkSession: newTrunkSession(id), idleSince: time.Now()}
	c.running.Go(func() { c.run(wt, wt.RemoteAddr().String()) })
	c.running.Go(func() { drain(c.ctx, own.Conn, func(_ uint64, b []byte) { c.in.put(b) }) })
	return c, wt, c.prove(ctx)
}

// prove says hello until the peer answers.
func (c *clientSession) prove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, proveLimit)
	defer cancel()
	hello := make([]byte, 16)
	_, _ = rand.Read(hello) // never fails
	tick := time.NewTicker(proveEvery)
	defer tick.Stop()
	for {
		c.out.put(0, nil, message{body: control(chunk.ControlHello, hello)})
		select {
		case <-c.echo:
			return nil
		case <-tick.C:
		case <-c.ctx.Done():
			return errClosed
		case <-ctx.Done():
			return errNoDatagrams
		}
	}
}

func (s *Sessions) wakeLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// take makes the seat the carrier of a call: the server has given it a tag.
func (s *Seat) take(p *Port, tag, epoch uint64) bool {
	at := &seat{t: s.on.trunkSession, tag: tag, p: p, epoch: epoch}
	if tag == 0 || !s.on.sit(at) {
		return false
	}
	s.set.mu.Lock()
	s.taken, s.last = at, booksOf(p)
	s.set.mu.Unlock()
	p.attach(at, epoch, s.on.peer)
	if s.on.ctx.Err() != nil { // it ended meanwhile, and knew nothing of us
		p.detach(at)
		return false
	}
	return true
}

// Release gives the place back.
func (s *Seat) Release() {
	if s == nil {
		return
	}
	s.set.mu.Lock()
	at := s.taken
	s.on.held = slices.DeleteFunc(s.on.held, func(x *Seat) bool { return x == s })
	if len(s.on.held) == 0 {
		s.on.idleSince = time.Now()
	}
	s.set.wakeLocked()
	s.set.mu.Unlock()
	if at != nil {
		s.on.rise(at)
	}
}

// askToMove is called with Sessions.mu held.
func (s *Seat) askToMove() {
	if !s.asked {
		s.asked = true
		close(s.move)
	}
}

// SessionsState is a snapshot for metrics.
type SessionsState struct {
	Sessions int    `json:"sessions"`
	Calls    int    `json:"calls"`
	Limit    int    `json:"limit"`   // calls that a session takes at the moment
	Dropped  uint64 `json:"dropped"` // datagrams, for want of time to look into them
	Strange  uint64 `json:"strange"` // chunks of no call of the session
}

// State tells how the sessions are used.
func (s *Sessions) State() SessionsState {
	if s == nil {
		return SessionsState{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SessionsState{Sessions: len(s.all), Limit: s.path.limit}
	for _, c := range s.all {
		st.Calls += len(c.held)
		st.Dropped += c.in.drops()
		st.Strange += c.strange.Load()
	}
	return st
}
