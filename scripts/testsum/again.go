package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// failure is a test at the top level of its package that failed.
type failure struct{ pkg, test string }

// again are the tests worth a second attempt. Calls are placed in real time,
// on machines that stand still for a third of a second now and then, and one
// packet of 4,000 tests' must not hide what the others have shown. What no
// stall explains gets none: a data race, a package that died or does not
// build, and more failures than most.
func (s *summary) again(most int) []failure {
	if s.hopeless || len(s.failures) > most {
		return nil
	}
	return slices.SortedFunc(maps.Keys(s.failures), func(a, b failure) int {
		return strings.Compare(a.pkg+" "+a.test, b.pkg+" "+b.test)
	})
}

// arguments are those of go test for f alone, made of those of all tests.
func (f failure) arguments(all []string) []string {
	end := len(all)
	for end > 0 && (all[end-1] == "." || strings.HasPrefix(all[end-1], "./")) {
		end--
	}
	one := append(slices.Clone(all[:end]), "-count=1", "-run", "^"+regexp.QuoteMeta(f.test)+"$")
	return append(one, f.pkg)
}

// amend takes the second attempt of f, which ran as second. If all of it passed, what
// failed of f before has passed too, at the second attempt.
func (s *summary) amend(f failure, second *summary) (passed bool) {
	if second.failed > 0 || second.passed == 0 {
		return false
	}
	n := s.failures[f]
	s.failed -= n
	s.passed += n
	s.late = append(s.late, f.pkg+" "+f.test)
	return true
}

// lateness is what the last line says of second attempts.
func (s *summary) lateness() string {
	if len(s.late) == 0 {
		return ""
	}
	return fmt.Sprintf(" (at the second attempt only: %s)", strings.Join(s.late, ", "))
}
