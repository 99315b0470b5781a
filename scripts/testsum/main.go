// Command testsum runs `go test -json` with the arguments it is given and
// prints what a person, and the end of a build log, want of it: a line per
// package, the output of what failed, the reason of what was skipped, and as
// the last line the counts.
//
//	go run ./scripts/testsum [-o FILE] -race ./...
//
// -o also writes the last line to FILE. The exit status is that of go test.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	args := os.Args[1:]
	var file string
	if len(args) >= 2 && args[0] == "-o" {
		file, args = args[1], args[2:]
	}
	status, err := run(os.Stdout, file, args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	os.Exit(status)
}

func run(w io.Writer, file string, args []string) (status int, err error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("run go test: %w", err)
	}
	sum := newSummary(w)
	readErr := sum.read(out)
	_, _ = io.Copy(io.Discard, out) // so that go test never waits for us
	waitErr := cmd.Wait()

	var exit *exec.ExitError
	switch {
	case readErr != nil:
		status, err = 1, readErr
	case errors.As(waitErr, &exit):
		// go test fails for a reason that no test gave: a package that does
		// not build, a pattern that matches nothing.
		if status = exit.ExitCode(); sum.failed == 0 {
			sum.failed = 1
		}
	case waitErr != nil:
		status, err = 1, fmt.Errorf("run go test: %w", waitErr)
	case sum.failed > 0:
		status = 1
	}
	sum.close()
	if file != "" {
		if werr := os.WriteFile(file, []byte(sum.counts()+"\n"), 0o644); werr != nil {
			return 1, fmt.Errorf("write the counts: %w", werr)
		}
	}
	return status, err
}
