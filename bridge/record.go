package bridge

import (
	"encoding/json"
	"fmt"
	"time"
)

// RecordVersion is the version of CallRecord that this release writes. It
// reads every version up to this one.
const RecordVersion = 1

// CallRecord is what survives us: enough to take the call over after this
// process or this node is gone.
type CallRecord struct {
	Version  int        `json:"v"`
	ID       string     `json:"id"`
	Node     string     `json:"node"`  // who owns the call
	Epoch    uint64     `json:"epoch"` // fencing: grows with every change of owner
	State    State      `json:"state"`
	Created  time.Time  `json:"created"`
	Answered time.Time  `json:"answered,omitzero"`
	Ended    time.Time  `json:"ended,omitzero"`
	Served   time.Time  `json:"served,omitzero"`    // last write: its owner was alive then
	Passport string     `json:"passport,omitempty"` // sent to the called side
	Others   []string   `json:"others,omitempty"`   // further PASSporTs that were sent along
	Trace    Trace      `json:"trace,omitzero"`
	Facts    Facts      `json:"facts,omitzero"`       // of the calling side
	Answer   Facts      `json:"answerFacts,omitzero"` // of the called side
	A        LegRecord  `json:"a"`                    // the calling side
	B        *LegRecord `json:"b,omitempty"`          // the called side, once dialled
	Cause    *Cause     `json:"cause,omitempty"`
	Identity string     `json:"identity,omitempty"` // Summary.Identity
	Hops     int        `json:"hops,omitempty"`     // that a new leg may cross
	Moves    []Move     `json:"moves,omitempty"`    // transfers that took place
	Gave     Party      `json:"gave,omitempty"`     // whose leg is in another call by now

	// Given says that its owner let go of it before this was written: nothing was
	// sent after it.
	Given bool `json:"given,omitempty"`
	// Detours says that it sends on what is for the peers, too, for as long as they
	// have no other way.
	Detours bool `json:"detours,omitempty"`
	// Moving says that the call came from another node, and that its peers may not
	// have been told where it is by now.
	Moving bool `json:"moving,omitempty"`

	Transfer *TransferRecord `json:"transfer,omitempty"` // under way

	seen time.Time // when it came here, by this process's sense of time; zero = it was there before
}

// Encode is the record's form in the store.
func (r CallRecord) Encode() ([]byte, error) {
	r.Version = RecordVersion
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record of call %s: %w", r.ID, err)
	}
	return b, nil
}

// DecodeRecord reads a record. One written by a newer release is refused.
func DecodeRecord(b []byte) (CallRecord, error) {
	var r CallRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return CallRecord{}, fmt.Errorf("decode call record: %w", err)
	}
	if r.Version < 1 || r.Version > RecordVersion {
		return CallRecord{}, fmt.Errorf("call record %q has version %d, this release reads up to %d", r.ID, r.Version, RecordVersion)
	}
	return r, nil
}
