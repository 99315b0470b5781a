package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds a configuration: some thousand trunks.
const maxFile = 256 << 10

// maxNesting bounds flow collections ("[[[["), which the parser follows by
// recursion. The schema needs 4.
const maxNesting = 16

// Load reads and checks a configuration and every file it names. Where the
// configuration is wrong the error is a Problems.
func Load(path string) (*Config, error) {
	b, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	c, d := parse(path, b)
	if c != nil {
		d.loadFiles(c)
	}
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	c.path, c.sums = path, NewSecret(d.sums)
	return c, nil
}

// Again loads the file that c was loaded from as it is now.
func (c *Config) Again() (*Config, error) { return Load(c.path) }

// State reads the state directory from a configuration, whatever else is wrong
// with that: it is how the process that runs with it is found.
func State(path string) (string, error) {
	b, err := readConfig(path)
	if err != nil {
		return "", err
	}
	c, d := parse(path, b)
	for _, p := range d.problems {
		if c == nil || p.Key == "state" {
			return "", d.problems
		}
	}
	return c.State, nil
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w (name it with -c)", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	return b, nil
}

// Parse checks a configuration without looking at the files it names. name is
// its path, for messages and for relative file names. The Config is as complete
// as the mistakes allow, and nil if the text is no YAML at all; it may be
// used only if there are no problems.
func Parse(name string, b []byte) (*Config, []Problem) {
	c, d := parse(name, b)
	d.problems.sort()
	return c, d.problems
}

func parse(name string, b []byte) (*Config, *decoder) {
	d := &decoder{file: name, at: map[string]place{}, told: map[string]bool{}}
	root, ok := d.syntax(b)
	if !ok {
		return nil, d
	}
	c := Default()
	if root != nil {
		d.value("", root, reflect.ValueOf(&c).Elem(), "")
	}
	c.fill()
	d.check(&c)
	return &c, d
}

// syntax parses the text and returns the one document's body, nil if empty.
func (d *decoder) syntax(b []byte) (ast.Node, bool) {
	if len(b) > maxFile {
		d.problem("", fmt.Sprintf("larger than %d bytes", maxFile), "split what you route over several boxes")
		return nil, false
	}
	if line := deepest(b); line > 0 {
		d.problems = append(d.problems, Problem{File: d.file, Line: line, Column: 1,
			What: fmt.Sprintf("more than %d brackets opened", maxNesting), Mend: "close them"})
		return nil, false
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff")) // of editors that mark UTF-8 (YAML 1.2 section 5.2)
	file, err := parser.ParseBytes(b, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if line, column := tab(b); line > 0 {
			d.problems = append(d.problems, Problem{File: d.file, Line: line, Column: column,
				What: "not YAML: indented with a tab", Mend: "indent with spaces"})
			return nil, false
		}
		d.syntaxProblem(err)
		return nil, false
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentGroupType {
			continue
		}
		if body != nil {
			d.problemAt(doc.Body, "", "a second document", "remove the line --- and what follows")
			return nil, false
		}
		body = doc.Body
	}
	return body, true
}

// tab finds the mistake that nobody sees: a tab in the indentation. line is 0
// where there is none.
func tab(b []byte) (line, column int) {
	for text := range bytes.Lines(b) {
		line++
		rest := bytes.TrimLeft(text, " \t")
		at := bytes.IndexByte(text[:len(text)-len(rest)], '\t')
		if rest = bytes.TrimSpace(rest); at >= 0 && len(rest) > 0 && rest[0] != '#' {
			return line, at + 1
		}
	}
	return 0, 0
}

func (d *decoder) syntaxProblem(err error) {
	p := Problem{File: d.file, What: err.Error()}
	var located yaml.Error
	if errors.As(err, &located) {
		p.What = located.GetMessage()
		if t := located.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	p.What = "not YAML: " + p.What
	p.Mend = `indent with spaces, put a space behind each colon, and quote values that begin with * & ! { [ or contain ": "`
	d.problems = append(d.problems, p)
}

// deepest returns the line at which more than maxNesting brackets are open, 0
// if there is none. It does not know strings and comments, and need not: no
// honest file holds that many unmatched brackets.
func deepest(b []byte) int {
	open, line := 0, 1
	for _, c := range b {
		switch c {
		case '\n':
			line++
		case '[', '{':
			open++
		case ']', '}':
			open = max(0, open-1)
		}
		if open > maxNesting {
			return line
		}
	}
	return 0
}
