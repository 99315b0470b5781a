package h3

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Where the node of many calls is gone, they look for it at the same time, and a
// balancer that does not know yet leads every second of them to the dead node, as
// often as it chooses. The cookies by which one call was found lead to a node that
// lives: who has asked in vain takes those of another.

const (
	waysKept = 16              // as many nodes as a cluster has
	wayFresh = 5 * time.Second // as long as a balancer may need to notice
)

// ways are those by which calls of a trunk were found lately.
type ways struct {
	mu    sync.Mutex
	found []foundBy
}

type foundBy struct {
	authority string
	cookies   map[string]string
	at        time.Time
}

// note remembers a way.
func (w *ways) note(authority string, cookies map[string]string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = slices.DeleteFunc(w.found, func(f foundBy) bool {
		return now.Sub(f.at) > wayFresh || f.authority == authority && maps.Equal(f.cookies, cookies)
	})
	if len(w.found) < waysKept && len(cookies) > 0 {
		w.found = append(w.found, foundBy{authority, cookies, now})
	}
}

// pick is one of them, whichever: the calls of one node are to end up at all of
// the others. Nil: there is none but the one that is not wanted.
func (w *ways) pick(authority string, not map[string]string, now time.Time) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var fit []map[string]string
	for _, f := range w.found {
		if f.authority == authority && now.Sub(f.at) <= wayFresh && !maps.Equal(f.cookies, not) {
			fit = append(fit, f.cookies)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[rand.IntN(len(fit))]
}

// gate keeps the media of a call from asking for anything while the call itself
// is looked for: their requests would go to the node that is gone, ten for each
// call, and a balancer that tries each again and again has no time for others.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil: it is open
}

// close shuts it, until open is called.
func (g *gate) close() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	shut := make(chan struct{})
	g.shut = shut
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.shut = nil
		close(shut)
	}
}

// pass waits until it is open, or ctx ends.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
