package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"riptide/sip/siptest"
)

const tree = "../.."

// TestDocumentAgreesWithTheTests: docs/interop.md claims nothing that no test
// shows, and has a row for everything that one does.
func TestDocumentAgreesWithTheTests(t *testing.T) {
	t.Parallel()
	s, err := readSource(tree)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(tree, documentFile))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for c, v := range parseCells(doc) {
		if len(s.shown[c]) == 0 {
			t.Errorf("%s with %s is said to be %q, but no test shows it", c.behaviour, c.peer, v)
		}
	}
	for _, row := range siptest.Behaviours {
		if shown, there := len(s.testsOf(row.ID)) > 0, strings.Contains(doc, "\n| "+row.Title+" |"); shown != there {
			t.Errorf("row %q is there: %v; tests show it: %v (go run ./scripts/interop writes %s anew)", row.Title, there, shown, documentFile)
		}
	}
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(doc, -1) {
		if _, ok := s.tests[name[1]]; !ok {
			t.Errorf("%s names %s, which does not exist (go run ./scripts/interop writes it anew)", documentFile, name[1])
		}
	}
}

// TestGuardsExist: every thread and fault has a test, and every test that is
// named there exists.
func TestGuardsExist(t *testing.T) {
	t.Parallel()
	s, err := readSource(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(append([]complaint{}, threads...), faults...) {
		for _, name := range c.tests {
			if _, ok := s.tests[name]; !ok {
				t.Errorf("%s %d is guarded by %s, which does not exist", c.kind, c.number, name)
			}
		}
		if len(s.guards(c)) == 0 {
			t.Errorf("%s %d (%s) is guarded by no test", c.kind, c.number, c.hurts)
		}
	}
}

func TestMergeAndParse(t *testing.T) {
	t.Parallel()
	s := &source{tests: map[string]string{}, shown: map[cell][]string{
		{"udp", "kamailio"}: {"TestX"}, {"udp", "sipp"}: {"TestX"}, {"tcp", "sipp"}: {"TestX", "TestY"}, {"hold", "sipp"}: {"TestX", "TestZ"}, {"cancel", "sipp"}: {"TestX", "TestZ"},
	}}
	cells := map[cell]outcome{{"udp", "kamailio"}: "✓ 2026-01-01", {"udp", "sipp"}: "✓ 2026-01-01", {"hold", "sipp"}: "✓ 2026-01-01"}
	merge(s, cells, []siptest.Shown{
		{Behaviour: "udp", Peer: "sipp", Test: "TestX", Passed: true}, {Behaviour: "udp", Peer: "sipp", Test: "TestX", Passed: false},
		{Behaviour: "tcp", Peer: "sipp", Test: "TestX", Passed: true}, {Behaviour: "tcp", Peer: "sipp", Test: "TestY/part", Passed: true},
		{Behaviour: "hold", Peer: "sipp", Test: "TestX", Passed: true}, {Behaviour: "cancel", Peer: "sipp", Test: "TestX", Passed: true},
	}, "2026-02-02")
	want := map[cell]outcome{
		{"udp", "kamailio"}: "✓ 2026-01-01", {"udp", "sipp"}: "✗ 2026-02-02", {"tcp", "sipp"}: "✓ 2026-02-02", {"hold", "sipp"}: "✓ 2026-01-01", // TestZ did not run
	}
	if !maps.Equal(cells, want) {
		t.Errorf("%v, want %v", cells, want)
	}
	if got := parseCells(document(s, cells)); !maps.Equal(got, want) {
		t.Errorf("%v comes back as %v", want, got)
	}
	delete(s.shown, cell{"udp", "kamailio"})
	if doc := document(s, cells); strings.Count(doc, "2026-01-01") != 1 {
		t.Errorf("a cell that nobody shows is still there:\n%s", doc)
	}
}
