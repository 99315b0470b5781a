package h3

import "time"

// reap closes connections that nobody has used for a while.
func (p *pool) reap() {
	tick := time.NewTicker(reapPeriod)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range p.idle(p.cfg.Now()) {
			c.close()
		}
	}
}

// idle takes the connections to close out of use. One per authority stays.
func (p *pool) idle(now time.Time) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*conn
	for _, a := range p.authorities {
		open := 0
		for _, c := range a.conns {
			if !c.draining {
				open++
			}
		}
		for _, c := range a.conns {
			rest := now.Sub(c.idleSince)
			switch {
			case c.streams > 0:
			case c.draining:
				out = append(out, c)
			case open > 1 && rest >= idleExtra, rest >= idleLast:
				c.draining = true
				open--
				out = append(out, c)
			}
		}
	}
	return out
}
