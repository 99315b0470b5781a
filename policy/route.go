package policy

import "fmt"

// Trunk is a trunk as policy sees it. Both edges make one of each trunk in
// the configuration.
type Trunk struct {
	Name    string
	Calls   int       // at once, in both directions; 0 = as many as the box takes
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
	Via  string // trunk that gets the call
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
	Hops  int
	Route int // which of Policy.Routes

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
			return Decision{Trunk: route.Via, Hops: r.Hops - 1, Route: i, Attestation: trunk.attestation()}, nil
		}
	}
	return Decision{}, &Refusal{RuleRoute, fmt.Sprintf("no route from trunk %q to %q (add one to routes)", r.Trunk, r.To)}
}
