package conform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Verdict is what came out about a requirement.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "pass"
	Failed  Verdict = "FAIL"
	Skipped Verdict = "skip"
)

// Result is the line of one requirement.
type Result struct {
	ID      string        `json:"id"`
	Side    string        `json:"side"` // whose keeping of it was judged
	Level   Level         `json:"level"`
	Text    string        `json:"text"`
	Did     string        `json:"did"`
	Verdict Verdict       `json:"verdict"`
	Why     string        `json:"why,omitempty"`
	Took    time.Duration `json:"took"`
}

// Report is the outcome of a run, in the order of the checklist.
type Report struct {
	Subject string   `json:"subject"` // what was judged
	Side    string   `json:"side"`
	Results []Result `json:"results"`
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
}

// skipError says why a requirement could not be judged.
type skipError string

func (e skipError) Error() string { return string(e) }

func skip(format string, args ...any) error { return skipError(fmt.Sprintf(format, args...)) }

// findings collects what is found about requirements, from any goroutine.
type findings struct {
	side Side

	mu sync.Mutex
	m  map[string]*Result
}

func newFindings(side Side) *findings { return &findings{side: side, m: map[string]*Result{}} }

// note adds what a check found. The worst verdict about a requirement counts: one
// thing done wrong is not outweighed by another done well.
func (f *findings) note(id, did string, err error, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.m[id]
	if r == nil {
		req, _ := Lookup(id)
		r = &Result{ID: req.ID, Side: f.side.String(), Level: req.Level, Text: req.Text, Verdict: Passed}
		f.m[id] = r
	}
	r.Took += took
	if r.Did == "" {
		r.Did = did
	} else if did != "" && !strings.Contains(r.Did, did) {
		r.Did += "; " + did
	}
	if err == nil {
		return
	}
	verdict := Failed
	var s skipError
	if errors.As(err, &s) {
		verdict = Skipped
	}
	if r.Verdict == Passed || r.Verdict == Skipped && verdict == Failed {
		r.Verdict, r.Why = verdict, err.Error()
	} else if r.Verdict == verdict && !strings.Contains(r.Why, err.Error()) && len(r.Why) < maxWhy {
		r.Why += "; " + err.Error()
	}
}

// maxWhy keeps a fault that every call shows from filling the report.
const maxWhy = 600

// report puts the findings in order.
func (f *findings) report(subject string) *Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &Report{Subject: subject, Side: f.side.String()}
	for _, req := range Requirements() {
		r := f.m[req.ID]
		if r == nil {
			continue
		}
		out.Results = append(out.Results, *r)
		switch r.Verdict {
		case Passed:
			out.Passed++
		case Failed:
			out.Failed++
		case Skipped:
			out.Skipped++
		}
	}
	return out
}

// Result finds the line of a requirement.
func (r *Report) Result(id string) (Result, bool) {
	for _, x := range r.Results {
		if x.ID == id {
			return x, true
		}
	}
	return Result{}, false
}

// WriteText writes one line per requirement, and the totals last.
func (r *Report) WriteText(w io.Writer) error {
	for _, x := range r.Results {
		line := fmt.Sprintf("%-4s %-4s %-6s %s", x.Verdict, x.ID, x.Side, x.Text)
		if x.Did != "" {
			line += " (" + x.Did + ")"
		}
		if x.Why != "" {
			line += ": " + x.Why
		}
		if _, err := fmt.Fprintln(w, oneLine(line)); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	_, err := fmt.Fprintln(w, r.Totals())
	return err
}

// WriteJSON writes the report as one JSON document.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Totals is the last line of a report.
func (r *Report) Totals() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.Passed, r.Failed, r.Skipped)
}

// oneLine keeps what a peer said from breaking the report into more lines, or
// from reaching the terminal as control characters.
func oneLine(s string) string {
	out := []rune(s)
	for i, c := range out {
		if c < ' ' || c == 0x7f {
			out[i] = ' '
		}
	}
	return string(out)
}
