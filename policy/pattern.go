package policy

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Pattern selects numbers. Four forms, by how specific they are:
//
//	+12025550123     one number
//	+1202555xxxx     a block: each x stands for one digit, only at the end
//	+1202*           every number with this prefix
//	*@pbx.example    every address of a domain
//	*                everything
//
// The prefix form is the one RIPT's TG documents use in `destinations`.
type Pattern string

// ParsePattern checks the syntax of a pattern.
func ParsePattern(s string) (Pattern, error) {
	switch {
	case s == "*":
		return "*", nil
	case strings.Contains(s, "@"):
		n, err := ParseNumber(s)
		return Pattern(n), err
	case strings.HasPrefix(s, "+"):
		return parseDigits(stripSeparators(s[1:]))
	}
	return "", fmt.Errorf("%w pattern: %q, want +12025550123, +1202555xxxx, +1202*, *@domain or *", ErrNumber, clip(s))
}

// parseDigits reads what follows the plus: digits, then x's or one star.
func parseDigits(s string) (Pattern, error) {
	head, prefix := strings.CutSuffix(s, "*")
	if !prefix {
		head = strings.TrimRight(s, "x")
	}
	if len(s) > maxDigits+1 || !allDigits(head) || (head == "" && !prefix) {
		return "", fmt.Errorf("%w pattern: %q", ErrNumber, clip("+"+s))
	}
	return Pattern("+" + s), nil
}

// Match tells whether n lies in the pattern and how many characters of it
// were compared exactly: of two patterns that match, the one with more wins.
func (p Pattern) Match(n Number) (exact int, ok bool) {
	s, v := string(p), string(n)
	switch {
	case v == "":
		return 0, false
	case s == "*":
		return 0, true
	case strings.HasPrefix(s, "*@"):
		return len(s) - 1, !n.IsE164() && strings.HasSuffix(v, s[1:])
	case strings.HasSuffix(s, "*"):
		return len(s) - 1, strings.HasPrefix(v, s[:len(s)-1])
	case strings.HasSuffix(s, "x"):
		head := strings.TrimRight(s, "x")
		return len(head), len(v) == len(s) && strings.HasPrefix(v, head)
	}
	return len(s) + 1, s == v
}

// Block returns a pattern's first number, without the plus, and how many
// numbers it holds, for use in a TNAuthList range (RFC 8226 section 9). Only
// single numbers and blocks have one: a prefix says nothing about length.
func (p Pattern) Block() (start string, count int, ok bool) {
	s := string(p)
	if !strings.HasPrefix(s, "+") || strings.HasSuffix(s, "*") {
		return "", 0, false
	}
	head := strings.TrimRight(s[1:], "x")
	free := len(s) - 1 - len(head)
	count = 1
	for range free {
		count *= 10
	}
	return head + strings.Repeat("0", free), count, true
}

// NumberSet is a set of patterns with exceptions. The longest match wins, and
// an exception wins over an equally long permission.
type NumberSet struct {
	Allow  []Pattern `json:"allow"`
	Except []Pattern `json:"except,omitempty"`
}

// ParseNumberSet checks every pattern.
func ParseNumberSet(allow, except []string) (NumberSet, error) {
	var set NumberSet
	for _, s := range allow {
		p, err := ParsePattern(s)
		if err != nil {
			return NumberSet{}, err
		}
		set.Allow = append(set.Allow, p)
	}
	for _, s := range except {
		p, err := ParsePattern(s)
		if err != nil {
			return NumberSet{}, err
		}
		set.Except = append(set.Except, p)
	}
	return set, nil
}

// Covers tells whether n lies in the set.
func (s NumberSet) Covers(n Number) bool {
	allowed, ok := longest(s.Allow, n)
	if !ok {
		return false
	}
	excepted, bad := longest(s.Except, n)
	return !bad || allowed > excepted
}

// Empty tells whether the set permits nothing at all.
func (s NumberSet) Empty() bool { return len(s.Allow) == 0 }

func longest(patterns []Pattern, n Number) (best int, found bool) {
	for _, p := range patterns {
		if exact, ok := p.Match(n); ok && (!found || exact > best) {
			best, found = exact, true
		}
	}
	return best, found
}

// UnmarshalJSON accepts what a TG document may hold: one pattern, a list of
// patterns, or the object this package writes.
func (s *NumberSet) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		return s.fromStrings([]string{one}, nil)
	}
	var list []string
	if json.Unmarshal(b, &list) == nil {
		return s.fromStrings(list, nil)
	}
	var full struct {
		Allow  []string `json:"allow"`
		Except []string `json:"except"`
	}
	if err := json.Unmarshal(b, &full); err != nil {
		return fmt.Errorf("number set: %w", err)
	}
	return s.fromStrings(full.Allow, full.Except)
}

func (s *NumberSet) fromStrings(allow, except []string) error {
	set, err := ParseNumberSet(allow, except)
	if err == nil {
		*s = set
	}
	return err
}
