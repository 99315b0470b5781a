package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"riptide/h3/conform"
)

// TestConformanceTable holds docs/spec/conformance.md against the judge and the
// tests: words, sides and judges are those of package conform, and every test
// that is named is there.
func TestConformanceTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("docs", "spec", "conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (A?[0-9]+a?) \| (.+?) \| (\w+) \| ([a-z, –]+) \| (.*) \|$`)
	server, client := conform.CheckedBy(conform.Server), conform.CheckedBy(conform.Client)
	tests := testsOf{}
	var numbers, want []string
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		numbers = append(numbers, m[1])
		r, ok := conform.Lookup(m[1])
		if !ok {
			t.Errorf("there is no requirement %s", m[1])
			continue
		}
		if m[2] != r.Text || m[3] != r.Side.String() {
			t.Errorf("%s: %q (%s), the judge says %q (%s)", m[1], m[2], m[3], r.Text, r.Side)
		}
		if judges := judgesOf(server[m[1]], client[m[1]]); m[4] != judges {
			t.Errorf("%s is judged by %q, not %q", m[1], judges, m[4])
		}
		if wrong := tests.prove(m[5]); wrong != "" {
			t.Errorf("%s: %s", m[1], wrong)
		}
	}
	for _, r := range conform.Requirements() {
		want = append(want, r.ID)
	}
	if !slices.Equal(numbers, want) {
		t.Errorf("the rows are %v, want %v", numbers, want)
	}
	for _, always := range []string{"TestServerConforms", "TestClientConforms", "TestMutantsAreCaught"} {
		if wrong := tests.prove("h3: " + always); wrong != "" {
			t.Error(wrong)
		}
	}
}

func judgesOf(server, client bool) string {
	switch {
	case server && client:
		return "server, client"
	case server:
		return "server"
	case client:
		return "client"
	}
	return "–"
}

// testsOf are the test functions of packages, by directory.
type testsOf map[string]map[string]bool

// prove says what is wrong with the last cell of a row: packages with their
// tests, and what is open, in this order.
func (p testsOf) prove(cell string) (wrong string) {
	for part := range strings.SplitSeq(cell, " · ") {
		dir, names, ok := strings.Cut(part, ": ")
		if !ok || names == "" {
			return "no package and its tests: " + part
		}
		if dir == "open" || dir == "elsewhere" {
			continue
		}
		if dir == "riptide" {
			dir = "."
		}
		for name := range strings.SplitSeq(names, ", ") {
			if !p.of(dir)[name] {
				return "no test " + name + " in " + dir
			}
		}
	}
	return ""
}

// of reads a package's test files; a package without any has none.
func (p testsOf) of(dir string) map[string]bool {
	if found := p[dir]; found != nil {
		return found
	}
	found := map[string]bool{}
	p[dir] = found
	files, _ := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*_test.go")) // the pattern is a good one
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			continue // the compiler says so
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				found[f.Name.Name] = true
			}
		}
	}
	return found
}
