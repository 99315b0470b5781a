package main

import (
	"strings"
	"testing"
	"time"
)

// TestPhasesOfAFailover are read from what nodes log, after the fault only.
func TestPhasesOfAFailover(t *testing.T) {
	t.Parallel()
	office := `time=2026-11-23T10:00:00.900Z level=INFO msg="byway opened again" node=office trunk=telco leg=x away=100ms sought=1ms tries=1 why="of before"
time=2026-11-23T10:00:01.499Z level=INFO msg="byway opened again" node=office trunk=telco leg=x away=400ms sought=250ms tries=1 why="it broke off"
time=2026-11-23T10:00:09.599Z level=INFO msg="byway opened again" node=office trunk=telco leg=x away=100ms sought=50ms tries=1 why="another fault"
time=2026-11-23T10:00:01.599Z level=INFO msg="media come again" node=office trunk=telco leg=x away=500ms
`
	telco := `time=2026-11-23T10:00:01.299Z level=INFO msg="call resumed" node=telco-2 call=1 claimed=20ms legs=30ms
time=2026-11-23T10:00:01.399Z level=INFO msg="call resumed" node=telco-2 call=2 claimed=10ms legs=50ms
time=broken level=INFO msg="call heard again" node=telco-2 call=1 after=100ms
time=2026-11-23T10:00:01.699Z level=INFO msg="call heard again" node=telco-2 call=1 after=100ms
`
	got := phasesOf([]string{office, telco}, time.Date(2026, 11, 23, 10, 0, 1, 0, time.UTC))
	want := []failoverPhase{
		{Phase: "the client of the call has lost it", Calls: 1, P50: 100, P99: 100},
		{Phase: "a node was asked for it", Calls: 2, P50: 250, P99: 340},
		{Phase: "a node has it", Calls: 2, P50: 270, P99: 350},
		{Phase: "both legs are there", Calls: 2, P50: 300, P99: 400},
		{Phase: "the client has found it", Calls: 1, P50: 350, P99: 350},
		{Phase: "its byway is open", Calls: 1, P50: 500, P99: 500},
		{Phase: "media come to the client", Calls: 1, P50: 600, P99: 600},
		{Phase: "the node hears both sides", Calls: 1, P50: 700, P99: 700},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		if g := got[i]; g.Phase != w.Phase || g.Calls != w.Calls || g.P50 != w.P50 || g.P99 != w.P99 {
			t.Errorf("%+v, want %+v", g, w)
		}
	}
	var text strings.Builder
	if err := printPhases(&text, got); err != nil || !strings.Contains(text.String(), "a node has it      2   270 ms   350 ms") {
		t.Errorf("%v\n%s", err, text.String())
	}
}
