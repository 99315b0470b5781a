package store

import (
	"fmt"
	"time"
)

// Electing says that no node leads what the nodes share: none takes writes. They
// elect another, if a majority of them is there.
type Electing struct {
	Since time.Time // when somebody did last, about
	Until time.Time // when there is a leader again, at the latest, if there can be one
	Now   time.Time
	Why   error // what came in the place of an answer
}

// clock is how times of the day are told.
const clock = "15:04:05"

func (e *Electing) Error() string {
	if e.Left() > 0 {
		return fmt.Sprintf("no node of the cluster has led its store since %s; the others elect one until %s at most, if they are a majority: %v", e.Since.Format(clock), e.Until.Format(clock), e.Why)
	}
	return fmt.Sprintf("no node of the cluster has led its store since %s, longer than an election takes (does a majority of its nodes run, reach each other on their addresses in cluster.nodes, and have room on their disks?): %v", e.Since.Format(clock), e.Why)
}

func (e *Electing) Unwrap() error { return e.Why }

// Left is how long the election may take still; 0 if it should have been over.
func (e *Electing) Left() time.Duration { return max(0, e.Until.Sub(e.Now)) }
