package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestAgain(t *testing.T) {
	const (
		failsA  = `{"Action":"fail","Package":"p","Test":"TestA"}`
		failsAs = `{"Action":"fail","Package":"p","Test":"TestA/sub"}`
		failsB  = `{"Action":"fail","Package":"p","Test":"TestB"}`
		fails   = `{"Action":"fail","Package":"p"}`
		races   = `{"Action":"output","Package":"p","Test":"TestB","Output":"WARNING: DATA RACE\n"}`
	)
	for _, c := range []struct {
		name string
		in   string
		want []failure
	}{
		{"all passed", `{"Action":"pass","Package":"p","Test":"TestA"}`, nil},
		{"one, and a test within it", events(failsAs, failsA, fails), []failure{{"p", "TestA"}}},
		{"two", events(failsB, failsA, fails), []failure{{"p", "TestA"}, {"p", "TestB"}}},
		{"three are too many", events(failsB, failsA, `{"Action":"fail","Package":"q","Test":"TestA"}`, fails), nil},
		{"a data race", events(races, failsA, fails), nil},
		{"a package that died", events(failsA, fails, `{"Action":"fail","Package":"q"}`), nil},
	} {
		s := newSummary(&strings.Builder{})
		if err := s.read(strings.NewReader(c.in)); err != nil {
			t.Fatal(err)
		}
		if got := s.again(2); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestArguments(t *testing.T) {
	f := failure{"riptide/h3", "TestA"}
	got := f.arguments([]string{"-race", "-exec", "sudo -n", "-run", "Soak", ".", "./sip/..."})
	want := []string{"-race", "-exec", "sudo -n", "-run", "Soak", "-count=1", "-run", "^TestA$", "riptide/h3"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

// TestSecondAttempt with go test itself: one test that passes the second time
// and one that never does.
func TestSecondAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		test   string
		again  int
		status int
		counts string
	}{
		"passes then":   {"TestOnce", 1, 0, "2 passed, 0 failed, 0 skipped (at the second attempt only: once TestOnce)"},
		"fails again":   {"TestNever", 1, 1, "0 passed, 1 failed, 0 skipped"},
		"is not wanted": {"TestOnce", 0, 1, "0 passed, 2 failed, 0 skipped"},
		"is none":       {"TestNothing", 1, 0, "0 passed, 0 failed, 0 skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, content := range map[string]string{
				"go.mod": "module once\n\ngo 1.24\n",
				"once_test.go": `package once

import (
	"os"
	"testing"
)

func TestOnce(t *testing.T) {
	t.Run("sub", func(t *testing.T) {
		if os.Mkdir("been", 0o700) == nil {
			t.Fatal("the first time")
		}
	})
}

func TestNever(t *testing.T) { t.Fatal("always") }
`,
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(dir)
			var out strings.Builder
			counts := filepath.Join(dir, "counts")
			status, err := run(&out, options{file: counts, again: c.again}, []string{"-run", c.test, "."})
			if err != nil || status != c.status {
				t.Errorf("status %d, %v, want %d:\n%s", status, err, c.status, &out)
			}
			if got, err := os.ReadFile(counts); err != nil || string(got) != c.counts+"\n" {
				t.Errorf("the file says %q, %v, want %q", got, err, c.counts)
			}
			if !strings.HasSuffix(out.String(), c.counts+"\n") {
				t.Errorf("the last line is not the counts:\n%s", &out)
			}
		})
	}
}
