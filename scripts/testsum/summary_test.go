package main

import (
	"fmt"
	"strings"
	"testing"
)

func events(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     string
		counts string
		says   []string
		not    []string
	}{
		{"nothing", "", "0 passed, 0 failed, 0 skipped", nil, nil},
		{"passes quietly", events(
			`{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p","Test":"TestA/sub"}`,
			`{"Action":"pass","Package":"p","Elapsed":1.5}`),
			"2 passed, 0 failed, 0 skipped", []string{"ok    p", "2 passed", "1.5s"}, []string{"chatter"}},
		{"fails loudly", events(
			`{"Action":"output","Package":"p","Test":"TestA","Output":"a.go:3: broken\n"}`,
			`{"Action":"fail","Package":"p","Test":"TestA"}`,
			`{"Action":"fail","Package":"p"}`),
			"0 passed, 1 failed, 0 skipped", []string{"a.go:3: broken", "FAIL  p"}, []string{"no test to blame"}},
		{"skips with a reason", events(
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a.go:3: no sipp\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
			`{"Action":"skip","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p"}`),
			"0 passed, 0 failed, 1 skipped", []string{"skipped: p TestA: a.go:3: no sipp"}, nil},
		{"does not build", events(
			`{"ImportPath":"p","Action":"build-output","Output":"p/x.go:1: syntax error\n"}`,
			`{"ImportPath":"p","Action":"build-fail"}`,
			`{"Action":"fail","Package":"p"}`),
			"0 passed, 1 failed, 0 skipped", []string{"syntax error", "no test to blame"}, nil},
		{"dies in a test", events(
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}`,
			`{"Action":"output","Package":"p","Output":"exit status 2\n"}`,
			`{"Action":"fail","Package":"p"}`),
			"0 passed, 1 failed, 0 skipped", []string{"panic: oh", "exit status 2"}, nil},
		{"not JSON", "warning: something\n", "0 passed, 0 failed, 0 skipped", []string{"warning: something"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			s := newSummary(&out)
			if err := s.read(strings.NewReader(c.in)); err != nil {
				t.Fatal(err)
			}
			s.close()
			if !strings.HasSuffix(out.String(), c.counts+"\n") {
				t.Errorf("last line is not %q:\n%s", c.counts, &out)
			}
			for _, want := range c.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q:\n%s", want, &out)
				}
			}
			for _, no := range c.not {
				if strings.Contains(out.String(), no) {
					t.Errorf("says %q:\n%s", no, &out)
				}
			}
		})
	}
}

func TestLineLimit(t *testing.T) {
	line := func(n int) string {
		frame := `{"Action":"output","Package":"p","Test":"T","Output":""}`
		return fmt.Sprintf(`{"Action":"output","Package":"p","Test":"T","Output":"%s"}`, strings.Repeat("x", n-len(frame)))
	}
	// A Scanner wants room for the newline too.
	if err := newSummary(&strings.Builder{}).read(strings.NewReader(line(maxLine-1) + "\n")); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := newSummary(&strings.Builder{}).read(strings.NewReader(line(maxLine+1) + "\n")); err == nil {
		t.Error("past the limit: no error")
	}
}

func FuzzSummary(f *testing.F) {
	f.Add(`{"Action":"fail","Package":"p","Test":"T"}` + "\n" + `{"Action":"fail","Package":"p"}`)
	f.Add("{}\nnull\n[]\n")
	f.Fuzz(func(t *testing.T, in string) {
		s := newSummary(&strings.Builder{})
		_ = s.read(strings.NewReader(in))
		s.close()
	})
}
