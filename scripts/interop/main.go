// Command interop writes docs/interop.md: which behaviour was shown with which
// peer, by which test, and when. Nothing in the document is written by hand.
//
//	go run ./scripts/interop -records FILE
//
// FILE holds what the tests of a run recorded (siptest.Shows). Cells that were
// not run keep what they had, with its date; cells whose tests are gone go too.
// `make interop` runs all tests that record something.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"riptide/sip/siptest"
)

func main() {
	records := flag.String("records", "", "what the tests recorded")
	root := flag.String("root", ".", "the source tree")
	tests := flag.Bool("tests", false, "print a pattern of the tests that record something, and write nothing")
	flag.Parse()
	if err := run(*root, *records, *tests); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(root, records string, tests bool) error {
	source, err := readSource(root)
	if err != nil {
		return err
	}
	if tests {
		fmt.Println(source.pattern())
		return nil
	}
	file := root + "/" + documentFile
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read the document: %w", err)
	}
	cells := parseCells(string(b))
	shown, err := readRecords(records)
	if err != nil {
		return err
	}
	merge(source, cells, shown, time.Now().UTC().Format(time.DateOnly))
	if err := os.WriteFile(file, []byte(document(source, cells)), 0o644); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	for c, v := range cells {
		if v.failed() {
			err = fmt.Errorf("%s with %s failed", c.behaviour, c.peer)
		}
	}
	return err
}

func readRecords(file string) ([]siptest.Shown, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the records: %w", err)
	}
	defer f.Close()
	var all []siptest.Shown
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var s siptest.Shown
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("read the records: %w in %.100q", err, lines.Text())
		}
		all = append(all, s)
	}
	return all, lines.Err()
}
