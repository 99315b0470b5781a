package media

import (
	"context"
	"sync"
	"time"
)

// deadline lets a body be read while its sender is heard, and ends the reading
// with the call.
type deadline struct {
	set func(time.Time) error

	mu   sync.Mutex
	over bool
}

// extend gives the sender the time after which a stripe is dead.
func (d *deadline) extend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.over {
		_ = d.set(time.Now().Add(stripeDead)) // without support the connection's own limit is left
	}
}

// endWith ends the reading when the call is over. Stop must be called.
func (d *deadline) endWith(p *Port) (stop func()) {
	cancel := context.AfterFunc(p.ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.over {
			d.over = true
			_ = d.set(time.Unix(1, 0))
		}
	})
	return func() {
		cancel()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.over = true
	}
}
