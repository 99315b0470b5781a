package h3

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
)

// A balancer leads the client of a call to any node, when the one that had the
// call is gone. What the node does not know it looks for in the records, before
// it says that there is no such call.

const (
	claimLimit = 5 * time.Second // for one call to be found and taken up
	maxClaims  = 256             // calls at a time
)

// claims are the calls that are being looked for.
type claims struct {
	mu   sync.Mutex
	m    map[string]*claim // by URI
	work sync.WaitGroup    // who asks for them
}

// claim is one of them. Who wants the call waits until its leg is here, which is
// when it may be served: its client shall not wait until the other side has
// answered that it follows, too. If there is no leg, the end of the asking says so.
type claim struct {
	here chan struct{}
	done chan struct{}
	err  error
}

// find returns a call of the client that asks: a live one, or the description of
// one that has ended. It looks for one that another process had. The error says
// that the call, if there is one, cannot be served here at the moment.
func (s *Server) find(ctx context.Context, tg, id string) (*serverCall, *CallDescription, error) {
	client := clientOf(ctx)
	c, over := s.calls.find(client, tg, id, s.cfg.Now())
	if c != nil || over != nil {
		return c, over, nil
	}
	if g := s.tgs[tg]; s.cfg.Claim != nil && g != nil && uuid.Validate(id) == nil {
		if err := s.claims.settle(ctx, g.uri+"/calls/"+id, s.cfg.Claim); err != nil {
			return nil, nil, err
		}
		if c, over = s.calls.find(client, tg, id, s.cfg.Now()); c != nil || over != nil {
			return c, over, nil
		}
	}
	if s.calls.goneOn(id) {
		return nil, nil, goneOn()
	}
	return nil, nil, nil
}

// settle finds out what becomes of a call, once for all who want it.
func (cs *claims) settle(ctx context.Context, uri string, ask func(context.Context, string) (bool, error)) error {
	cs.mu.Lock()
	c := cs.m[uri]
	if c == nil {
		if len(cs.m) >= maxClaims {
			cs.mu.Unlock()
			return bridge.CauseOverloaded.With("%d calls are being taken up", maxClaims)
		}
		if cs.m == nil {
			cs.m = map[string]*claim{}
		}
		c = &claim{here: make(chan struct{}), done: make(chan struct{})}
		cs.m[uri] = c
		cs.work.Go(func() { cs.ask(ctx, uri, c, ask) })
	}
	cs.mu.Unlock()
	select {
	case <-c.here:
		return nil
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return bridge.CauseShuttingDown.With("the call is still being looked for")
	}
}

// arrived lets those go on who want the call of a URI: its leg is here.
func (cs *claims) arrived(uri string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.m[uri]; c != nil && !closed(c.here) {
		close(c.here)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ask asks, on behalf of all: it goes on when the one who asked first has gone.
func (cs *claims) ask(ctx context.Context, uri string, c *claim, ask func(context.Context, string) (bool, error)) {
	c.err = bridge.CauseInternal.With("the call could not be taken up") // should Claim not return at all
	defer func() {
		cs.mu.Lock()
		delete(cs.m, uri)
		cs.mu.Unlock()
		close(c.done)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimLimit)
	defer cancel()
	if _, err := ask(ctx, uri); err != nil {
		c.err = bridge.CauseShuttingDown.With("whether there is such a call could not be found out")
		return
	}
	c.err = nil
}
