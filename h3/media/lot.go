package media

import (
	"slices"
	"sync"
	"time"
)

// MaxParked is how many GETs a client may park on one call.
const MaxParked = 30

// parkedLong is how long a GET waits while later ones are answered. Balancers give
// up on a request that is not answered for a minute, and take the node for ill.
const parkedLong = 20 * time.Second

// lot is where the GETs of a call are parked until there is a chunk to answer
// them with. It is the server's carrier for clients without WebTransport.
type lot struct {
	p *Port

	mu    sync.Mutex
	spots []*spot // oldest first, all of one epoch
	epoch uint64
	inUse bool // attached to the port
}

// spot is one parked GET. What comes from the channel is the answer; if it is
// closed, there is none: 204.
type spot struct {
	answer chan message
	since  time.Time
}

var lotTraits = traits{rung: PutGet, framed: true, limit: maxBody, starve: true}

func (l *lot) about() traits { return lotTraits }

func (l *lot) ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spots) > 0
}

// send answers the GET that was parked last, because after a migration the older
// ones may lead nowhere; but first one that has waited for too long.
func (l *lot) send(m message) {
	l.mu.Lock()
	n := len(l.spots)
	if n == 0 {
		l.mu.Unlock()
		l.p.settle(m, errClosed)
		return
	}
	i := n - 1
	if time.Since(l.spots[0].since) > parkedLong {
		i = 0
	}
	s := l.spots[i]
	l.spots = slices.Delete(l.spots, i, i+1)
	m.body = slices.Clone(m.body)
	s.answer <- m
	l.mu.Unlock()
}

// use makes the lot a carrier of the port: the client has sent a request of
// this epoch. GETs of older epochs are sent home.
func (l *lot) use(epoch uint64, peer string) {
	l.mu.Lock()
	if epoch < l.epoch || l.inUse && epoch == l.epoch {
		l.mu.Unlock()
		return
	}
	if epoch > l.epoch {
		l.releaseLocked()
	}
	l.inUse, l.epoch = true, epoch
	l.mu.Unlock()
	l.p.attach(l, epoch, peer)
}

// park adds a GET. s is nil if it is to be answered with 204 at once; it is
// not ok if there are too many.
func (l *lot) park(epoch uint64) (s *spot, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch < l.epoch {
		return nil, true
	}
	if len(l.spots) >= MaxParked {
		return nil, false
	}
	s = &spot{answer: make(chan message, 1), since: time.Now()}
	l.spots = append(l.spots, s)
	return s, true
}

// leave takes a GET off whose client has gone. It returns false if it has its
// answer already.
func (l *lot) leave(s *spot) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.spots, s)
	if i < 0 {
		return false
	}
	l.spots = slices.Delete(l.spots, i, i+1)
	return true
}

// retire sends all GETs home and takes the lot off the port, until the client
// comes back to it. A session does that when it takes over.
func (l *lot) retire() {
	l.mu.Lock()
	l.inUse = false
	l.releaseLocked()
	l.mu.Unlock()
	l.p.detach(l)
}

func (l *lot) releaseLocked() {
	for _, s := range l.spots {
		close(s.answer)
	}
	l.spots = nil
}
