package ops

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A node of a cluster whose disk is full hurts nobody at first: the others take the
// writes. So nothing fails that would tell of it, until one of the others is gone.

const (
	// roomEvery is how often it is looked how much room there is.
	roomEvery = 10 * time.Second
	// littleRoom is when to warn, and enoughRoom when all is well again, in bytes.
	littleRoom = 64 << 20
	enoughRoom = 96 << 20
)

// room watches how much is left where the state directory is.
type room struct {
	dir  string
	left func(dir string) (uint64, error) // in bytes, for who is not root

	mu     sync.Mutex
	little bool
}

// look tells how much is left, and whether that has begun to be too little, or has
// ceased to.
func (r *room) look() (left uint64, turned bool, err error) {
	left, err = r.left(r.dir)
	if err != nil {
		return 0, false, fmt.Errorf("look how much room there is in %s: %w", r.dir, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.little
	r.little = left < littleRoom || before && left < enoughRoom
	return left, r.little != before, nil
}

// complaint is what /readyz adds, "" if there is room.
func (r *room) complaint() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.little {
		return ""
	}
	return fmt.Sprintf("but %s has little room left: what this node keeps of the store may stop soon (make room on the disk of key state)\n", r.dir)
}

// collector has the metric.
func (r *room) collector() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "riptide_state_free_bytes", Help: "Room that is left where the state directory is, in bytes; -1 if it is not known.",
	}, func() float64 {
		left, err := r.left(r.dir)
		if err != nil {
			return -1
		}
		return float64(left)
	})
}

// watchRoom says once that there is little room, and once that there is enough again,
// until ctx ends.
func (s *Server) watchRoom(ctx context.Context) {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	unknown := false
	for {
		left, turned, err := s.room.look()
		switch {
		case err != nil && !unknown:
			s.cfg.Logger.Warn("nobody will say when the disk of the state directory is full", "error", err)
		case turned && left < enoughRoom:
			s.cfg.Logger.Warn("there is little room left for the state directory: this node will stop to keep its part of the store, though others may still take the writes (make room on the disk of key state)", "state", s.room.dir, "free", left)
		case turned:
			s.cfg.Logger.Info("there is enough room for the state directory again", "state", s.room.dir, "free", left)
		}
		unknown = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
