package bridge

import (
	"bytes"
	"encoding/json"

	"riptide/bridge/store"
)

// The record of a call goes straight to the node that the call is given to, beside
// the store: there it would be read only when it has been written, and been seen
// by a watch, and nobody hears anything of the call meanwhile.
//
//	version (1) | length of the call (1) | call | record
const (
	givenVersion = 3 // of relayed frames it is relayVersion, of errands errandVersion
	givenHead    = 2
)

func appendGiven(b []byte, call string, value []byte) []byte {
	b = append(b, givenVersion, byte(len(call)))
	return append(append(b, call...), value...)
}

// parseGiven reads one; it keeps parts of b.
func parseGiven(b []byte) (call string, value []byte, ok bool) {
	if len(b) < givenHead || b[0] != givenVersion || b[1] == 0 || len(b) < givenHead+int(b[1]) || len(b) > givenHead+int(b[1])+store.MaxValue {
		return "", nil, false
	}
	b, n := b[givenHead:], int(b[1])
	return string(b[:n]), b[n:], true
}

// given takes the last record of a call from its giver. The store has it later, and
// may have older ones still to come.
func (l *ledger) given(id string, value []byte) {
	var o outline
	if l == nil || json.Unmarshal(value, &o) != nil {
		return // what its giver has on record will do
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &entry{outline: o, value: bytes.Clone(value), given: true}
	if had := l.calls[id]; had != nil {
		if had.ours && had.Epoch == o.Epoch || had.Epoch > o.Epoch || bytes.Equal(had.value, value) {
			return
		}
		e.rev = had.rev
	}
	if _, over := l.over[id]; !over {
		l.set(id, e)
	}
}

// awaitsGiven tells whether an entry of the watch is older than what was given.
func (e *entry) awaitsGiven(o outline) bool {
	return e != nil && e.given && o.Node == e.Node && o.Epoch == e.Epoch
}
