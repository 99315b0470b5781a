package stir

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"riptide/policy"
)

// span is a run of numbers of one digit count, both ends included.
type span struct {
	digits      int
	first, last uint64
}

// spans returns the countable numbers of the list, sorted and merged. Numbers
// with * or # are not countable.
func (l TNAuthList) spans() []span {
	var all []span
	for _, e := range l {
		if first, err := strconv.ParseUint(e.Start, 10, 64); err == nil && e.Count > 0 {
			all = append(all, span{len(e.Start), first, first + e.Count - 1})
		}
	}
	slices.SortFunc(all, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.digits, b.digits), cmp.Compare(a.first, b.first))
	})
	var merged []span
	for _, s := range all {
		if n := len(merged) - 1; n >= 0 && merged[n].digits == s.digits && s.first <= merged[n].last+1 {
			merged[n].last = max(merged[n].last, s.last)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// Encompasses tells whether every entry of child lies within this list: the
// rule for a certificate and its issuer (RFC 9060 section 4.1). A range may be
// covered by several entries together.
func (l TNAuthList) Encompasses(child TNAuthList) bool {
	own := l.spans()
	for _, s := range child.spans() {
		// The only candidate is the last span that starts at or before s.
		i, _ := slices.BinarySearchFunc(own, s, func(a, b span) int {
			if a.digits == b.digits && a.first <= b.first || a.digits < b.digits {
				return -1
			}
			return 1
		})
		if i == 0 || own[i-1].digits != s.digits || own[i-1].last < s.last {
			return false
		}
	}
	for _, e := range child {
		if e.SPC != "" && !l.HasSPC(e.SPC) {
			return false
		}
		if strings.ContainsAny(e.Start, "*#") && !slices.Contains(l, e) {
			return false
		}
	}
	return true
}

// Within tells whether every number of the list lies within set. If not, the
// error names the first one that does not.
func (l TNAuthList) Within(set policy.NumberSet) error {
	for _, e := range l {
		if e.SPC != "" {
			return fmt.Errorf("service provider code %q is no number", e.SPC)
		}
		if strings.ContainsAny(e.Start, "*#") {
			return fmt.Errorf("%q is no E.164 number", e.Start)
		}
	}
	for _, s := range l.spans() {
		// Between two bounds of the set's patterns every number is matched by
		// the same patterns, so the first one speaks for all of them.
		for _, n := range bounds(set, s) {
			number := policy.Number(fmt.Sprintf("+%0*d", s.digits, n))
			if !set.Covers(number) {
				return fmt.Errorf("%s is outside", number)
			}
		}
	}
	return nil
}

// bounds lists, in order, the first number of s and those inside it at which
// one of the set's patterns begins to match or has just ceased to.
func bounds(set policy.NumberSet, s span) []uint64 {
	at := []uint64{s.first}
	for _, p := range slices.Concat(set.Allow, set.Except) {
		m, ok := matched(p, s.digits)
		if !ok {
			continue
		}
		if m.first > s.first && m.first <= s.last {
			at = append(at, m.first)
		}
		if m.last >= s.first && m.last < s.last {
			at = append(at, m.last+1)
		}
	}
	slices.Sort(at)
	return at
}

// matched is the run of numbers of that many digits which a pattern matches.
// A pattern that matches all of them, or none, has no bounds and no run.
func matched(p policy.Pattern, digits int) (span, bool) {
	if start, count, ok := p.Block(); ok {
		first, err := strconv.ParseUint(start, 10, 64)
		return span{digits, first, first + uint64(count) - 1}, err == nil && len(start) == digits
	}
	head, isPrefix := strings.CutSuffix(string(p), "*")
	head, isNumber := strings.CutPrefix(head, "+")
	if !isPrefix || !isNumber || len(head) > digits {
		return span{}, false
	}
	step := pow10(digits - len(head))
	first, err := strconv.ParseUint(head, 10, 64)
	return span{digits, first * step, first*step + step - 1}, err == nil
}
