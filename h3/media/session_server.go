package media

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/quic-go/quic-go/http3"
)

// ErrNoSession says that a call named a trunk session that is not open, or has
// no place.
var ErrNoSession = errors.New("there is no such trunk session")

// maxOwnedSessions is how many trunk sessions one owner may have open: at ten
// calls each, as on a path that loses packets, they take 5,000 calls.
const maxOwnedSessions = 512

// trunkSessions are those of a server, by name. Each belongs to an owner, who
// alone can put calls on it.
type trunkSessions struct {
	mu    sync.Mutex
	m     map[string]owned
	count map[string]int // by owner
}

type owned struct {
	*trunkSession
	owner string
	tags  *tags
}

// tags are given once each: what is late for a call that has left is not taken
// for another's.
type tags struct {
	mu   sync.Mutex
	last uint64
}

func (t *tags) next() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	return t.last
}

func (ts *trunkSessions) add(owner string) (*trunkSession, bool) {
	var name [16]byte
	_, _ = rand.Read(name[:]) // never fails
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.count[owner] >= maxOwnedSessions {
		return nil, false
	}
	if ts.m == nil {
		ts.m, ts.count = map[string]owned{}, map[string]int{}
	}
	t := newTrunkSession(base64.RawURLEncoding.EncodeToString(name[:]))
	ts.m[t.id] = owned{t, owner, &tags{}}
	ts.count[owner]++
	return t, true
}

func (ts *trunkSessions) remove(t *trunkSession, owner string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.m, t.id)
	if ts.count[owner]--; ts.count[owner] == 0 {
		delete(ts.count, owner)
	}
}

func (ts *trunkSessions) find(owner, id string) (owned, bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	o, ok := ts.m[id]
	return o, ok && o.owner == owner
}

// ServeTrunk serves CONNECT {tg}/media: a session for the calls of owner. It
// returns when the session is over.
func (s *Server) ServeTrunk(w http.ResponseWriter, r *http.Request, owner string) {
	if r.Method != http.MethodConnect {
		w.Header().Set("Allow", http.MethodConnect)
		refuse(w, http.StatusMethodNotAllowed, "the media of a TG are a WebTransport session")
		return
	}
	if _, ok := w.(http3.Settingser); !ok || s.wt == nil {
		refuse(w, http.StatusNotImplemented, "there is no WebTransport here")
		return
	}
	t, ok := s.trunks.add(owner)
	if !ok {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "there are "+strconv.Itoa(maxOwnedSessions)+" trunk sessions open")
		return
	}
	defer s.trunks.remove(t, owner)
	defer t.end()
	defer s.conns.enter(r, true, t.in.put)()
	w.Header().Set(SessionHeader, t.id)
	noStore(w.Header())
	sess, err := s.wt.Upgrade(w, r)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if sess.SessionState().ApplicationProtocol != Protocol {
		_ = sess.CloseWithError(0, "this server speaks "+Protocol)
		return
	}
	t.run(sess, r.RemoteAddr)
	_ = sess.CloseWithError(0, "")
}

// Join puts the call whose end is p on a trunk session of owner, and returns
// the call's tag there. The session carries the call from the first chunk that
// comes on it: only then does the client know the tag. The error is
// ErrNoSession.
func (s *Server) Join(owner, id string, p *Port, epoch uint64) (tag uint64, err error) {
	o, ok := s.trunks.find(owner, id)
	if !ok {
		return 0, ErrNoSession
	}
	seat := &seat{t: o.trunkSession, tag: o.tags.next(), p: p, epoch: epoch}
	seat.first = func() { p.takeOver(seat, epoch, o.peer) }
	if !p.takeSeat(seat) {
		return 0, ErrNoSession
	}
	return seat.tag, nil
}

// Knows tells whether there is a session of that name, of that owner.
func (s *Server) Knows(owner, id string) bool {
	_, ok := s.trunks.find(owner, id)
	return ok
}

// seats are those of one call at a server: the one it is on, and the one it
// comes from, where something may still be on its way.
type seats struct {
	mu   sync.Mutex
	held []*seat
	over bool
}

const maxHeldSeats = 2

func (p *Port) takeSeat(s *seat) (ok bool) {
	p.seats.mu.Lock()
	defer p.seats.mu.Unlock()
	if p.seats.over || !s.t.sit(s) {
		return false
	}
	if p.seats.held = append(p.seats.held, s); len(p.seats.held) > maxHeldSeats {
		// One that nobody ever came to goes first: its tag may have been lost with a
		// response.
		i := max(0, slices.IndexFunc(p.seats.held[:maxHeldSeats], func(s *seat) bool { return !s.came.Load() }))
		p.seats.held[i].t.rise(p.seats.held[i])
		p.seats.held = slices.Delete(p.seats.held, i, i+1)
	}
	return true
}

// leaveSeats is for the end of the call.
func (p *Port) leaveSeats() {
	p.seats.mu.Lock()
	defer p.seats.mu.Unlock()
	p.seats.over = true
	for _, s := range p.seats.held {
		s.t.rise(s)
	}
	p.seats.held = nil
}
