package policy

import (
	"slices"
	"strings"
)

// Within tells whether every number of s is surely one of o: a peer that is
// given o may claim s. It errs on the side of no where exceptions overlap in
// part.
func (s NumberSet) Within(o NumberSet) bool {
	for _, p := range s.Allow {
		if !slices.ContainsFunc(o.Allow, p.Within) {
			return false
		}
		for _, not := range o.Except {
			if !p.disjoint(not) && !o.overrules(not, p) && !s.repeats(not, p) {
				return false
			}
		}
	}
	return true
}

// overrules tells whether a longer permission makes an exception void for all
// of p.
func (s NumberSet) overrules(not, p Pattern) bool {
	return slices.ContainsFunc(s.Allow, func(q Pattern) bool { return p.Within(q) && q.exact() > not.exact() })
}

// repeats tells whether the set makes the exception too, as far as p goes.
func (s NumberSet) repeats(not, p Pattern) bool {
	return slices.ContainsFunc(s.Except, func(q Pattern) bool { return not.Within(q) && q.exact() >= p.exact() })
}

// exact is how many characters of a pattern are compared: what Match returns.
func (p Pattern) exact() int {
	head, open := p.split()
	switch {
	case p == "*":
		return 0
	case open == openEnd || open == openUser:
		return len(head)
	case open > 0:
		return len(head)
	}
	return len(head) + 1
}

// What a pattern leaves open besides a number of digits.
const (
	openEnd  = -1 // +1202*
	openUser = -2 // *@pbx.example
)

// split cuts a pattern into what is fixed and what is open: a number of digits,
// or one of the constants.
func (p Pattern) split() (head string, open int) {
	s := string(p)
	switch {
	case strings.HasPrefix(s, "*@"):
		return s[1:], openUser
	case strings.HasSuffix(s, "*"):
		return s[:len(s)-1], openEnd
	case strings.HasPrefix(s, "+"):
		head = strings.TrimRight(s, "x")
		return head, len(s) - len(head)
	}
	return s, 0
}

// Within tells whether every number that p selects is selected by q.
func (p Pattern) Within(q Pattern) bool {
	if q == "*" || p == q {
		return true
	}
	ph, po := p.split()
	qh, qo := q.split()
	switch {
	case p == "*":
		return false
	case qo == openUser:
		return po == 0 && !strings.HasPrefix(ph, "+") && strings.HasSuffix(ph, qh)
	case po == openUser:
		return false
	case qo == openEnd:
		return strings.HasPrefix(ph, qh)
	case po == openEnd:
		return false
	}
	// Blocks and single numbers: as long, and with more fixed.
	return len(ph)+po == len(qh)+qo && strings.HasPrefix(ph, qh)
}

// disjoint tells whether no number is selected by both.
func (p Pattern) disjoint(q Pattern) bool {
	if p.Within(q) || q.Within(p) || p == "*" || q == "*" {
		return false
	}
	ph, po := p.split()
	qh, qo := q.split()
	if po == openUser || qo == openUser {
		return true // another domain, or a public number
	}
	if !strings.HasPrefix(ph, qh) && !strings.HasPrefix(qh, ph) {
		return true
	}
	// One begins as the other does: they share numbers unless their lengths differ.
	return po != openEnd && qo != openEnd && len(ph)+po != len(qh)+qo
}
