package bridge

import (
	"context"
	"encoding/json"
	"time"

	"riptide/policy"
	"riptide/policy/stir"
)

// A Leg is one side of a call. The bridge never asks which protocol it is.
//
// A leg is driven by one goroutine, the call's; its methods need not be safe
// for use by several at once, except Media and Info.
type Leg interface {
	Info() LegInfo

	// Events delivers what the peer does, in order. The channel is bounded; a
	// peer that fills it is refused by its edge. It is closed when the leg is
	// over, after an Ended event if the peer (or the network) ended it.
	Events() <-chan Event

	// Progress tells the caller of an incoming leg how far the call has come.
	Progress(ctx context.Context, p Progress) error

	// Answer accepts an incoming leg. It returns when the answer is on its way.
	Answer(ctx context.Context, a Answer) error

	// End ends the leg at whatever point it is: refuse, cancel or hang up. It
	// returns when the peer has been told, and may be called again.
	End(ctx context.Context, c Cause) error

	// Media is never nil, and the same for the life of the leg.
	Media() MediaPort

	// Record is enough to resume the leg here or elsewhere.
	Record() LegRecord
}

// An Adapter is a Leg whose media can be changed while the call runs: by a
// re-INVITE, or by new directives.
type Adapter interface {
	// Adapt asks the peer for one of o, best first. It does not wait for it:
	// what the peer makes of it comes as one MediaChanged event, with the plan
	// as it was if the peer would not have it. The error says why it could not
	// even be asked; no event follows then.
	Adapt(ctx context.Context, o MediaOffer) error
}

// An Abandoner is a Leg that can be let go of.
type Abandoner interface {
	// Abandon lets go of the leg without a word to its peer: another process has
	// it, or will have it soon. From its return on nothing is sent, signalling or
	// media; Events is closed soon after. It may be called again, and by others
	// than the call's goroutine.
	Abandon()
}

// A Yielder is a Leg that goes on at another node while this one lives.
type Yielder interface {
	Abandoner
	// Stays tells whether the leg is not to be let go of now: an exchange with the
	// peer is under way, of which it would not hear the end, or nobody else could
	// reach it.
	Stays() bool
	// Yield lets go of the leg as Abandon does, but hears on: what its peer still
	// sends goes to the sink that is joined, until Abandon. Frames that wait to be
	// sent to the peer go to back. The record is exact: nothing was sent after it.
	Yield(back Sink) LegRecord
}

// Dialer makes outgoing legs.
type Dialer interface {
	// Dial places the call and returns as soon as the peer has been asked; what
	// becomes of it comes as events of the leg. If ctx ends first, nothing of
	// the attempt remains at the peer. A refusal is a Cause in the error.
	Dial(ctx context.Context, in Intent) (Leg, error)
}

// Resumer continues legs whose process or node is gone.
type Resumer interface {
	// Resume makes the leg of its record again. It returns as soon as the leg
	// takes and sends media where it did before; what must be agreed with the
	// peer for that, if the call has moved, is done by then. A leg that cannot be
	// continued is an error with a Cause; nothing remains of it at the peer that
	// could be told.
	Resume(ctx context.Context, r Resumption) (Leg, error)
}

// Resumption is what a leg is continued from.
type Resumption struct {
	LegRecord // as the process that is gone wrote it

	Call  string // the bridge's id of the call
	Trace Trace
	State State         // of the call: what is not answered can only be ended (Leg.End)
	Moved bool          // another node had it: our addresses are not those of the record
	Idle  time.Duration // since the call was last known to be served, at most

	// Exact says that nothing was sent after the record was made.
	Exact bool

	// Hears, if not nil, is joined to the leg's media before anything can come.
	Hears Sink

	// Detour, if not nil, reaches the peer for a few seconds where it was reached
	// before: a leg whose peer has to come here first sends by it until then.
	Detour Sink
}

// Hear joins what hears a leg that is made again to its media.
func (r Resumption) Hear(m MediaPort) {
	if r.Hears != nil {
		m.Join(r.Hears)
	}
}

// A Signer signs for the caller where no PASSporT can be relayed.
type Signer interface {
	// Sign makes a PASSporT for a call over trunk. attestation is "A", "B" or
	// "C" (ATIS-1000074). An error carries a Cause.
	Sign(ctx context.Context, trunk string, from, to policy.Number, attestation string) (passport string, err error)
}

// Acceptor takes the legs that arrive at an edge. *Bridge is one; test peers
// and the demo's answerer are others.
type Acceptor interface {
	// Accept makes a call of an incoming leg. When it returns nil the call is
	// on record and the edge may acknowledge the request. An error carries the
	// Cause with which the edge refuses; the leg then is the edge's to end.
	Accept(ctx context.Context, leg Leg) error
}

// LegInfo is what is known about a leg from its start. It does not change.
type LegInfo struct {
	ID       string // the protocol's own id: SIP Call-ID, RIPT call URI
	Protocol string // "sip" or "ript": for logs and records, never for decisions
	Trunk    string // name in the configuration
	From, To policy.Number
	Identity Identity
	Media    MediaOffer // what the peer of an incoming leg can do
	Hops     int        // how many more bridges the call may cross
	Facts    Facts      // what else the peer's network says about the call
	Trace    Trace      // the zero value if the peer sent none

	// Instead is the leg of ours whose place an incoming one takes (RFC 3891);
	// nil for a call of its own.
	Instead Leg
}

// DefaultHops is what a call may cross when its first leg does not say.
const DefaultHops = 10

// Identity is the caller's identity as the edge verified it.
type Identity struct {
	Verdict  stir.Verdict // what verification found
	Passport string       // the PASSporT in full form (RFC 8225), "" if none came
	Others   []string     // further ones that hold, also in full form: of diversions, priority, names
	Name     string       // of the caller, if a PASSporT that holds says it (RFC 9795)
}

// Intent is what the bridge wants of a Dialer.
type Intent struct {
	Call     string // the bridge's id of the call, for logs and traces
	Trunk    string
	From, To policy.Number
	Passport string     // full form; empty only where the trunk needs none
	Others   []string   // further PASSporTs that came with the call and hold
	Media    MediaOffer // what to offer, best first
	Hops     int
	Facts    Facts // that the trunk may be told
	Trace    Trace // of the call; never the zero value

	// Of a transfer: who asked for it, and the call at the target whose place the
	// new one takes (Event.Replaces); "" where there is none.
	ReferredBy policy.Number
	Replaces   string
}

// Answer is what a caller is answered with.
type Answer struct {
	Media MediaPlan
	Facts Facts // what the called side's network says
}

// Progress is what a caller hears of before the answer.
type Progress struct {
	Alerting bool       // the called party is being rung
	Early    *MediaPlan // not nil: media flows already, on this plan
}

// EventKind says what happened on a leg.
type EventKind uint8

const (
	Proceeding   EventKind = iota + 1 // the peer is working on it (183, RIPT proceeding)
	Alerting                          // the called party rings (180, RIPT alerting)
	Answered                          // outgoing leg only
	MediaChanged                      // the peer changed codec, address or direction
	Transfer                          // the peer wants the other party connected to Event.Target
	Ended                             // always the last event
)

func (k EventKind) String() string {
	switch k {
	case Proceeding:
		return "proceeding"
	case Alerting:
		return "alerting"
	case Answered:
		return "answered"
	case MediaChanged:
		return "media-changed"
	case Transfer:
		return "transfer"
	case Ended:
		return "ended"
	}
	return "unknown"
}

// Event is one thing a leg's peer did.
type Event struct {
	Kind  EventKind
	At    time.Time
	Plan  *MediaPlan  // media agreed with the peer so far; set on Answered, MediaChanged, and when early media flows
	Cause Cause       // of Ended
	Held  bool        // of MediaChanged: the peer wants to hear nothing, and may send nothing
	Offer *MediaOffer // of MediaChanged: what the peer can do from now on, if that is known
	Facts *Facts      // of Answered: what the called side's network says; nil = nothing

	Target policy.Number // of Transfer
	// Instead, of Transfer, is another leg of ours of the peer who asks: the
	// party behind it is the target (an attended transfer). Where that call is
	// not ours, Replaces names it in the words of the edge, for Intent.Replaces.
	Instead  Leg
	Replaces string
	// Moving, of Transfer, if not nil, is told how far it is: Proceeding when it
	// is allowed, Alerting when the target rings.
	Moving func(EventKind)
	// Transferred, of Transfer, is told once whether it is done; nil means that
	// the other party is connected.
	Transferred func(error)

	// Stored, if not nil, is called once by the call when the change is on
	// record. Edges that owe the peer an acknowledgement (200 to a BYE) wait
	// for it, with a limit of their own, before they send it.
	Stored func()
}

// facts are those of an answer.
func (e Event) facts() Facts {
	if e.Facts == nil {
		return Facts{}
	}
	return *e.Facts
}

// LegRecord is the part of a CallRecord that one edge understands.
type LegRecord struct {
	Protocol string          `json:"protocol"`
	Trunk    string          `json:"trunk"`
	ID       string          `json:"id"`
	From     policy.Number   `json:"from"`
	To       policy.Number   `json:"to"`
	Incoming bool            `json:"incoming"`
	Plan     *MediaPlan      `json:"plan,omitempty"`
	State    json.RawMessage `json:"state,omitempty"` // the edge's own, versioned by a member "v"
	Seeks    bool            `json:"seeks,omitempty"` // the peer comes by itself when the call's node is gone

	// What the call knows of the leg besides its plan.
	Held bool        `json:"held,omitempty"` // the peer wants to hear nothing
	Can  *MediaOffer `json:"can,omitempty"`  // what it can send and receive, under the policy of its trunk
}
