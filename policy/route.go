package policy

import (
	"errors"
	"fmt"
	"strconv"
)

// Trunk is a trunk as policy sees it. Both edges make one of each trunk in
// the configuration.
type Trunk struct {
	Name    string
	Calls   int       // at once, in both directions; 0 = as many as the box takes
	Rate    float64   // calls a second, in both directions; 0 = no limit
	Callers NumberSet // calling numbers a call from this trunk may show; empty = any

	Transfer bool // parties on this trunk may have the other party connected elsewhere
}

func (t Trunk) attestation() string {
	if t.Callers.Empty() {
		return "B"
	}
	return "A"
}

// Route sends calls that came from one trunk, for numbers of a pattern, to
// another trunk. Routes are tried in the order of the configuration.
type Route struct {
	From string // trunk the call came from; "" = any
	To   Pattern
	Via  string   // trunk that gets the call
	Next []string // trunks that get it if the one before does not take it

	Reroute Reroute
}

// Reroute says when a call that a trunk did not take goes on to the next one of
// its route.
type Reroute struct {
	On         []Status // empty = DefaultReroute
	AfterMedia bool     // also when the caller has heard something already
}

// Status is a SIP status ("503") or a class of them ("5xx").
type Status string

// DefaultReroute are the answers that say more of the trunk than of the number:
// time-outs and what a server could not do.
var DefaultReroute = []Status{"408", "500", "502", "503", "504"}

// ErrStatus is wrapped by errors of Status.UnmarshalText.
var ErrStatus = errors.New("not a SIP status that refuses a call")

// UnmarshalText reads "503" or "5xx".
func (s *Status) UnmarshalText(b []byte) error {
	if len(b) != 3 || b[0] < '3' || b[0] > '6' || !(b[1] == 'x' && b[2] == 'x' || digit(b[1]) && digit(b[2])) {
		return ErrStatus
	}
	*s = Status(b)
	return nil
}

// MarshalText is the text.
func (s Status) MarshalText() ([]byte, error) { return []byte(s), nil }

func digit(c byte) bool { return c >= '0' && c <= '9' }

// Wants tells whether a refusal with this status sends the call on.
func (r Reroute) Wants(status int) bool {
	on := r.On
	if len(on) == 0 {
		on = DefaultReroute
	}
	text := strconv.Itoa(status)
	for _, s := range on {
		if string(s) == text || len(s) == 3 && s[1] == 'x' && s[0] == text[0] {
			return true
		}
	}
	return false
}

// Policy is the whole of it: what is true for every call. It is immutable; a
// reload makes another.
type Policy struct {
	Trunks map[string]Trunk
	Routes []Route
}

// Request is a call as policy sees it.
type Request struct {
	Trunk    string
	From, To Number
	Hops     int // how many more bridges it may cross
}

// Decision is where a permitted call goes.
type Decision struct {
	Trunk string
	Next  []string // trunks to try after it, as Reroute says

	Reroute Reroute
	Hops    int
	Route   int // which of Policy.Routes

	// Attestation is what we can say of the caller when we sign for it: "A"
	// where the configuration lists the numbers its trunk may show, "B" where
	// we only know the trunk (ATIS-1000074 section 5.2.3).
	Attestation string
}

// Refusal says why a call may not happen. Rule is the word a cause is made of.
type Refusal struct {
	Rule Rule
	Text string
}

// Rule names what forbade a call.
type Rule string

// The rules.
const (
	RuleTrunk  Rule = "forbidden"        // the trunk is unknown
	RuleCaller Rule = "caller-forbidden" // the trunk may not show this number
	RuleHops   Rule = "too-many-hops"    // crossed too many bridges
	RuleRoute  Rule = "no-route"         // no route for this number
)

func (r *Refusal) Error() string { return string(r.Rule) + ": " + r.Text }

// Decide routes one call. The error, if any, is a *Refusal whose text names the
// trunk, the number and the configuration key that mends it.
func (p *Policy) Decide(r Request) (Decision, error) {
	trunk, ok := p.Trunks[r.Trunk]
	if !ok {
		return Decision{}, &Refusal{RuleTrunk, fmt.Sprintf("no trunk %q is configured", r.Trunk)}
	}
	if !trunk.Callers.Empty() && !trunk.Callers.Covers(r.From) {
		return Decision{}, &Refusal{RuleCaller, fmt.Sprintf("trunk %q may not place calls from %q (trunks.%s: callers)", r.Trunk, r.From, r.Trunk)}
	}
	if r.Hops <= 0 {
		return Decision{}, &Refusal{RuleHops, fmt.Sprintf("call from trunk %q to %q crossed too many bridges: routes probably form a ring", r.Trunk, r.To)}
	}
	for i, route := range p.Routes {
		if route.From != "" && route.From != r.Trunk {
			continue
		}
		if _, ok := route.To.Match(r.To); ok {
			return Decision{Trunk: route.Via, Next: route.Next, Reroute: route.Reroute, Hops: r.Hops - 1, Route: i, Attestation: trunk.attestation()}, nil
		}
	}
	return Decision{}, &Refusal{RuleRoute, fmt.Sprintf("no route from trunk %q to %q (add one to routes)", r.Trunk, r.To)}
}
