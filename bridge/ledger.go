package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"riptide/bridge/store"
)

// ledger is what all nodes of a cluster have on record, in memory: so a call is
// found by the id of one of its legs, and taken over also while the store elects
// a leader. The store's watch feeds it.
type ledger struct {
	log      *slog.Logger
	caughtUp chan struct{} // closed when it has seen all that was there at the start

	mu      sync.Mutex
	calls   map[string]*entry
	legs    map[string]string    // id of a leg -> id of its call
	over    map[string]tombstone // calls of ours that have ended
	awaited map[string]struct{}  // what caughtUp waits for
	omitted bool                 // a record was left out: the ledger is full
	changed chan struct{}        // closed with the next change of a record; nil: nobody waits
}

// maxRecords bounds the ledger: the calls of sixteen nodes at their usual limit.
const maxRecords = 32 << 10

// entry is one record.
type entry struct {
	outline
	value []byte
	rev   uint64    // of the store; of a record about to be written, that which it replaces
	ours  bool      // it is about to be written by us: what the store has of rev is older
	given bool      // by its giver: what the store has of its epoch is as old or older
	wait  time.Time // until when nobody tries to take the call over again
	seen  time.Time // when its owner was first heard to have served it then; zero = before we were there
}

// outline is what of a record says whose the call is.
type outline struct {
	Version int        `json:"v"`
	Node    string     `json:"node"`
	Epoch   uint64     `json:"epoch"`
	State   State      `json:"state"`
	Served  time.Time  `json:"served"`
	A       legOutline `json:"a"`
	B       legOutline `json:"b"`
}

type legOutline struct {
	ID    string `json:"id"`
	Trunk string `json:"trunk"`
	Seeks bool   `json:"seeks"`
}

func (o *outline) legIDs() [2]string { return [2]string{o.A.ID, o.B.ID} }

// tombstone keeps a call that has ended here from being taken for one that its
// process left.
type tombstone struct {
	at      time.Time
	epoch   uint64 // under which it ended
	removed bool   // from the store
}

// tombFor is how long the removal of a record may take to be seen.
const tombFor = time.Minute

func newLedger(log *slog.Logger) *ledger {
	return &ledger{
		log: log, caughtUp: make(chan struct{}), awaited: map[string]struct{}{},
		calls: map[string]*entry{}, legs: map[string]string{}, over: map[string]tombstone{},
	}
}

// follow keeps the ledger up to date until ctx ends.
func (l *ledger) follow(ctx context.Context, st store.Store) {
	for ctx.Err() == nil {
		if err := l.watch(ctx, st); err != nil && ctx.Err() == nil {
			l.log.Warn("the calls of other nodes are not known; trying again", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

func (l *ledger) watch(ctx context.Context, st store.Store) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	entries, err := st.Watch(ctx, store.Calls)
	if err != nil {
		return fmt.Errorf("watch the records of calls: %w", err)
	}
	keys, err := st.Keys(ctx, store.Calls)
	if err != nil {
		return fmt.Errorf("read which calls there are: %w", err)
	}
	l.begin(keys)
	for e := range entries {
		l.saw(e)
	}
	return fmt.Errorf("watch the records of calls: %w", store.ErrClosed)
}

// begin notes what there is, and forgets what is not there any more.
func (l *ledger) begin(keys []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		there[key] = struct{}{}
	}
	for id, e := range l.calls {
		if _, ok := there[id]; !ok && !e.ours {
			l.drop(id)
		}
	}
	l.awaited = there
	l.check()
}

// check closes caughtUp when nothing is awaited.
func (l *ledger) check() {
	if len(l.awaited) > 0 {
		return
	}
	select {
	case <-l.caughtUp:
	default:
		close(l.caughtUp)
	}
}

// saw takes an entry of the watch.
func (l *ledger) saw(e store.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.awaited, e.Key)
	defer l.check()
	if e.Deleted {
		l.drop(e.Key)
		delete(l.over, e.Key)
		return
	}
	if _, over := l.over[e.Key]; over {
		return
	}
	had := l.calls[e.Key]
	if had != nil && (e.Revision < had.rev || had.ours && e.Revision == had.rev) {
		return
	}
	if had != nil && bytes.Equal(had.value, e.Value) {
		had.rev, had.ours, had.given = e.Revision, false, false
		return
	}
	var o outline
	err := e.Err
	if err == nil {
		err = json.Unmarshal(e.Value, &o)
	}
	switch {
	case err != nil:
		l.log.Warn("a record of a call cannot be read", "key", e.Key, "error", err)
	case had != nil && o.Epoch < had.Epoch:
		had.rev = e.Revision // of one who does not know yet that the call is another's
	case had.awaitsGiven(o):
		had.rev = e.Revision
	default:
		l.set(e.Key, &entry{outline: o, value: e.Value, rev: e.Revision})
	}
}

// writes notes a record of ours that is about to be written over a revision.
func (l *ledger) writes(rec *CallRecord, value []byte, rev uint64) {
	if l == nil {
		return
	}
	o := outline{Version: rec.Version, Node: rec.Node, Epoch: rec.Epoch, State: rec.State, Served: rec.Served}
	o.A = legOutline{rec.A.ID, rec.A.Trunk, rec.A.Seeks}
	if rec.B != nil {
		o.B = legOutline{rec.B.ID, rec.B.Trunk, rec.B.Seeks}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if had := l.calls[rec.ID]; had == nil || had.Epoch <= o.Epoch {
		l.set(rec.ID, &entry{outline: o, value: value, rev: rev, ours: true})
	}
}

// set puts a record into its place. The caller holds mu.
func (l *ledger) set(id string, e *entry) {
	if l.calls[id] == nil && len(l.calls) >= maxRecords {
		if !l.omitted {
			l.log.Error("there are more records of calls than this node can keep: some calls could not be taken over by it", "limit", maxRecords)
		}
		l.omitted = true
		return
	}
	if had := l.calls[id]; had != nil && had.Node == e.Node && had.Epoch == e.Epoch {
		e.wait = had.wait
	}
	e.seen = l.seenAt(l.calls[id], e)
	l.drop(id)
	l.calls[id] = e
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
	for _, leg := range e.legIDs() {
		// A leg that was given away is in the record of the call that has ended, too.
		if _, has := l.legs[leg]; leg != "" && (!has || e.State != StateEnded) {
			l.legs[leg] = id
		}
	}
}

// seenAt is since when we know that the owner of a record was alive, if it was when
// we were: who claims a call leaves what the record says of that as it is.
func (l *ledger) seenAt(had, e *entry) time.Time {
	select {
	case <-l.caughtUp:
	default:
		return time.Time{} // what was there at the start
	}
	if had != nil && had.Served.Equal(e.Served) {
		return had.seen
	}
	return time.Now()
}

// drop forgets a record. The caller holds mu.
func (l *ledger) drop(id string) {
	e := l.calls[id]
	if e == nil {
		return
	}
	delete(l.calls, id)
	for _, leg := range e.legIDs() {
		if l.legs[leg] == id {
			delete(l.legs, leg)
		}
	}
}

// callOf finds the call of a leg. The error says that nobody can know.
func (l *ledger) callOf(leg string) (id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id = l.legs[leg]
	if id == "" && l.omitted {
		return "", fmt.Errorf("look for leg %s: not all records of calls are kept here", leg)
	}
	return id, nil
}

// get is the record of a call; errFenced says that there is none.
func (l *ledger) get(id string) (CallRecord, uint64, error) {
	l.mu.Lock()
	e := l.calls[id]
	if e == nil {
		l.mu.Unlock()
		return CallRecord{}, 0, errFenced
	}
	value, rev, seen, taken := e.value, e.rev, e.seen, map[string]int{}
	for _, leg := range e.legIDs() {
		if other := l.legs[leg]; other != id && l.calls[other] != nil {
			taken[leg] = 1
		}
	}
	l.mu.Unlock()
	rec, err := DecodeRecord(value)
	if err == nil {
		rec.dropGiven(taken)
		rec.seen = seen
	}
	return rec, rev, err
}

// trunksOf are those of a call's legs, as far as they are known.
func (l *ledger) trunksOf(id string) (trunks [2]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.calls[id]; e != nil {
		trunks = [2]string{e.A.Trunk, e.B.Trunk}
	}
	return trunks
}

// isOf tells whether a call is on record as a node's.
func (l *ledger) isOf(id, node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.calls[id]
	return e != nil && e.Node == node
}

// await waits until the record of a call is one that is wanted, or ctx ends.
func (l *ledger) await(ctx context.Context, id string, wanted func(*entry) bool) {
	for {
		l.mu.Lock()
		if e := l.calls[id]; e != nil && wanted(e) {
			l.mu.Unlock()
			return
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// epochOf is that of a record; 0 if there is none.
func (l *ledger) epochOf(id string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.calls[id]; e != nil {
		return e.Epoch
	}
	return 0
}

// each calls f for every call.
func (l *ledger) each(f func(id string, e *entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.calls {
		f(id, e)
	}
}

// failed notes that a call could not be taken over now.
func (l *ledger) failed(id string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.calls[id]; e != nil {
		e.wait = until
	}
}

// bury notes that a call has ended here, and whether its record is gone.
func (l *ledger) bury(id string, epoch uint64, removed bool, now time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, began := l.over[id]
	if removed && !began {
		return // that is seen already
	}
	l.over[id] = tombstone{now, epoch, removed}
	l.drop(id)
}

// exhume notes that a call which ended here is another node's by now.
func (l *ledger) exhume(e store.Entry) {
	l.mu.Lock()
	delete(l.over, e.Key)
	l.mu.Unlock()
	l.saw(e)
}

// unburied are the calls whose records remain, though they have ended, and under
// which epoch they have. What is gone for long enough it forgets.
func (l *ledger) unburied(now time.Time) map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := map[string]uint64{}
	for id, t := range l.over {
		switch old := now.Sub(t.at) > tombFor; {
		case t.removed && old:
			delete(l.over, id)
		case !t.removed && now.Sub(t.at) > 2*storeTimeout:
			ids[id] = t.epoch
		}
	}
	return ids
}
