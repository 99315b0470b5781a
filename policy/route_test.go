package policy

import (
	"errors"
	"testing"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	callers, err := ParseNumberSet([]string{"+1202555xxxx"}, []string{"+12025550000"})
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{
		Trunks: map[string]Trunk{"pbx": {Name: "pbx", Callers: callers}, "telco": {Name: "telco"}},
		Routes: []Route{
			{From: "pbx", To: "+1202555*", Via: "local"},
			{From: "pbx", To: "+*", Via: "telco"},
			{To: "+1202*", Via: "pbx"},
		},
	}
	const caller = Number("+12025550100")
	for _, tc := range []struct {
		name string
		req  Request
		via  string
		rule Rule
	}{
		{"first route wins", Request{"pbx", caller, "+12025550199", 5}, "local", ""},
		{"second route", Request{"pbx", caller, "+442079460000", 5}, "telco", ""},
		{"route from any trunk", Request{"telco", "+442079460000", "+12025550199", 5}, "pbx", ""},
		{"no route", Request{"telco", caller, "+442079460000", 5}, "", RuleRoute},
		{"no route to an address", Request{"pbx", caller, "100@pbx.example", 5}, "", RuleRoute},
		{"caller outside the block", Request{"pbx", "+12025560100", "+12025550199", 5}, "", RuleCaller},
		{"caller excepted", Request{"pbx", "+12025550000", "+12025550199", 5}, "", RuleCaller},
		{"caller unknown", Request{"pbx", "", "+12025550199", 5}, "", RuleCaller},
		{"last hop", Request{"pbx", caller, "+12025550199", 1}, "local", ""},
		{"no hop left", Request{"pbx", caller, "+12025550199", 0}, "", RuleHops},
		{"unknown trunk", Request{"nobody", caller, "+12025550199", 5}, "", RuleTrunk},
	} {
		d, err := p.Decide(tc.req)
		var refusal *Refusal
		if errors.As(err, &refusal) != (tc.rule != "") || (refusal != nil && refusal.Rule != tc.rule) {
			t.Errorf("%s: error %v, want rule %q", tc.name, err, tc.rule)
			continue
		}
		if d.Trunk != tc.via || (err == nil && d.Hops != tc.req.Hops-1) {
			t.Errorf("%s: %+v, want via %q", tc.name, d, tc.via)
		}
	}
}
