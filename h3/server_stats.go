package h3

import (
	"maps"
	"sync"

	"riptide/bridge"
)

// ServerState is a server's condition, for metrics and health.
type ServerState struct {
	Calls         int                    `json:"calls"`         // up now
	Handlers      int                    `json:"handlers"`      // registered
	Placed        uint64                 `json:"placed"`        // calls that were made
	Replayed      uint64                 `json:"replayed"`      // retries answered with a stored 201
	Refused       map[bridge.Code]uint64 `json:"refused"`       // requests refused with a cause: tokens, identities, calls
	UnknownEvents uint64                 `json:"unknownEvents"` // of types outside the registry, ignored
	CutStrangers  uint64                 `json:"cutStrangers"`  // connections without a token that had to make room
	CutByways     uint64                 `json:"cutByways"`     // whose client did not follow or sent rubbish
}

// serverStats counts.
type serverStats struct {
	mu sync.Mutex
	s  ServerState
}

func (c *serverStats) count(f func(*ServerState)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.s)
}

// refused counts a refusal by its cause. The codes are those of the table in
// package bridge: their number is bounded.
func (c *serverStats) refused(code bridge.Code) {
	c.count(func(s *ServerState) {
		if s.Refused == nil {
			s.Refused = map[bridge.Code]uint64{}
		}
		s.Refused[code]++
	})
}

// State may be called at any time.
func (s *Server) State() ServerState {
	s.stats.mu.Lock()
	out := s.stats.s
	out.Refused = maps.Clone(out.Refused)
	s.stats.mu.Unlock()
	out.Calls = s.calls.count()
	out.Handlers = s.handlers.count()
	return out
}
