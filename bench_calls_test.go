package main_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// BenchmarkCalls is what signalling costs: calls without media between two sipp
// processes, through two bridges (SIP to RIPT to SIP, every caller signed for and
// verified) and through one (SIP to SIP). It prints, and asserts nothing: two
// cores carry the bridges and both sipps, and what else runs decides.
//
//	make bench-calls
//
// RIPTIDE_BENCH_SECONDS is how long each rate is held, 20 by default;
// RIPTIDE_BENCH_RATES=25,100,200 which rates are looked at, and no highest is then
// looked for;
// RIPTIDE_BENCH_PROFILE a directory for profiles at each of them, and of the heap
// before calls are held and while they are.
func BenchmarkCalls(b *testing.B) {
	for _, way := range []struct {
		name  string
		start func(*testing.B, string) *benchSite
	}{{"SIP-RIPT-SIP", benchPair}, {"SIP-SIP", benchOne}} {
		b.Run(way.name, func(b *testing.B) {
			for range b.N {
				benchCalls(b, way.start)
			}
		})
	}
}

// benchSite is what is measured.
type benchSite struct {
	nodes  []node
	entry  node // where calls come in
	caller int  // port they come from; 0 = any
	media  int  // port of the media that there is not
	calls  int  // made so far
}

const (
	benchLimit = 20000 // calls at once
	benchHeld  = 2000  // calls held to see what one takes
	benchLeft  = 10000 // calls after which memory is looked at
)

func benchCalls(b *testing.B, start func(*testing.B, string) *benchSite) {
	seconds := 20
	if s := os.Getenv("RIPTIDE_BENCH_SECONDS"); s != "" {
		if _, err := fmt.Sscan(s, &seconds); err != nil || seconds < 1 {
			b.Fatalf("RIPTIDE_BENCH_SECONDS is %q, want a number of seconds", s)
		}
	}
	rates := benchRates(b)
	callee := siptest.Sipp{Scenario: siptest.UAS, Host: "127.0.0.2", Media: siptest.FreePorts(b, nil, "127.0.0.2", 4), Calls: 1 << 20, Timeout: time.Hour}.Start(b)
	s := start(b, callee.Addr)
	s.media = siptest.FreePorts(b, nil, "127.0.0.1", 4)
	s.place(b, 25, 50, 100) // connections, pools and tables reach their sizes
	for _, rate := range rates {
		profiled := s.profile(b, fmt.Sprintf("cpu-%d", rate), fmt.Sprintf("profile?seconds=%d", seconds))
		r := s.place(b, rate, rate*seconds, 100)
		profiled()
		b.Logf("%4d calls/s: %s", rate, r)
		if rate == 200 {
			b.ReportMetric(slices.Max(r.cpu), "cpu-ms/call@200")
		}
	}
	if os.Getenv(benchRatesKey) != "" {
		s.held(b)
		return
	}
	s.highest(b, min(seconds, 10))
	s.held(b)
	if left := benchLeft - s.calls; left > 0 {
		s.place(b, 100, left, 100)
	}
	s.left(b)
}

const benchRatesKey = "RIPTIDE_BENCH_RATES"

// benchRates are the rates that are looked at.
func benchRates(b *testing.B) (rates []int) {
	for text := range strings.SplitSeq(cmp.Or(os.Getenv(benchRatesKey), "25,100,200"), ",") {
		var rate int
		if _, err := fmt.Sscan(text, &rate); err != nil || rate < 1 {
			b.Fatalf("%s has %q, want calls a second", benchRatesKey, text)
		}
		rates = append(rates, rate)
	}
	return rates
}

// highest looks for the highest rate at which all goes well.
func (s *benchSite) highest(b *testing.B, seconds int) {
	highest := 0
	for _, rate := range []int{300, 400, 500, 600, 700, 800, 1000} {
		r := s.place(b, rate, rate*seconds, 100)
		b.Logf("%4d calls/s: %s", rate, r)
		if !r.clean() {
			break
		}
		highest = rate
	}
	b.Logf("highest rate of those tried at which every call went through and fewer than one in a thousand took a second or more: %d/s", highest)
	b.ReportMetric(float64(highest), "calls/s")
}

// benchResult is what a number of calls cost.
type benchResult struct {
	failed, retransmissions int
	setUp                   []time.Duration // sorted
	cpu                     []float64       // ms per call, of each bridge
	took                    time.Duration
	calls                   int
}

func (r benchResult) quantile(q float64) time.Duration {
	if len(r.setUp) == 0 {
		return 0
	}
	return r.setUp[min(len(r.setUp)-1, int(q*float64(len(r.setUp))))]
}

func (r benchResult) clean() bool {
	return r.failed == 0 && len(r.setUp) > 0 && r.quantile(0.999) < time.Second
}

func (r benchResult) String() string {
	var cpu []string
	for _, ms := range r.cpu {
		cpu = append(cpu, fmt.Sprintf("%.2f", ms))
	}
	return fmt.Sprintf("%d of %d failed, %d retransmissions; CPU %s ms per call at each bridge; set-up p50 %v, p99 %v",
		r.failed, r.calls, r.retransmissions, strings.Join(cpu, " and "), r.quantile(0.5), r.quantile(0.99))
}

// place has calls made at a rate and waits for the last.
func (s *benchSite) place(b *testing.B, rate, calls, hold int) benchResult {
	b.Helper()
	before := s.cpu(b)
	began := time.Now()
	run := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: hold}, Port: s.caller, Media: s.media,
		Remote: s.entry.sip, Service: telcoNumber, Calls: calls, Rate: float64(rate), AtOnce: benchLimit, SetUps: true,
		Timeout: time.Duration(calls/rate)*time.Second + 2*time.Minute,
	}.Start(b)
	res, err := run.Result(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	setUps, err := run.SetUps()
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(setUps)
	for _, n := range s.nodes {
		n.settle(b)
	}
	after := s.cpu(b)
	r := benchResult{failed: calls - res.Successful, retransmissions: res.Retransmissions, setUp: setUps, took: time.Since(began), calls: calls}
	for i := range after {
		r.cpu = append(r.cpu, 1000*(after[i]-before[i])/float64(calls))
	}
	s.calls += calls
	return r
}

func (s *benchSite) cpu(b *testing.B) []float64 { return s.values(b, "process_cpu_seconds_total") }

func (s *benchSite) values(b *testing.B, name string) []float64 {
	b.Helper()
	var out []float64
	for _, n := range s.nodes {
		out = append(out, n.metrics(b)[name])
	}
	return out
}

// held says what a call takes while nothing happens in it.
func (s *benchSite) held(b *testing.B) {
	b.Helper()
	const hold = 25 * time.Second
	memory := func() (resident, inUse []float64) {
		heap, stacks := s.values(b, "go_memstats_heap_inuse_bytes"), s.values(b, "go_memstats_stack_inuse_bytes")
		for i := range heap {
			inUse = append(inUse, heap[i]+stacks[i])
		}
		return s.values(b, "process_resident_memory_bytes"), inUse
	}
	s.profile(b, "heap-before", "heap?gc=1")()
	resident, inUse := memory()
	live := s.values(b, "go_memstats_heap_alloc_bytes")
	run := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: int(hold.Milliseconds())}, Port: s.caller, Media: s.media,
		Remote: s.entry.sip, Service: telcoNumber, Calls: benchHeld, Rate: 100, AtOnce: benchLimit, Timeout: 5 * time.Minute,
	}.Start(b)
	for up, over := 0, false; up < benchHeld && !over; up = sum(s.entry.metrics(b), "riptide_calls_active") {
		select {
		case <-run.Done():
			over = true
		case <-time.After(100 * time.Millisecond):
		}
	}
	up := sum(s.entry.metrics(b), "riptide_calls_active")
	residentUp, inUseUp := memory()
	s.profile(b, "heap-held", "heap?gc=1")() // and collects the garbage
	liveUp := s.values(b, "go_memstats_heap_alloc_bytes")
	res, err := run.Result(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	s.calls += benchHeld
	most := 0.0
	for i, n := range s.nodes {
		each := (inUseUp[i] - inUse[i]) / 1e3 / float64(max(1, up))
		most = max(most, each)
		b.Logf("%s: %d calls held, %d failed: %.1f kB each by what heap and stacks grew, garbage with it (%.1f kB of resident memory)", n.name, up, benchHeld-res.Successful,
			each, (residentUp[i]-resident[i])/1e3/float64(max(1, up)))
		if profiles() != "" {
			b.Logf("%s: %.1f kB of live heap each", n.name, (liveUp[i]-live[i])/1e3/float64(max(1, up)))
		}
	}
	b.ReportMetric(most, "kB/held-call")
}

// left says what is there when all calls are over.
func (s *benchSite) left(b *testing.B) {
	b.Helper()
	for _, n := range s.nodes {
		n.settle(b)
	}
	time.Sleep(40 * time.Second) // the longest timers of SIP over UDP
	// What no collection has seen since is garbage, and says nothing.
	before := s.values(b, "go_gc_duration_seconds_count")
	for end := time.Now().Add(150 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Second) {
		collected := true
		for i, n := range s.values(b, "go_gc_duration_seconds_count") {
			collected = collected && n > before[i]
		}
		if collected {
			break
		}
	}
	heap, resident, goroutines := s.values(b, "go_memstats_heap_inuse_bytes"), s.values(b, "process_resident_memory_bytes"), s.values(b, "go_goroutines")
	for i, n := range s.nodes {
		b.Logf("%s after %d calls: heap in use %.1f MB, resident %.1f MB, %.0f goroutines", n.name, s.calls, heap[i]/1e6, resident[i]/1e6, goroutines[i])
	}
}

// benchPair is two bridges, joined by RIPT.
func benchPair(b *testing.B, callee string) *benchSite {
	b.Helper()
	p := startSite(b, siteOptions{to: callee, edit: func(_, config string) string {
		return config + fmt.Sprintf("\nlimits:\n  calls: %d\n", benchLimit)
	}})
	return &benchSite{nodes: []node{p.office, p.telco}, entry: p.office}
}

// benchOne is one bridge between two SIP trunks.
func benchOne(b *testing.B, callee string) *benchSite {
	b.Helper()
	n := siteNode(b, b.TempDir(), "sbc")
	if err := os.MkdirAll(filepath.Join(n.dir, "state"), 0o700); err != nil {
		b.Fatal(err)
	}
	caller := siptest.FreePorts(b, nil, "127.0.0.1", 1)
	config := fmt.Sprintf(`node: sbc
state: %s
admin: %s
sip:
  listen: %s
trunks:
  pbx:
    sip:
      peer: 127.0.0.1:%d
      callers: ["+*"]
  carrier:
    sip:
      peer: %s
      callers: ["+*"]
routes:
  - {from: pbx, to: "+*", trunk: carrier}
limits:
  calls: %d
`, filepath.Join(n.dir, "state"), n.admin, n.sip, caller, callee, benchLimit)
	if err := os.WriteFile(filepath.Join(n.dir, setup.ConfigFile), []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	serveNode(b, n)
	n.awaitReady(b, "")
	return &benchSite{nodes: []node{n}, entry: n, caller: caller}
}
