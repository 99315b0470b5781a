// Command testsum runs `go test -json` with the arguments it is given and
// prints what a person, and the end of a build log, want of it: a line per
// package, the output of what failed, the reason of what was skipped, and as
// the last line the counts.
//
//	go run ./scripts/testsum [-o FILE] -race ./...
//
// -o also writes the last line to FILE. With -again N, if at most N tests failed,
// each is run once more, alone; what passes then is named in the last line.
// The exit status is that of go test.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	var o options
	flags := flag.NewFlagSet("testsum", flag.ExitOnError)
	flags.StringVar(&o.file, "o", "", "write the last line to this file too")
	flags.IntVar(&o.again, "again", 0, "run failed tests once more, if they are no more than this")
	_ = flags.Parse(ours(os.Args[1:]))
	status, err := run(os.Stdout, o, os.Args[1+len(ours(os.Args[1:])):])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	os.Exit(status)
}

type options struct {
	file  string
	again int // tests
}

// ours are the arguments in front that are not for go test.
func ours(args []string) []string {
	n := 0
	for n+1 < len(args) && (args[n] == "-o" || args[n] == "-again") {
		n += 2
	}
	return args[:n]
}

func run(w io.Writer, o options, args []string) (status int, err error) {
	sum := newSummary(w)
	status, err = goTest(sum, args)
	for _, f := range sum.again(o.again) {
		fmt.Fprintf(w, "second attempt: %s %s\n", f.pkg, f.test)
		second := newSummary(w)
		if st, err := goTest(second, f.arguments(args)); st == 0 && err == nil {
			sum.amend(f, second)
		}
	}
	if sum.failed == 0 && len(sum.late) > 0 {
		status = 0
	}
	sum.close()
	if o.file != "" {
		if werr := os.WriteFile(o.file, []byte(sum.counts()+"\n"), 0o644); werr != nil {
			return 1, fmt.Errorf("write the counts: %w", werr)
		}
	}
	return status, err
}

// goTest runs go test with args, and tells sum.
func goTest(sum *summary, args []string) (status int, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("run go test: %w", err)
	}
	readErr := sum.read(out)
	_, _ = io.Copy(io.Discard, out) // so that go test never waits for us
	waitErr := cmd.Wait()

	var exit *exec.ExitError
	switch {
	case readErr != nil:
		sum.hopeless = true
		return 1, readErr
	case errors.As(waitErr, &exit):
		// go test fails for a reason that no test gave: a package that does
		// not build, a pattern that matches nothing.
		if sum.failed == 0 {
			sum.failed, sum.hopeless = 1, true
		}
		return exit.ExitCode(), nil
	case waitErr != nil:
		return 1, fmt.Errorf("run go test: %w", waitErr)
	case sum.failed > 0:
		return 1, nil
	}
	return 0, nil
}
