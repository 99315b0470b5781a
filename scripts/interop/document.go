package main

import (
	"fmt"
	"slices"
	"strings"

	"riptide/sip/siptest"
)

const documentFile = "docs/interop.md"

// cell is a place in the matrix.
type cell struct{ behaviour, peer string }

// outcome is what stands there: a mark and the date of the run.
type outcome string

const (
	passed = "✓"
	failed = "✗"
)

func (o outcome) failed() bool { return strings.HasPrefix(string(o), failed) }

// merge puts the records of a run of today into the matrix. A cell that several
// tests show has passed when all of them have: a run of only some of them can
// take a tick away, and not give it a new date.
func merge(s *source, cells map[cell]outcome, shown []siptest.Shown, today string) {
	ran, wrong := map[cell]map[string]bool{}, map[cell]bool{}
	for _, r := range shown {
		c := cell{r.Behaviour, r.Peer}
		if ran[c] == nil {
			ran[c] = map[string]bool{}
		}
		test, _, _ := strings.Cut(r.Test, "/")
		ran[c][test] = true
		wrong[c] = wrong[c] || !r.Passed
	}
	for c, tests := range ran {
		missing := slices.ContainsFunc(s.shown[c], func(test string) bool { return !tests[test] })
		switch {
		case wrong[c]:
			cells[c] = outcome(failed + " " + today)
		case !missing:
			cells[c] = outcome(passed + " " + today)
		}
	}
}

// parseCells reads the matrix of an earlier document.
func parseCells(doc string) map[cell]outcome {
	cells := map[cell]outcome{}
	titles := map[string]string{}
	for _, b := range siptest.Behaviours {
		titles[b.Title] = b.ID
	}
	for line := range strings.Lines(doc) {
		columns := strings.Split(strings.TrimSpace(line), "|")
		if len(columns) < len(siptest.Peers)+3 {
			continue
		}
		id, ok := titles[strings.TrimSpace(columns[1])]
		if !ok {
			continue
		}
		for i, peer := range siptest.Peers {
			if v := strings.TrimSpace(columns[2+i]); v != "" {
				cells[cell{id, peer}] = outcome(v)
			}
		}
	}
	return cells
}

const heading = `# Interoperability

Which behaviour was shown with which peer, and when. This document is written by ` + "`make interop`" + ` from what the tests record; there is no cell in it
that somebody typed. A tick bears the date on which all its tests last ran and passed. The peers are programs that nobody here wrote, as
` + "`scripts/install-peers`" + ` installs them; *scripted* is a peer of our own, for what none of them does on demand. An empty cell is one that no test tries.

`

// document writes it all anew. Cells that no test shows any more are left out.
func document(s *source, cells map[cell]outcome) string {
	var b strings.Builder
	b.WriteString(heading)
	fmt.Fprintf(&b, "| behaviour | %s | shown by |\n|---%s|---|\n", strings.Join(siptest.Peers, " | "), strings.Repeat("|---", len(siptest.Peers)))
	for _, row := range siptest.Behaviours {
		tests := s.testsOf(row.ID)
		if len(tests) == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %s |", row.Title)
		for _, peer := range siptest.Peers {
			c := cell{row.ID, peer}
			v := cells[c]
			if len(s.shown[c]) == 0 {
				v = ""
			}
			fmt.Fprintf(&b, " %s |", v)
		}
		fmt.Fprintf(&b, " %s |\n", code(tests))
	}
	b.WriteString(threadsHeading)
	for _, t := range threads {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", t.link(), t.hurts, code(s.guards(t)))
	}
	b.WriteString(faultsHeading)
	for _, f := range faults {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", f.number, f.hurts, code(s.guards(f)))
	}
	return b.String()
}

func code(names []string) string {
	var out []string
	for _, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
		out = append(out, "`"+n+"`")
	}
	return strings.Join(out, " ")
}
