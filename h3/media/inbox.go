package media

import (
	"context"
	"sync"
)

// inboxSize is how many datagrams wait to be looked into.
const inboxSize = 1024

// inbox is where the reader of a session puts datagrams, so that it is back at
// the library's queue at once: that holds 32, and drops silently what does not
// fit. The oldest go when it is full, and are counted.
type inbox struct {
	mu      sync.Mutex
	ring    [inboxSize][]byte
	head, n int
	dropped uint64
	wake    chan struct{}
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) put(datagram []byte) {
	b.mu.Lock()
	if b.n == inboxSize {
		b.ring[b.head] = nil
		b.head, b.n = (b.head+1)%inboxSize, b.n-1
		b.dropped++
	}
	b.ring[(b.head+b.n)%inboxSize] = datagram
	b.n++
	first := b.n == 1
	b.mu.Unlock()
	if first {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// take returns the oldest datagram; nil when ctx has ended.
func (b *inbox) take(ctx context.Context) []byte {
	for {
		b.mu.Lock()
		if b.n > 0 {
			d := b.ring[b.head]
			b.ring[b.head] = nil
			b.head, b.n = (b.head+1)%inboxSize, b.n-1
			b.mu.Unlock()
			return d
		}
		b.mu.Unlock()
		select {
		case <-b.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func (b *inbox) drops() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}
