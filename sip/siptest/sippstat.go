package siptest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SippResult is sipp's own account of its calls.
type SippResult struct {
	Created         int // calls begun
	Successful      int // that went as the scenario says
	Failed          int
	Retransmissions int // of SIP messages, by sipp
	Unexpected      int // calls that failed for a message the scenario does not have
	TimedOut        int // calls that failed for a message that did not come
	OutOfCall       int // messages that belong to no call
	DeadCall        int // messages for calls that are over
	Warnings        int
	ResponseTime    time.Duration // mean, INVITE to 200
	Status          int           // exit status; 0 = all calls successful
}

// maxStat bounds the statistics read: a line per second for a day.
const maxStat = 64 << 20

// ErrSippStat is wrapped by errors of ParseSippStat.
var ErrSippStat = errors.New("not sipp statistics")

// ParseSippStat reads the file that sipp's -trace_stat writes: names in the first
// line, and cumulative values, those whose names end in (C), in the last.
func ParseSippStat(b []byte) (SippResult, error) {
	if len(b) > maxStat {
		return SippResult{}, fmt.Errorf("%w: %d bytes, at most %d", ErrSippStat, len(b), maxStat)
	}
	head, rest, _ := strings.Cut(string(b), "\n")
	rest = strings.TrimRight(rest, "\n")
	last := rest[strings.LastIndexByte(rest, '\n')+1:]
	names, values := strings.Split(head, ";"), strings.Split(last, ";")
	if len(names) < 2 || len(values) < len(names)-1 {
		return SippResult{}, fmt.Errorf("%w: %d names, %d values", ErrSippStat, len(names), len(values))
	}
	var r SippResult
	counts := map[string]*int{
		"TotalCallCreated":           &r.Created,
		"SuccessfulCall(C)":          &r.Successful,
		"FailedCall(C)":              &r.Failed,
		"Retransmissions(C)":         &r.Retransmissions,
		"FailedUnexpectedMessage(C)": &r.Unexpected,
		"FailedTimeoutOnRecv(C)":     &r.TimedOut,
		"OutOfCallMsgs(C)":           &r.OutOfCall,
		"DeadCallMsgs(C)":            &r.DeadCall,
		"Warnings(C)":                &r.Warnings,
	}
	found := 0
	for i, name := range names[:min(len(names), len(values))] {
		if into := counts[name]; into != nil {
			n, err := strconv.Atoi(strings.TrimSpace(values[i]))
			if err != nil || n < 0 {
				return SippResult{}, fmt.Errorf("%w: %s is %q", ErrSippStat, name, values[i])
			}
			*into = n
			found++
		}
		if name == "ResponseTime1(C)" {
			r.ResponseTime = parseSippTime(values[i])
		}
	}
	if found < len(counts) {
		return SippResult{}, fmt.Errorf("%w: %d of %d counts are there", ErrSippStat, found, len(counts))
	}
	return r, nil
}

// ParseSippTimes reads the file that sipp's -trace_rtt writes: names in the first
// line, then the time of the end, a duration in milliseconds and the name of the
// timer in each.
func ParseSippTimes(b []byte) ([]time.Duration, error) {
	if len(b) > maxStat {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrSippStat, len(b), maxStat)
	}
	var out []time.Duration
	for i, line := range strings.Split(strings.TrimRight(string(b), "\n"), "\n") {
		fields := strings.Split(line, ";")
		if i == 0 || len(fields) < 2 {
			continue
		}
		ms, err := strconv.ParseFloat(strings.TrimSpace(fields[1]), 64)
		if err != nil || ms < 0 || ms > 1e9 {
			return nil, fmt.Errorf("%w: response time %q", ErrSippStat, fields[1])
		}
		out = append(out, time.Duration(ms*float64(time.Millisecond)))
	}
	return out, nil
}

// parseSippTime reads HH:MM:SS:µs, or HH:MM:SS. What is neither is 0.
func parseSippTime(s string) time.Duration {
	var d time.Duration
	units := []time.Duration{time.Hour, time.Minute, time.Second, time.Microsecond}
	parts := strings.Split(strings.ReplaceAll(s, ".", ":"), ":")
	if len(parts) > len(units) {
		return 0
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 24)
		if err != nil {
			return 0
		}
		d += time.Duration(n) * units[i]
	}
	return d
}
