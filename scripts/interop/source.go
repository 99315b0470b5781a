package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// source is what the test files say they show.
type source struct {
	shown map[cell][]string // tests
	tests map[string]string // every test there is, and the comments on it and in it
}

// readSource reads every test file of the tree.
func readSource(root string) (*source, error) {
	s := &source{shown: map[cell][]string{}, tests: map[string]string{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return s.readFile(path)
	})
	if err != nil {
		return nil, fmt.Errorf("read the tests: %w", err)
	}
	return s, nil
}

func (s *source) readFile(path string) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || f.Body == nil || !strings.HasPrefix(f.Name.Name, "Test") {
			continue
		}
		s.tests[f.Name.Name] += f.Doc.Text() // two packages may have tests of one name
		for _, c := range file.Comments {
			if c.Pos() > f.Pos() && c.End() < f.End() {
				s.tests[f.Name.Name] += c.Text()
			}
		}
		var bad error
		ast.Inspect(f.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if ok && isShows(call.Fun) {
				bad = s.add(f.Name.Name, call.Args)
			}
			return bad == nil
		})
		if bad != nil {
			return fmt.Errorf("%s in %s: %w", f.Name.Name, path, bad)
		}
	}
	return nil
}

func isShows(f ast.Expr) bool {
	switch f := f.(type) {
	case *ast.SelectorExpr:
		pkg, ok := f.X.(*ast.Ident)
		return ok && pkg.Name == "siptest" && f.Sel.Name == "Shows"
	case *ast.Ident:
		return f.Name == "Shows"
	}
	return false
}

// add takes a call of Shows(t, behaviour, peers...).
func (s *source) add(test string, args []ast.Expr) error {
	var words []string
	for _, a := range args[min(1, len(args)):] {
		lit, ok := a.(*ast.BasicLit)
		if !ok {
			return fmt.Errorf("an argument of Shows is no constant: the document could not be checked")
		}
		word, err := strconv.Unquote(lit.Value)
		if err != nil {
			return fmt.Errorf("an argument of Shows: %w", err)
		}
		words = append(words, word)
	}
	if len(words) < 2 {
		return fmt.Errorf("Shows wants a behaviour and a peer")
	}
	for _, peer := range words[1:] {
		c := cell{words[0], peer}
		s.shown[c] = append(s.shown[c], test)
	}
	return nil
}

// testsOf are the tests that show a behaviour.
func (s *source) testsOf(behaviour string) []string {
	var out []string
	for c, tests := range s.shown {
		if c.behaviour == behaviour {
			out = append(out, tests...)
		}
	}
	return out
}

// pattern is what `go test -run` takes to run all that record something.
func (s *source) pattern() string {
	var all []string
	for _, tests := range s.shown {
		all = append(all, tests...)
	}
	slices.Sort(all)
	return "^(" + strings.Join(slices.Compact(all), "|") + ")$"
}

// guards are the tests of a complaint: those that bear its number in their
// names, those whose comments name its thread, and those listed with it.
func (s *source) guards(c complaint) []string {
	named := regexp.MustCompile(fmt.Sprintf(`^Test%s0*%d(\D|$)`, c.kind, c.number))
	out := slices.Clone(c.tests)
	for name, comment := range s.tests {
		if named.MatchString(name) || c.thread != "" && c.said().MatchString(comment) {
			out = append(out, name)
		}
	}
	return out
}

// said finds a thread in a comment: sip#611, livekit/sip#611, or its address.
func (c complaint) said() *regexp.Regexp {
	repository, number, _ := strings.Cut(c.thread, "#")
	short := repository[strings.IndexByte(repository, '/')+1:]
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(short) + `\s?(#|/issues/|/pull/)` + number + `\b`)
}
