package bridge

import (
	"sync"
	"time"
)

// Calls are taken over many at a time, and most of that time is waiting: for the other
// nodes to grant them, then for peers to say that they know where the call is. A peer
// that says nothing must not hold up the calls of others: what waits for peers counts
// against its own two trunks, and after a while not even against those.

const (
	// takers is how many calls are claimed at a time.
	takers = 64
	// trunkTakings is how many calls between the same two trunks are under way at a
	// time, and slowPeer after how long one does not count any more: others of the
	// trunks may have better peers.
	trunkTakings = 128
	slowPeer     = time.Second
	// maxTakings bounds all that are under way.
	maxTakings = 4 << 10
)

// takings are the calls that are being taken over, and those that are to be. It is
// owned by who adds to it, and waits for it.
type takings struct {
	claims chan struct{} // places for those that are being claimed

	mu      sync.Mutex
	over    bool                   // nothing begins any more
	known   map[string]struct{}    // what waits or is under way
	waiting map[[2]string][]toTake // by the trunks of their legs
	busy    map[[2]string]int
	running int
	work    sync.WaitGroup // for all that is known
}

// toTake is one of them. do calls claimed, from when on it waits for peers, or returns.
type toTake struct {
	id     string
	trunks [2]string
	do     func(claimed func())
}

func newTakings() *takings {
	return &takings{
		claims: make(chan struct{}, takers),
		known:  map[string]struct{}{}, waiting: map[[2]string][]toTake{}, busy: map[[2]string]int{},
	}
}

// add has a call taken over, once for all who add it, as soon as its trunks have room.
// What there is no room for at all is not: who adds it finds it again.
func (t *takings) add(x toTake) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, has := t.known[x.id]; has || t.over || len(t.known) >= maxRecords {
		return
	}
	t.known[x.id] = struct{}{}
	t.work.Add(1)
	t.waiting[x.trunks] = append(t.waiting[x.trunks], x)
	t.begin(x.trunks)
}

// begin begins with those of two trunks that have room. The caller holds mu.
func (t *takings) begin(trunks [2]string) {
	queue := t.waiting[trunks]
	for len(queue) > 0 && t.running < maxTakings && t.busy[trunks] < trunkTakings {
		x := queue[0]
		queue = queue[1:]
		t.running++
		t.busy[trunks]++
		go t.run(x)
	}
	if t.waiting[trunks] = queue; len(queue) == 0 {
		delete(t.waiting, trunks)
	}
}

func (t *takings) run(x toTake) {
	defer t.work.Done()
	t.claims <- struct{}{}
	var slow *time.Timer
	forgotten := sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.busy[x.trunks]--; t.busy[x.trunks] == 0 {
			delete(t.busy, x.trunks)
		}
		t.more()
	})
	claimed := sync.OnceFunc(func() {
		<-t.claims
		slow = time.AfterFunc(slowPeer, forgotten)
	})
	x.do(claimed)
	claimed()
	slow.Stop()
	forgotten()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	delete(t.known, x.id)
	t.more()
}

// more begins with what has room by now. The caller holds mu.
func (t *takings) more() {
	for trunks := range t.waiting {
		t.begin(trunks)
	}
}

// none tells whether nothing waits or is under way.
func (t *takings) none() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.known) == 0
}

// wait waits until all that was added is done.
func (t *takings) wait() { t.work.Wait() }

// stop leaves what waits, and waits for what is under way.
func (t *takings) stop() {
	t.mu.Lock()
	t.over = true
	for _, queue := range t.waiting {
		for _, x := range queue {
			delete(t.known, x.id)
			t.work.Done()
		}
	}
	clear(t.waiting)
	t.mu.Unlock()
	t.work.Wait()
}
