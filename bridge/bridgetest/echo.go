package bridgetest

import (
	"sync"

	"riptide/bridge"
)

// Echo is a sink that sends back what it gets, numbered as the continuation of
// what was sent there before.
type Echo struct {
	to bridge.Sink

	mu             sync.Mutex
	begun          bool
	seq, timestamp uint64 // what to add to the frames that come; both wrap on purpose
}

// Echo continues a source that is no longer running with an echo.
func (s *ToneSource) Echo(to bridge.Sink) *Echo {
	return &Echo{to: to, seq: s.frame.Seq, timestamp: s.frame.Timestamp}
}

// Push sends the frame back.
func (e *Echo) Push(f *bridge.Frame) {
	e.mu.Lock()
	if !e.begun {
		e.begun = true
		e.seq -= f.Seq
		e.timestamp -= f.Timestamp
	}
	back := *f
	back.Seq += e.seq
	back.Timestamp += e.timestamp
	e.mu.Unlock()
	e.to.Push(&back)
}

// Both is a sink that hands frames to each of several sinks.
type Both []bridge.Sink

// Push hands the frame to each.
func (b Both) Push(f *bridge.Frame) {
	for _, s := range b {
		s.Push(f)
	}
}
