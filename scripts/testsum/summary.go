package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`, see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Elapsed    float64
	Output     string
}

const (
	maxLine   = 1 << 20  // bytes of one event
	maxOutput = 64 << 10 // bytes kept of what one test printed
)

// summary counts events. Every test and subtest that ran counts once.
type summary struct {
	w                       io.Writer
	passed, failed, skipped int
	output                  map[string]string // by package and test, until it has passed
	perPackage              map[string]*tally
	skips                   []string

	failures map[failure]int // how many failed of each: it, and tests within it
	hopeless bool            // something failed that no second attempt can mend
	late     []string        // passed at the second attempt
}

type tally struct{ passed, failed, skipped int }

func newSummary(w io.Writer) *summary {
	return &summary{w: w, output: map[string]string{}, perPackage: map[string]*tally{}, failures: map[failure]int{}}
}

// read takes events until r ends. A line that is no event is passed on.
func (s *summary) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(s.w, lines.Text())
			continue
		}
		s.take(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the output of go test: %w", err)
	}
	return nil
}

func (s *summary) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if strings.Contains(e.Output, "DATA RACE") { // go test puts it to whichever test was running
			s.hopeless = true
		}
		if kept := s.output[key]; len(kept) < maxOutput {
			s.output[key] = kept + e.Output
		}
	case "build-output":
		fmt.Fprint(s.w, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.packageEnds(e, key)
		} else {
			s.testEnds(e, key)
		}
		delete(s.output, key)
	}
}

func (s *summary) testEnds(e event, key string) {
	p := s.tallyOf(e.Package)
	switch e.Action {
	case "pass":
		s.passed++
		p.passed++
	case "skip":
		s.skipped++
		p.skipped++
		s.skips = append(s.skips, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(s.output[key])))
	case "fail":
		s.failed++
		p.failed++
		top, _, _ := strings.Cut(e.Test, "/")
		s.failures[failure{e.Package, top}]++
		fmt.Fprintf(s.w, "--- FAIL: %s %s (%.1fs)\n%s", e.Package, e.Test, e.Elapsed, s.output[key])
	}
}

func (s *summary) tallyOf(pkg string) *tally {
	if s.perPackage[pkg] == nil {
		s.perPackage[pkg] = &tally{}
	}
	return s.perPackage[pkg]
}

func (s *summary) packageEnds(e event, key string) {
	p := s.tallyOf(e.Package)
	switch {
	case e.Action == "fail" && p.failed == 0:
		// It did not build, or died outside a test: that is one failure too.
		s.failed++
		s.hopeless = true
		fmt.Fprintf(s.w, "%s%sFAIL  %s (no test to blame)\n", s.unfinished(e.Package), s.output[key], e.Package)
	case e.Action == "fail":
		fmt.Fprintf(s.w, "FAIL  %-32s %4d passed, %d failed %8.1fs\n", e.Package, p.passed, p.failed, e.Elapsed)
	case e.Action == "pass" && p.passed+p.skipped > 0:
		fmt.Fprintf(s.w, "ok    %-32s %4d passed%s %8.1fs\n", e.Package, p.passed, also(p.skipped), e.Elapsed)
	}
}

// unfinished is what tests printed that neither passed nor failed: where a
// package panicked or ran out of time.
func (s *summary) unfinished(pkg string) string {
	var b strings.Builder
	for key, out := range s.output {
		if strings.HasPrefix(key, pkg+" ") && key != pkg+" " {
			b.WriteString(out)
			delete(s.output, key)
		}
	}
	return b.String()
}

func also(skipped int) string {
	if skipped == 0 {
		return ""
	}
	return fmt.Sprintf(", %d skipped", skipped)
}

// reason is what a skipped test said, without the lines that go test adds.
func reason(output string) string {
	lines := slices.DeleteFunc(strings.Split(output, "\n"), func(l string) bool {
		l = strings.TrimSpace(l)
		return l == "" || strings.HasPrefix(l, "=== ") || strings.HasPrefix(l, "--- ")
	})
	if len(lines) == 0 {
		return "no reason given"
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

// close prints what was skipped and why, and the counts.
func (s *summary) close() {
	for _, line := range s.skips {
		fmt.Fprintln(s.w, "skipped:", line)
	}
	fmt.Fprintln(s.w, s.counts())
}

func (s *summary) counts() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", s.passed, s.failed, s.skipped) + s.lateness()
}
