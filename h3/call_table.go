package h3

import (
	"context"
	"fmt"
	"sync"
	"time"

	"riptide/bridge"
)

// endedKept is how long an ended call can be asked about: a device that missed
// the end finds out why its byways got 404.
const endedKept = time.Hour

// callTable holds the calls of a server, and the ended ones for a while.
type callTable struct {
	limits ServerLimits

	mu     sync.Mutex
	closed bool // no new calls
	over   bool // none of another process either
	placed int  // reserved or live
	calls  map[string]*serverCall
	ended  map[string]endedCall
	left   map[string]struct{} // calls that go on elsewhere
	order  []string            // of ended, oldest first
	latest time.Time           // end of a call
}

type endedCall struct {
	client, tg string
	desc       CallDescription
	until      time.Time
}

func newCallTable(l ServerLimits) *callTable {
	return &callTable{limits: l, calls: map[string]*serverCall{}, ended: map[string]endedCall{}}
}

// limit changes how many calls may be placed at once. Those there are stay.
func (t *callTable) limit(calls int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limits.Calls = calls
}

// reserve takes a place for a call. The caller fills it with add; retire gives it
// back.
func (t *callTable) reserve() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return bridge.CauseShuttingDown.With("the server takes no new calls")
	case t.placed >= t.limits.Calls:
		return bridge.CauseOverloaded.With("%d calls are up, which is the limit", t.placed)
	}
	t.placed++
	return nil
}

// add puts a call in its place and arranges that it leaves it when it is over.
func (t *callTable) add(c *serverCall) {
	c.maxByways = t.limits.Byways
	c.retire, c.leave = t.retire, t.leave
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[c.id] = c
}

// enter puts a call in its place that another process had. There is room for
// it whatever the limits say: it is no new call.
func (t *callTable) enter(c *serverCall) error {
	c.maxByways = t.limits.Byways
	c.retire, c.leave = t.retire, t.leave
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
		return bridge.CauseShuttingDown.With("the server is stopping")
	case t.calls[c.id] != nil:
		return bridge.CauseInternal.With("the call is here already")
	}
	t.placed++
	t.calls[c.id] = c
	delete(t.left, c.id)
	delete(t.ended, c.id) // its name may stay in order, where it is harmless
	return nil
}

// withdraw forgets a call that was refused before its client knew of it.
func (t *callTable) withdraw(c *serverCall) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.ended, c.id) // its name may stay in order, where it is harmless
}

func (t *callTable) retire(c *serverCall) {
	desc := c.describe()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.placed--
	t.latest = time.Now()
	delete(t.calls, c.id)
	t.ended[c.id] = endedCall{c.client, c.tg, desc, desc.EndedAt.Add(endedKept)}
	t.order = append(t.order, c.id)
	for len(t.order) > 0 {
		oldest, ok := t.ended[t.order[0]]
		if ok && len(t.order) <= t.limits.Ended && desc.EndedAt.Before(oldest.until) {
			break
		}
		delete(t.ended, t.order[0])
		t.order = t.order[1:]
	}
}

// find returns a call of the client's: a live one, or the description of one
// that has ended.
func (t *callTable) find(client, tg, id string, now time.Time) (*serverCall, *CallDescription) {
	t.mu.Lock()
	c, e := t.calls[id], t.ended[id]
	t.mu.Unlock()
	switch {
	case c != nil && c.client == client && c.tg == tg:
		return c, nil
	case c == nil && e.client == client && e.tg == tg && client != "" && now.Before(e.until):
		return nil, &e.desc
	}
	return nil, nil
}

// count is the number of calls that are up.
func (t *callTable) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.placed
}

// close takes no more new calls.
func (t *callTable) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// latestEnd is when a call ended last.
func (t *callTable) latestEnd() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.latest
}

// endAll ends every call and takes no more. The bridge hears of it as of any
// end, and has usually ended them already.
func (t *callTable) endAll(ctx context.Context, cause bridge.Cause) error {
	t.mu.Lock()
	t.closed, t.over = true, true
	var calls []*serverCall
	for _, c := range t.calls {
		calls = append(calls, c)
	}
	t.mu.Unlock()
	for _, c := range calls {
		c.hangUp(cause)
		c.finish(cause)
	}
	for _, c := range calls {
		if err := c.waitTold(ctx); err != nil {
			return fmt.Errorf("end %d calls: %w", len(calls), err)
		}
	}
	return nil
}
