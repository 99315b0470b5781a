package policy

import (
	"testing"
)

func set(t *testing.T, allow []string, except ...string) NumberSet {
	t.Helper()
	s, err := ParseNumberSet(allow, except)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPatternWithin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		p, q Pattern
		want bool
	}{
		{"*", "*", true}, {"+1202*", "*", true}, {"*@a.example", "*", true},
		{"*", "+*", false}, {"*@a.example", "+*", false},
		{"+12025550123", "+12025550123", true}, {"+12025550123", "+12025550124", false},
		{"+12025550123", "+1202555xxxx", true}, {"+1202555012", "+1202555xxxx", false},
		{"+120255501xx", "+1202555xxxx", true}, {"+1202555xxxx", "+120255501xx", false}, {"+1202555xxx", "+1202555xxxx", false},
		{"+1202555xxxx", "+1202*", true}, {"+1202555xxxx", "+12025550*", false},
		{"+1202*", "+1*", true}, {"+1*", "+1202*", false}, {"+1202*", "+1202xxxxxxx", false},
		{"100@a.example", "*@a.example", true}, {"100@b.example", "*@a.example", false}, {"100@sub.a.example", "*@a.example", false},
		{"+1*", "*@a.example", false},
	} {
		if got := tc.p.Within(tc.q); got != tc.want {
			t.Errorf("%s within %s: %v", tc.p, tc.q, got)
		}
	}
}

func TestNumberSetWithin(t *testing.T) {
	t.Parallel()
	world := []string{"+*"}
	for _, tc := range []struct {
		s, o NumberSet
		want bool
	}{
		{set(t, []string{"+1202555xxxx"}), set(t, world), true},
		{set(t, world), set(t, world), true},
		{set(t, world), set(t, []string{"+1202555xxxx"}), false},
		{set(t, []string{"+12025550100", "+13035550100"}), set(t, []string{"+1202*"}), false},
		{set(t, []string{"+1900555xxxx"}), set(t, world, "+1900*"), false},
		{set(t, []string{"+1202555xxxx"}), set(t, world, "+1900*"), true},
		{set(t, world), set(t, world, "+1900*"), false},
		{set(t, world, "+1900*"), set(t, world, "+1900*"), true},
		{set(t, world, "+190*"), set(t, world, "+1900*"), true},
		{set(t, world, "+19005*"), set(t, world, "+1900*"), false},
		{set(t, []string{"+190055512xx"}), set(t, []string{"+*", "+1900555xxxx"}, "+1900*"), true},
		{set(t, []string{"+1202*"}), set(t, []string{"+1*"}, "+12025550123"), false},
		{set(t, []string{"+1202555xxxx"}), set(t, []string{"+1*"}, "+120255501"), true},
	} {
		if got := tc.s.Within(tc.o); got != tc.want {
			t.Errorf("%v within %v: %v", tc.s, tc.o, got)
		}
	}
}

// FuzzWithin: what is within is covered, for every number.
func FuzzWithin(f *testing.F) {
	f.Add("+1202555xxxx", "+1900*", "+1*", "+1202*", "+12025550123")
	f.Add("*", "*@a.example", "*", "100@a.example", "100@a.example")
	f.Fuzz(func(t *testing.T, allow, except, otherAllow, otherExcept, number string) {
		n, err := ParseNumber(number)
		if err != nil {
			return
		}
		parse := func(allow, except string) (NumberSet, error) {
			return ParseNumberSet([]string{allow}, []string{except})
		}
		s, err1 := parse(allow, except)
		o, err2 := parse(otherAllow, otherExcept)
		if err1 != nil || err2 != nil {
			return
		}
		if s.Within(o) && s.Covers(n) && !o.Covers(n) {
			t.Errorf("%v is within %v, and %s only in the first", s, o, n)
		}
	})
}
