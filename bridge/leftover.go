package bridge

import (
	"context"
	"errors"
	"sync"
	"time"

	"riptide/bridge/store"
)

// A node by itself removes records of its own only, and nobody else does: what
// stays in its store by accident stays for ever, and is found again at each start.
// That is the record of a call whose end could not be written while the store was
// away, which would be taken for a call that goes on; and one that cannot be read.

// leftovers are records to be removed, and from when on.
type leftovers struct {
	mu  sync.Mutex
	due map[string]time.Time // by call
}

// unreadableFor is how long a record that cannot be read is kept: for whoever
// puts the key back. Later than that, nobody could go on with the call.
const unreadableFor = longestIdle

// add notes a record that has to go.
func (l *leftovers) add(id string, from time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.due == nil {
		l.due = map[string]time.Time{}
	}
	l.due[id] = from
}

// at are those that are due.
func (l *leftovers) at(now time.Time) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, from := range l.due {
		if !now.Before(from) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (l *leftovers) done(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.due, id)
}

// tidy removes what is due, until ctx ends.
func (b *Bridge) tidy(ctx context.Context) {
	tick := time.NewTicker(tryAgain)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, id := range b.leftovers.at(b.cfg.Now()) {
			if !b.removeLeftover(ctx, id) {
				break // the store is away
			}
		}
	}
}

// removeLeftover tells false where it has to be tried again.
func (b *Bridge) removeLeftover(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := b.cfg.Store.Delete(ctx, store.Calls, id); err != nil && !errors.Is(err, store.ErrNotFound) {
		b.storeFailed(err)
		return false
	}
	b.leftovers.done(id)
	b.cfg.Logger.Info("the record of a call that does not go on is removed", "call", id)
	return true
}
