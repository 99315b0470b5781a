package docs_test

import (
	"os"
	"strings"
	"testing"
)

// TestDependenciesAreListed: docs/dependencies.md has every direct dependency
// of go.mod at its version, and nothing else.
func TestDependenciesAreListed(t *testing.T) {
	gomod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(table)) {
		cells := strings.Split(line, "|")
		if len(cells) == 6 && strings.HasPrefix(cells[1], " `") {
			if strings.TrimSpace(cells[3]) == "" || strings.TrimSpace(cells[4]) == "" {
				t.Errorf("%s: no licence or no reason", cells[1])
			}
			listed[strings.Trim(cells[1], " `")] = strings.TrimSpace(cells[2])
		}
	}
	for line := range strings.Lines(string(gomod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) != 2 || !strings.Contains(fields[0], ".") || !strings.HasPrefix(fields[1], "v") {
			continue // not a requirement, or an indirect one
		}
		if listed[fields[0]] != fields[1] {
			t.Errorf("go.mod has %s %s, docs/dependencies.md has %q", fields[0], fields[1], listed[fields[0]])
		}
		delete(listed, fields[0])
	}
	for module := range listed {
		t.Errorf("docs/dependencies.md has %s, go.mod has not", module)
	}
}
