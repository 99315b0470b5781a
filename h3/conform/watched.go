package conform

import (
	"sync"
	"time"
)

// watched is state behind a lock whose changes can be waited for. Who embeds it
// makes changed.
type watched struct {
	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, at every change
}

// bump wakes whoever awaits something. mu is held.
func (w *watched) bump() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits until cond holds, which is called with mu held, or the time is up.
func (w *watched) await(limit time.Duration, cond func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		w.mu.Lock()
		ok, changed := cond(), w.changed
		w.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}
