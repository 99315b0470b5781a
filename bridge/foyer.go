package bridge

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A call that comes from a living node is heard from the first moment on: what
// its peers send to where they think it is comes from there (relay.go), and what
// they send here may come before the two legs are joined. It waits until then.

const (
	// foyerMost is how many frames of a side wait: ten seconds of speech, or a
	// picture or two.
	foyerMost = 512
	// foyerTime is how long frames may come by another node.
	foyerTime = 2 * relayTime
	// maxFoyers bounds the calls that are on their way here.
	maxFoyers = 8 << 10
)

// foyer hears the peer of one side of a call. Push may be called from any
// goroutine.
type foyer struct {
	to      atomic.Pointer[Sink]
	mu      sync.Mutex
	waiting []Frame
	dropped uint64
}

// Push implements Sink.
func (f *foyer) Push(fr *Frame) {
	if to := f.to.Load(); to != nil {
		(*to).Push(fr)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if to := f.to.Load(); to != nil {
		(*to).Push(fr)
		return
	}
	if len(f.waiting) >= foyerMost {
		f.waiting = slices.Delete(f.waiting, 0, 1)
		f.dropped++
	}
	f.waiting = append(f.waiting, fr.copied())
}

// admit hands on what waits, and all that comes from then on.
func (f *foyer) admit(to Sink) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.waiting {
		to.Push(&f.waiting[i])
	}
	f.waiting = nil
	f.to.Store(&to)
}

// copied is a frame that may be kept.
func (f *Frame) copied() Frame {
	c := *f
	c.Payload = slices.Clone(f.Payload)
	if f.Sealed != nil {
		sealed := *f.Sealed
		c.Sealed = &sealed
	}
	return c
}

// foyers are those of the two sides of a call.
type foyers struct {
	sides [2]foyer
	until time.Time
}

// foyersOf finds or makes the foyers of a call, nil if there are too many.
func (b *Bridge) foyersOf(call string) *foyers {
	b.foyerMu.Lock()
	defer b.foyerMu.Unlock()
	f := b.foyers[call]
	if f == nil {
		if len(b.foyers) >= maxFoyers {
			return nil
		}
		f = &foyers{}
		b.foyers[call] = f
	}
	f.until = b.cfg.Now().Add(foyerTime)
	return f
}

// closeFoyers forgets those that nobody needs any more.
func (b *Bridge) closeFoyers() {
	now := b.cfg.Now()
	b.foyerMu.Lock()
	defer b.foyerMu.Unlock()
	for call, f := range b.foyers {
		if now.After(f.until) {
			delete(b.foyers, call)
		}
	}
}
