// Package replica brings what one node writes about its calls to the others at
// once, also while the store elects a leader and takes no writes: a call that is
// taken over then is continued as it was, not as it last was on record.
//
//	owner: Update --> bus ------------> Watch of every node
//	          \                           ^
//	           `----> store (seconds) ----'
//
// It stands before the store of a cluster and knows values as they are stored,
// sealed ones. Whoever watches keeps what comes: that is the replica in memory.
package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"riptide/bridge/store"
)

// Bus carries messages between nodes; see cluster.Bus.
type Bus interface {
	Publish(subject string, data []byte) error
	Subscribe(subject string, each func(data []byte)) (stop func(), err error)
}

// New stands before next, which other nodes write too. Closing it closes next.
func New(next store.Store, bus Bus, log *slog.Logger) store.Store {
	r := &replica{Store: next, bus: bus, log: log, origin: rand.Uint64()}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

type replica struct {
	store.Store
	bus Bus
	log *slog.Logger

	origin uint64 // tells our own snapshots, which we need not hear

	// life ends with Close; closing guards the count of what it waits for.
	life    context.Context
	end     context.CancelFunc
	closing sync.RWMutex
	watches sync.WaitGroup
}

// announced are the buckets whose writes others must know at once.
func announced(b store.Bucket) bool { return b == store.Calls }

func subject(b store.Bucket) string { return "riptide.store." + string(b) }

// announce sends a value that is about to be written over the given revision. It
// may be lost: the store has it soon.
func (r *replica) announce(b store.Bucket, key string, value []byte, revision uint64) {
	if !announced(b) || store.CheckValue(b, key, value) != nil {
		return
	}
	if err := r.bus.Publish(subject(b), snapshot{r.origin, key, value, revision}.append(nil)); err != nil {
		r.log.Debug("a change of a record reaches other nodes with its write only", "key", key, "error", err)
	}
}

// Create is of store.Store.
func (r *replica) Create(ctx context.Context, b store.Bucket, key string, value []byte, ttl time.Duration) (uint64, error) {
	r.announce(b, key, value, 0)
	return r.Store.Create(ctx, b, key, value, ttl)
}

// Update is of store.Store.
func (r *replica) Update(ctx context.Context, b store.Bucket, key string, value []byte, revision uint64) (uint64, error) {
	r.announce(b, key, value, revision)
	return r.Store.Update(ctx, b, key, value, revision)
}

// Close is of store.Store.
func (r *replica) Close() error {
	r.closing.Lock()
	r.end()
	r.closing.Unlock()
	err := r.Store.Close()
	r.watches.Wait()
	return err
}

// Watch is of store.Store. Beside what is stored it sends what other nodes are
// about to store: such an entry has the revision that it replaces, 0 if it is the first, so that
// an Update at it is right for as long as the write has not arrived. An entry
// that came by both ways is sent twice.
func (r *replica) Watch(ctx context.Context, b store.Bucket) (<-chan store.Entry, error) {
	if !announced(b) {
		return r.Store.Watch(ctx, b)
	}
	r.closing.RLock()
	defer r.closing.RUnlock()
	early := make(chan store.Entry, 4096) // what a reader does not take in time comes from the store
	stop, err := r.bus.Subscribe(subject(b), func(data []byte) {
		s, err := parse(data)
		if err != nil || s.origin == r.origin || store.CheckValue(b, s.key, s.value) != nil {
			return // nobody of ours sends it
		}
		select {
		case early <- store.Entry{Key: s.key, Value: s.value, Revision: s.revision}:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", b, err)
	}
	watching, end := context.WithCancel(ctx)
	unlink := context.AfterFunc(r.life, end)
	stored, err := r.Store.Watch(watching, b)
	if err != nil {
		unlink()
		end()
		stop()
		return nil, err
	}
	out := make(chan store.Entry)
	r.watches.Go(func() {
		defer close(out)
		merge(watching, stored, early, out)
		unlink()
		end()
		stop()
		for range stored { // until it is closed
		}
	})
	return out, nil
}

// merge passes on what is newer than what was passed on before, until what is
// stored ends, or ctx.
func merge(ctx context.Context, stored, early <-chan store.Entry, out chan<- store.Entry) {
	latest := map[string]uint64{} // the stored revision of each key
	for {
		var e store.Entry
		var ok bool
		select {
		case e, ok = <-stored:
			if !ok {
				return
			}
			if latest[e.Key] = e.Revision; e.Deleted {
				delete(latest, e.Key)
			}
		case e = <-early:
			if e.Revision != latest[e.Key] {
				continue // the write was faster, or another's was
			}
		case <-ctx.Done():
			return
		}
		select {
		case out <- e:
		case <-ctx.Done():
			return
		}
	}
}

// snapshot is a value on its way.
//
//	origin (8) | revision (8) | length of the key (2) | key | value
type snapshot struct {
	origin   uint64
	key      string
	value    []byte
	revision uint64
}

func (s snapshot) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, s.origin)
	b = binary.BigEndian.AppendUint64(b, s.revision)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.key)))
	return append(append(b, s.key...), s.value...)
}

const headLen = 8 + 8 + 2

var errShort = errors.New("snapshot is cut off")

func parse(b []byte) (snapshot, error) {
	if len(b) < headLen {
		return snapshot{}, errShort
	}
	s := snapshot{origin: binary.BigEndian.Uint64(b), revision: binary.BigEndian.Uint64(b[8:])}
	n := int(binary.BigEndian.Uint16(b[16:]))
	if b = b[headLen:]; len(b) < n {
		return snapshot{}, errShort
	}
	s.key, s.value = string(b[:n]), append([]byte{}, b[n:]...)
	return s, nil
}
