package bridge

import (
	"strings"
	"testing"
)

func TestParseTrace(t *testing.T) {
	const id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, c := range []struct {
		name, traceparent, tracestate string
		want                          Trace
		bad                           bool
	}{
		{name: "whole", traceparent: "00-" + id + "-" + parent + "-01", tracestate: "a=1,b=2", want: Trace{id, parent, 1, "a=1,b=2"}},
		{name: "not sampled", traceparent: "00-" + id + "-" + parent + "-00", want: Trace{ID: id, Parent: parent}},
		{name: "unknown flags are dropped", traceparent: "00-" + id + "-" + parent + "-ff", want: Trace{ID: id, Parent: parent, Flags: 1}},
		{name: "later version", traceparent: "01-" + id + "-" + parent + "-01-more", want: Trace{ID: id, Parent: parent, Flags: 1}},
		{name: "later version, no more", traceparent: "cc-" + id + "-" + parent + "-01", want: Trace{ID: id, Parent: parent, Flags: 1}},
		{name: "later version run together", traceparent: "01-" + id + "-" + parent + "-01more", bad: true},
		{name: "version ff", traceparent: "ff-" + id + "-" + parent + "-01", bad: true},
		{name: "more in version 00", traceparent: "00-" + id + "-" + parent + "-01-", bad: true},
		{name: "short", traceparent: "00-" + id + "-" + parent + "-0", bad: true},
		{name: "capitals", traceparent: "00-" + strings.ToUpper(id) + "-" + parent + "-01", bad: true},
		{name: "zero trace", traceparent: "00-" + strings.Repeat("0", 32) + "-" + parent + "-01", bad: true},
		{name: "zero parent", traceparent: "00-" + id + "-" + strings.Repeat("0", 16) + "-01", bad: true},
		{name: "dashes elsewhere", traceparent: "00_" + id + "-" + parent + "-01", bad: true},
		{name: "none", bad: true},
		{name: "bad state", traceparent: "00-" + id + "-" + parent + "-01", tracestate: "a", want: Trace{ID: id, Parent: parent, Flags: 1}},
		{name: "state with a line break", traceparent: "00-" + id + "-" + parent + "-01", tracestate: "a=1\r\nb", want: Trace{ID: id, Parent: parent, Flags: 1}},
		{name: "longest state", traceparent: "00-" + id + "-" + parent + "-01", tracestate: "a=" + strings.Repeat("x", maxTraceState-2),
			want: Trace{id, parent, 1, "a=" + strings.Repeat("x", maxTraceState-2)}},
		{name: "state too long", traceparent: "00-" + id + "-" + parent + "-01", tracestate: "a=" + strings.Repeat("x", maxTraceState-1), want: Trace{ID: id, Parent: parent, Flags: 1}},
		{name: "most items", traceparent: "00-" + id + "-" + parent + "-01", tracestate: "a=1" + strings.Repeat(",a=1", maxTraceItems-1), want: Trace{id, parent, 1, "a=1" + strings.Repeat(",a=1", maxTraceItems-1)}},
		{name: "too many items", traceparent: "00-" + id + "-" + parent + "-01", tracestate: "a=1" + strings.Repeat(",a=1", maxTraceItems), want: Trace{ID: id, Parent: parent, Flags: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseTrace(c.traceparent, c.tracestate)
			if (err != nil) != c.bad || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestTraceGoesOn(t *testing.T) {
	a := NewTrace()
	if !hexID(a.ID, 32) || !hexID(a.Parent, 16) || a.IsZero() {
		t.Fatalf("new trace is %+v", a)
	}
	if back, err := ParseTrace(a.Traceparent(), ""); err != nil || back != a {
		t.Errorf("%q reads as %+v, %v", a.Traceparent(), back, err)
	}
	b := a.Continued()
	if b.ID != a.ID || b.Parent == a.Parent {
		t.Errorf("%+v goes on as %+v", a, b)
	}
	if s := TraceOfSession(a.ID); s.ID != a.ID || s.Traceparent() != "" || s.Continued().ID != a.ID {
		t.Errorf("session id %s became %+v", a.ID, s)
	}
	for _, s := range []string{"", strings.Repeat("0", 32), "x", strings.ToUpper(NewSessionID()) + "G"} {
		if !TraceOfSession(s).IsZero() {
			t.Errorf("%q named a trace", s)
		}
	}
	if (Trace{}).Continued().IsZero() {
		t.Error("a call without a trace began none")
	}
}

func FuzzParseTrace(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, parent, state string) {
		got, err := ParseTrace(parent, state)
		if err != nil {
			if got != (Trace{}) {
				t.Fatalf("an error and %+v", got)
			}
			return
		}
		again, err := ParseTrace(got.Traceparent(), got.State)
		if err != nil || again != got {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
	})
}
