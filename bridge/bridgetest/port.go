package bridgetest

import (
	"sync"
	"sync/atomic"

	"riptide/bridge"
)

// Port is a media port in memory: what is pushed into one end of a pipe comes
// out of the other, on the pusher's goroutine.
type Port struct {
	other *Port

	mu   sync.RWMutex // held while a frame is delivered, so that Join can promise
	sink bridge.Sink

	sent, received, unheard atomic.Uint64
}

// NewPipe makes the two ends of an in-memory media path.
func NewPipe() (a, b *Port) {
	a, b = &Port{}, &Port{}
	a.other, b.other = b, a
	return a, b
}

// Push sends a frame to the other end.
func (p *Port) Push(f *bridge.Frame) {
	p.sent.Add(1)
	p.other.deliver(f)
}

func (p *Port) deliver(f *bridge.Frame) {
	p.received.Add(1)
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.sink == nil {
		p.unheard.Add(1)
		return
	}
	p.sink.Push(f)
}

// Join names the sink of what comes from the other end. It must not be called
// from within that sink's Push.
func (p *Port) Join(s bridge.Sink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sink = s
}

// Stats counts frames.
func (p *Port) Stats() bridge.MediaStats {
	return bridge.MediaStats{
		Received: p.received.Load(),
		Unheard:  p.unheard.Load(),
		Sent:     p.sent.Load(),
		Carrier:  "memory",
	}
}

var _ bridge.MediaPort = (*Port)(nil)
