package h3

import (
	"context"
	"sync"
	"time"

	"riptide/h3/media"
)

// A call that its server asks to come by another node goes on where it is until it
// has a way to the other: the carriers there are opened before those here are
// closed, and what is still under way here is listened to (core draft, "Graceful
// Migration").

// stayLimit is how long carriers stay behind a call that has another way. By then
// the node that had it listens no more.
const stayLimit = 5 * time.Second

// earlier are the carriers of where a call was, while they are listened to.
type earlier struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// after closes carriers when next carry the call.
func (e *earlier) after(ctx context.Context, carriers, next *media.Client) {
	e.end() // those of before
	ctx, e.stop = context.WithTimeout(ctx, stayLimit)
	e.wg.Go(func() { carriers.CloseAfter(ctx, next) })
}

// end closes them now.
func (e *earlier) end() {
	if e.stop != nil {
		e.stop()
		e.wg.Wait()
	}
}

// Stay leaves the carriers where they are, by the cookies that led there: the call
// is about to be somewhere else. Attached opens others.
func (m *callMedia) Stay() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.carriers == nil || m.closed || m.left {
		return
	}
	m.conns.jar.Store(m.leg.jar.Copy())
	m.carriers.Stay()
	m.stays = true
}

// follow opens carriers to where the call is now, and has those of where it was go
// on until then. The caller holds mu.
func (m *callMedia) follow(uri string) {
	was := m.carriers
	m.stays = false
	if m.carry(uri, was.Stay()+1); m.carriers == was {
		was.Close()
		return
	}
	m.before.after(m.leg.t.client.ctx, was, m.carriers)
}
