package sip

import "sync"

// crew counts the goroutines of an agent. It differs from a sync.WaitGroup in
// that Go may be called while Wait waits: timers and transactions that end by
// themselves do so whenever they please.
type crew struct {
	mu      sync.Mutex
	working int
	waiting chan struct{} // not nil: somebody waits; closed when nobody works
}

// Go runs f, unless everybody has gone home.
func (c *crew) Go(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting != nil && c.working == 0 {
		return false
	}
	c.working++
	go func() {
		defer c.leave()
		f()
	}()
	return true
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.working--; c.working == 0 && c.waiting != nil {
		close(c.waiting)
	}
}

// Wait waits until nobody works, after which nobody will.
func (c *crew) Wait() {
	c.mu.Lock()
	if c.waiting == nil {
		c.waiting = make(chan struct{})
		if c.working == 0 {
			close(c.waiting)
		}
	}
	done := c.waiting
	c.mu.Unlock()
	<-done
}
