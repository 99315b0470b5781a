package main_test

import (
	"os"
	"testing"
	"time"

	"riptide/sip/siptest"
)

// TestSoakTenThousandCalls: what ten thousand calls leave behind. Goroutines
// have to go back to where they were; the heap may grow by what is kept on
// purpose:
//
//   - an ended call stays queryable for an hour (h3, at most 10,000 of them):
//     its description and how it ended, under 2 KB each;
//   - the outcome of a POST stays for 24 h, so that a retry is no second call:
//     in the store's files, with about 300 bytes of index each in memory.
//
// The numbers are taken after the longest timers of SIP over UDP have run out
// (RFC 3261 section 17: 64*T1 = 32 s), and of the ten thousand after the
// collection that the Go runtime makes every two minutes: what lies between the
// last call and that is garbage, and says nothing.
func TestSoakTenThousandCalls(t *testing.T) {
	if os.Getenv("RIPTIDE_SOAK") == "" {
		t.Parallel() // most of it is waiting
	}
	// In each direction. A hundred calls a second for minutes would measure the
	// disk that both bridges sync their records to, see docs/performance.md.
	calls, rate := size(300, 10000)/2, 25.0
	limit := time.Duration(calls)*time.Second/time.Duration(rate) + 3*time.Minute
	answer := siptest.Script{RingMS: 20}
	toTelco := siptest.Sipp{Scenario: siptest.UAS, Script: answer, Calls: firstCalls + calls, Timeout: limit}.Start(t)
	toOffice := siptest.Sipp{Scenario: siptest.UAS, Script: answer, Calls: firstCalls + calls, Timeout: limit}.Start(t)
	p := startPair(t, pairOptions{args: []string{"--to", toTelco.Addr, "--from", toOffice.Addr}})
	bothWays := func(calls int) {
		t.Helper()
		place := func(from, to string, n node) *siptest.SippRun {
			return siptest.Sipp{
				Scenario: siptest.UAC, Script: siptest.Script{From: from, HoldMS: 100},
				Remote: n.sip, Service: to, Calls: calls, Rate: rate, AtOnce: 200, Timeout: limit,
			}.Start(t)
		}
		out, back := place(officeNumber, telcoNumber, p.office), place(telcoNumber, officeNumber, p.telco)
		for _, run := range []*siptest.SippRun{out, back} {
			r := run.Check(t, calls)
			t.Logf("%d calls, %d failed, %d retransmissions, mean set-up %v", r.Successful, r.Failed, r.Retransmissions, r.ResponseTime)
		}
		p.settle()
	}
	// Connections, pools and tables reach their sizes with the first calls.
	bothWays(firstCalls)
	before := p.leftOver()
	bothWays(calls)
	after := p.leftOver()
	for _, run := range []*siptest.SippRun{toTelco, toOffice} {
		run.Check(t, firstCalls+calls)
	}
	for i, name := range []string{"office", "telco"} {
		b, a := before[i], after[i]
		t.Logf("%s: goroutines %d -> %d, heap in use %.1f MB -> %.1f MB (%+.2f KB per call), resident %.1f MB",
			name, b.goroutines, a.goroutines, b.heap/1e6, a.heap/1e6, (a.heap-b.heap)/1e3/float64(2*calls), a.resident/1e6)
		if a.goroutines > b.goroutines+20 {
			t.Errorf("%s: %d goroutines, %d before the calls", name, a.goroutines, b.goroutines)
		}
		if grown := a.heap - b.heap; grown > 64e6+3e3*float64(2*calls) {
			t.Errorf("%s: the heap grew by %.1f MB, which is more than %d calls may leave", name, grown/1e6, 2*calls)
		}
	}
}

// firstCalls is how many calls go ahead of those that count, in each direction.
const firstCalls = 50

// leftOver is what a node holds when it has nothing to do.
type leftOver struct {
	goroutines     int
	heap, resident float64
}

// leftOver takes stock of both nodes.
func (p *pair) leftOver() []leftOver {
	p.t.Helper()
	return leftOvers(p.t, p.office, p.telco)
}

// leftOvers waits until the timers of the last calls have run out, and takes
// stock of nodes.
func leftOvers(t testing.TB, nodes ...node) []leftOver {
	t.Helper()
	time.Sleep(40 * time.Second)
	var found []leftOver
	for _, n := range nodes {
		m := n.metrics(t)
		collections := m["go_gc_duration_seconds_count"]
		for end := time.Now().Add(150 * time.Second); os.Getenv("RIPTIDE_SOAK") != "" && m["go_gc_duration_seconds_count"] == collections; {
			if time.Now().After(end) {
				t.Fatalf("%s has collected no garbage for two minutes", n.name)
			}
			time.Sleep(2 * time.Second)
			m = n.metrics(t)
		}
		found = append(found, stock(m))
	}
	return found
}

// stock is what a node's counters say of it.
func stock(m map[string]float64) leftOver {
	return leftOver{int(m["go_goroutines"]), m["go_memstats_heap_inuse_bytes"], m["process_resident_memory_bytes"]}
}
