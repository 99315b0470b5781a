package h3

import (
	"context"
	"fmt"
	"time"

	"riptide/bridge"
)

// The order in which a server goes, which the HTTP libraries know nothing of:
//
//	Retire     balancers are told
//	Drain      no new calls; balancers are told
//	Migrate    the clients of calls are asked to attach anew, elsewhere
//	Shutdown   what is left ends with a cause, its byways in order; then the
//	           connections are closed with a word, so that nobody waits for them
//
// Legs that were abandoned are left out: their clients find who has them.

// lingering is how long connections stay after the last byway has ended: what
// it said last may still be on its way, and goes with them.
const lingering = 250 * time.Millisecond

// Retire has balancers send no more requests here (the health resource says 503);
// those that come are served.
func (s *Server) Retire() { s.draining.Store(true) }

// Drain refuses new calls from now on, and has balancers send no more requests
// here (the health resource says 503). What another process had and is on its way
// here goes on.
func (s *Server) Drain() {
	s.calls.close()
	s.draining.Store(true)
}

// Shutdown ends the server in the order that lets peers and balancers follow:
// no new calls, then the calls end with a cause, their byways with the closing
// bracket, and only then the connections. It returns when everything of the
// server is gone, or with ctx's error after cutting what was left.
func (s *Server) Shutdown(ctx context.Context) error {
	s.starting.Lock()
	s.once.Do(func() { close(s.drained) })
	s.starting.Unlock()
	s.Drain()
	err := s.calls.endAll(ctx, bridge.CauseShuttingDown.With("the RIPT server %s is stopping", s.cfg.Authority).EndedBy(bridge.ByBridge))
	if s.tcp == nil {
		return err
	}
	pause(ctx, time.Until(s.calls.latestEnd().Add(lingering)))
	stop, cancel := context.WithTimeout(ctx, time.Second)
	if s.h2.Shutdown(stop) != nil {
		_ = s.h2.Close()
	}
	cancel()
	s.closeSockets()
	s.conns.Wait()
	s.claims.work.Wait()
	if err != nil {
		return fmt.Errorf("stop RIPT server: %w", err)
	}
	return nil
}
