package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Subjects of the bus. Every node hears them all.
const (
	subjectBeat  = "riptide.cluster.beat"
	subjectClaim = "riptide.cluster.claim" // claims, grants, withdrawals, what is held
)

// Limits of what another node may send.
const (
	maxMessage = 64 << 10
	maxNodes   = 16
	maxName    = 256
	maxHeld    = 128 // calls in one message
)

// beat is sent by every node five times a second.
type beat struct {
	Node  string          `json:"n"`
	Term  uint64          `json:"t"`
	Sent  int64           `json:"s"` // nanoseconds by the sender's own clock, from its start
	Heard map[string]echo `json:"h,omitempty"`
	// Latest are the highest terms that the sender heard of, also those that it
	// confirms no more.
	Latest  map[string]uint64 `json:"l,omitempty"`
	Keys    []string          `json:"k,omitempty"`   // ids of those that the sender seals and opens with
	Goodbye bool              `json:"bye,omitempty"` // the last one: this process touches no call any more
	Retires bool              `json:"r,omitempty"`   // it is to go, and wants no more calls
}

// echo confirms the last beat that was heard of a node.
type echo struct {
	Term uint64 `json:"t"`
	Sent int64  `json:"s"`
}

// kind tells what a message about a claim is.
type kind string

const (
	kindClaim    kind = "claim"    // may I?
	kindVerdict  kind = "verdict"  // the answer of one node
	kindWithdraw kind = "withdraw" // I did not get it
	kindHeld     kind = "held"     // I have got these
	kindAsk      kind = "ask"      // will you give it to me?
	kindGiven    kind = "given"    // I touch it no more; it is for you
	kindKept     kind = "kept"     // no
)

// claim is that a node wants a call, which Owner had.
type claim struct {
	Call     string `json:"c"`
	Epoch    uint64 `json:"e"`
	Owner    string `json:"o,omitempty"`
	Claimant string `json:"n"`
	Term     uint64 `json:"t"`          // of the claimant; of kindGiven, of the owner
	Given    word   `json:"g,omitzero"` // of the owner, that it touches the call no more
}

// message is what goes over subjectClaim.
type message struct {
	Kind    kind    `json:"k"`
	From    string  `json:"f"`
	Attempt uint64  `json:"a,omitempty"` // of a claim, and of the verdicts on it
	Claims  []claim `json:"c"`           // one, or those of kindHeld
	Verdict verdict `json:"v,omitzero"`
	Note    string  `json:"i,omitempty"` // of kindGiven
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cluster: encode %T: %v", v, err)) // strings and numbers only
	}
	return b
}

func decodeBeat(data []byte) (beat, error) {
	var b beat
	if len(data) > maxMessage {
		return b, fmt.Errorf("beat of %d bytes", len(data))
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, fmt.Errorf("decode beat: %w", err)
	}
	if !isName(b.Node) || len(b.Heard) > maxNodes || len(b.Latest) > maxNodes {
		return b, fmt.Errorf("beat of %.64q with %d echoes", b.Node, len(b.Heard))
	}
	if len(b.Keys) > maxKeys || slices.ContainsFunc(b.Keys, func(id string) bool { return len(id) > maxKeyID }) {
		return b, fmt.Errorf("beat of %.64q with %d keys", b.Node, len(b.Keys))
	}
	return b, nil
}

func decodeMessage(data []byte) (message, error) {
	var m message
	if len(data) > maxMessage {
		return m, fmt.Errorf("message of %d bytes", len(data))
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("decode message about a claim: %w", err)
	}
	switch m.Kind {
	case kindClaim, kindVerdict, kindWithdraw, kindAsk, kindGiven, kindKept:
		if len(m.Claims) != 1 {
			return m, fmt.Errorf("%s with %d calls", m.Kind, len(m.Claims))
		}
	case kindHeld:
		if len(m.Claims) > maxHeld {
			return m, fmt.Errorf("%d calls in one message", len(m.Claims))
		}
	default:
		return m, fmt.Errorf("message of the unknown kind %.16q", m.Kind)
	}
	if !isName(m.From) || len(m.Note) > maxName {
		return m, fmt.Errorf("message from %.64q with a note of %d bytes", m.From, len(m.Note))
	}
	for _, c := range m.Claims {
		if !isName(c.Call) || !isName(c.Claimant) || len(c.Owner) > maxName || c.Epoch == 0 {
			return m, fmt.Errorf("%s for call %.64q at epoch %d by %.64q", m.Kind, c.Call, c.Epoch, c.Claimant)
		}
	}
	return m, nil
}

func isName(s string) bool { return len(s) > 0 && len(s) <= maxName }
