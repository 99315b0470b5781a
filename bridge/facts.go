package bridge

import (
	"strings"

	"riptide/policy"
)

// Facts are what providers tell each other about a call besides who calls whom
// (docs/spec/baseline.md, "Facts"). Each edge translates to and from its own
// words; what it does not know it does not pass on. The zero value says nothing.
type Facts struct {
	Routing    *Routing      `json:"routing,omitempty"`    // number portability: RFC 4694
	Carrier    string        `json:"carrier,omitempty"`    // cic, with its country code: "+1-0288" (RFC 4694)
	TrunkGroup *TrunkGroup   `json:"trunkGroup,omitempty"` // the originating one: tgrp, trunk-context (RFC 4904), otg
	Category   string        `json:"category,omitempty"`   // cpc: "ordinary", "payphone", "priority" … (ITU-T Q.763)
	Line       string        `json:"line,omitempty"`       // oli: originating line information, two digits
	Diversions []Diversion   `json:"diversions,omitempty"` // the latest first (RFC 5806, RFC 7044)
	Priority   []string      `json:"priority,omitempty"`   // "namespace.value" (RFC 4412)
	Location   *Location     `json:"location,omitempty"`   // for emergency calls (RFC 6442)
	Languages  []string      `json:"languages,omitempty"`  // BCP 47, best first
	CallerName string        `json:"callerName,omitempty"` // display name, or CNAM
	Privacy    []string      `json:"privacy,omitempty"`    // "id", "user", "header", "session", "critical" (RFC 3323)
	Charging   *Charging     `json:"charging,omitempty"`   // P-Charging-Vector (RFC 7315)
	Connected  policy.Number `json:"connected,omitempty"`  // of an answer: who answered (RFC 3325)
	Session    string        `json:"session,omitempty"`    // of an answer: the far end's half of Session-ID (RFC 7989), 32 hex digits

	// Carried are header fields of SIP that a trunk's configuration lists by
	// name: nothing else that we do not know crosses.
	Carried map[string][]string `json:"carried,omitempty"`
}

// Routing is what a number portability query found.
type Routing struct {
	Number policy.Number `json:"number,omitempty"` // rn
	Dipped bool          `json:"dipped,omitempty"` // npdi: the query was made, do not make it again
}

// TrunkGroup names a group of circuits, and whose name that is.
type TrunkGroup struct {
	Name    string `json:"name"`
	Context string `json:"context,omitempty"`
}

// Diversion is one who was called before and sent the call on.
type Diversion struct {
	Number  policy.Number `json:"number"`
	Reason  string        `json:"reason,omitempty"` // RFC 5806: "no-answer", "user-busy", "unconditional" …
	Counter int           `json:"counter,omitempty"`
	Privacy bool          `json:"privacy,omitempty"` // not to be shown
}

// Location is where the caller is.
type Location struct {
	URI     string `json:"uri,omitempty"`     // where to ask (RFC 6442, by reference)
	PIDF    string `json:"pidf,omitempty"`    // PIDF-LO document (RFC 4119, by value)
	Routing bool   `json:"routing,omitempty"` // may be used to route the call (Geolocation-Routing)
}

// Charging correlates the books of two providers.
type Charging struct {
	ID          string `json:"id"`                    // icid-value
	Originating string `json:"originating,omitempty"` // orig-ioi
	Terminating string `json:"terminating,omitempty"` // term-ioi
}

// Fact names one member of Facts, as JSON does.
type Fact string

// The facts that a trunk's configuration can name. Privacy, Session and Carried
// are not among those that FactPolicy drops by name: see there.
const (
	FactRouting    Fact = "routing"
	FactCarrier    Fact = "carrier"
	FactTrunkGroup Fact = "trunkGroup"
	FactCategory   Fact = "category"
	FactLine       Fact = "line"
	FactDiversions Fact = "diversions"
	FactPriority   Fact = "priority"
	FactLocation   Fact = "location"
	FactLanguages  Fact = "languages"
	FactCallerName Fact = "callerName"
	FactPrivacy    Fact = "privacy"
	FactCharging   Fact = "charging"
	FactConnected  Fact = "connected"
)

// DefaultFacts are those that harm nobody if they are wrong: they name people,
// and do not route, bill or rank a call.
func DefaultFacts() []Fact {
	return []Fact{FactDiversions, FactLocation, FactLanguages, FactCallerName, FactPrivacy, FactConnected}
}

// FactPolicy is which facts a trunk's peer is believed, and told. The zero
// value is none of either.
//
// A caller's wish for privacy is always taken, whoever brings it; that a peer is
// told of it (FactPrivacy in Send) says that the peer is trusted to keep it
// (RFC 3325 section 7). The half of a session id has no say in anything and
// always crosses.
type FactPolicy struct {
	Accept []Fact
	Send   []Fact
	Carry  []string // names of SIP header fields, in both directions
}

// Accepted is what is believed of a peer's facts.
func (p FactPolicy) Accepted(f Facts) Facts {
	return f.only(append([]Fact{FactPrivacy}, p.Accept...), p.Carry)
}

// Sendable is what a peer is told of a call's facts.
func (p FactPolicy) Sendable(f Facts) Facts { return f.only(p.Send, p.Carry) }

// Trusts tells whether the peer may know the number of a caller who wants
// privacy.
func (p FactPolicy) Trusts() bool {
	for _, f := range p.Send {
		if f == FactPrivacy {
			return true
		}
	}
	return false
}

// Anonymous tells whether the caller's number must not be shown to the called
// party (RFC 3323 section 4.2, RFC 3325 section 9.3).
func (f Facts) Anonymous() bool {
	for _, p := range f.Privacy {
		switch strings.ToLower(p) { // priv-values are tokens: RFC 3261 section 7.3.1
		case "id", "user", "header":
			return true
		}
	}
	return false
}
