package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// failoverPhase is a moment in the coming back of calls, in milliseconds after the
// fault: what to look at when they are silent for long.
type failoverPhase struct {
	Phase string `json:"phase"`
	Calls int    `json:"calls"`
	P50   int64  `json:"ms_p50"`
	P99   int64  `json:"ms_p99"`

	all []time.Duration
}

// failoverMoments are the moments that nodes log, in the order in which a call
// comes to them. Those of the RIPT client that looks for a call are told when the
// byway is open again, so they lie before that line: `less` are the fields of it
// to take off, `more` those to add.
var failoverMoments = []struct{ phase, line, less, more string }{
	{"the client of the call has lost it", `msg="byway opened again"`, "away", ""},
	{"a node was asked for it", `msg="call resumed"`, "claimed legs", ""},
	{"a node has it", `msg="call resumed"`, "legs", ""},
	{"both legs are there", `msg="call resumed"`, "", ""},
	{"the client has found it", `msg="byway opened again"`, "away", "sought"},
	{"its byway is open", `msg="byway opened again"`, "", ""},
	{"media come to the client", `msg="media come again"`, "", ""},
	{"the node hears both sides", `msg="call heard again"`, "", ""},
}

// phasesOf reads the moments after a fault from the logs of nodes.
func phasesOf(logs []string, fault time.Time) (out []failoverPhase) {
	for _, m := range failoverMoments {
		p := failoverPhase{Phase: m.phase}
		came := map[string]bool{} // calls that were there once: what befalls them later is not of this fault
		for _, log := range logs {
			for line := range strings.Lines(log) {
				of := logField(line, "leg") + logField(line, "call")
				if !strings.Contains(line, m.line) || came[of] {
					continue
				}
				if at, ok := momentOf(line, m.less, m.more); ok && !at.Before(fault) {
					p.all, came[of] = append(p.all, at.Sub(fault)), true
				}
			}
		}
		if p.Calls = len(p.all); p.Calls == 0 {
			continue
		}
		slices.Sort(p.all)
		p.P50, p.P99 = at(p.all, 50), at(p.all, 99)
		out = append(out, p)
	}
	return out
}

// momentOf is when something happened that a line of a log tells of later. Times
// in logs are whole milliseconds.
func momentOf(line, less, more string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, logField(line, "time"))
	if err != nil {
		return at, false
	}
	at = at.Add(time.Millisecond)
	for name := range strings.FieldsSeq(less) {
		d, _ := time.ParseDuration(logField(line, name))
		at = at.Add(-d)
	}
	for name := range strings.FieldsSeq(more) {
		d, _ := time.ParseDuration(logField(line, name))
		at = at.Add(d)
	}
	return at, true
}

// logField is the value of a field that is one word.
func logField(line, name string) string {
	for field := range strings.FieldsSeq(line) {
		if value, ok := strings.CutPrefix(field, name+"="); ok {
			return value
		}
	}
	return ""
}

// phases reads what the nodes say of the calls' coming back.
func (d *demo) phases(fault time.Time) []failoverPhase {
	if fault.IsZero() {
		return nil
	}
	var logs []string
	for _, n := range d.nodes {
		if log, err := os.ReadFile(n.log); err == nil {
			logs = append(logs, string(log))
		}
	}
	return phasesOf(logs, fault)
}

func printPhases(to io.Writer, phases []failoverPhase) error {
	if len(phases) == 0 {
		return nil
	}
	fmt.Fprintf(to, "\nAfter the fault, as the nodes log it:\n\n")
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tcalls\thalf by\t99 % by\t")
	for _, p := range phases {
		fmt.Fprintf(w, "%s\t%d\t%d ms\t%d ms\t\n", p.Phase, p.Calls, p.P50, p.P99)
	}
	return w.Flush()
}
