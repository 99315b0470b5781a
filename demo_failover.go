package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
)

// The faults of --failover. The office is the RIPT client of its calls, the
// telco the server.
const (
	faultServer  = "kill-server"
	faultClient  = "kill-client"
	faultRestart = "restart"
)

var faults = []struct{ word, does string }{
	{faultServer, "kill -9 of the telco, started again at once"},
	{faultClient, "kill -9 of the office, started again at once"},
	{faultRestart, "what systemctl restart does, of either, one after the other"},
}

func faultWords() string {
	var words []string
	for _, f := range faults {
		words = append(words, fmt.Sprintf("`%s` (%s)", f.word, f.does))
	}
	return strings.ReplaceAll(strings.Join(words, ", "), "`", "")
}

// Times of a failover.
const (
	failoverRate   = 20                     // calls a second
	failoverBefore = 2 * time.Second        // of speech before the fault
	failoverAfter  = 2 * time.Second        // and after, when every end hears again
	failoverBack   = 20 * time.Second       // which it does by then, or the call is lost
	failoverHears  = 300 * time.Millisecond // without sound: who hears does not miss as much
	failoverMax    = 200                    // calls: this process plays and records both ends of each
	failoverLimit  = 80 * time.Second
)

// failover is what the flags say of it.
type failover struct {
	calls int
	fault string
	json  bool
}

func failoverFlags(c *cli.Context) (failover, error) {
	f := failover{c.Int("calls"), c.String("fault"), c.Bool("json")}
	if !c.Bool("failover") {
		for _, name := range []string{"calls", "fault", "json"} {
			if c.IsSet(name) {
				return f, fmt.Errorf("--%s is of --failover; give that too", name)
			}
		}
		return f, nil
	}
	known := slices.ContainsFunc(faults, func(k struct{ word, does string }) bool { return k.word == f.fault })
	switch {
	case !known:
		return f, fmt.Errorf("--fault %q: want one of %s", f.fault, faultWords())
	case f.calls < 1 || f.calls > failoverMax:
		return f, fmt.Errorf("--calls %d: want 1 to %d", f.calls, failoverMax)
	case c.String("to") != "" || c.String("from") != "" || c.Bool("call"):
		return f, errors.New("--failover measures at both of its own telephones: leave out --to, --from and --call")
	}
	return f, nil
}

// failoverResult is what came of it.
type failoverResult struct {
	Fault string `json:"fault"`
	Calls int    `json:"calls"`
	Lost  int    `json:"lost"`
	P50   int64  `json:"gap_ms_p50"` // the longest silence at each end of each call
	P99   int64  `json:"gap_ms_p99"`
	Max   int64  `json:"gap_ms_max"`

	callers, callees ears
	gaps             []time.Duration
	why              []string
}

// failover places calls, does them harm, and prints for how long each end heard
// nothing. It fails if a call was lost.
func (d *demo) failover(ctx context.Context, f failover) error {
	tell := d.out
	if f.json {
		tell = io.Discard
	}
	ctx, cancel := context.WithTimeout(ctx, failoverLimit+time.Duration(f.calls/failoverRate)*time.Second)
	defer cancel()
	fmt.Fprintf(tell, "Placing %d calls from the office to the telco …\n", f.calls)
	r, err := d.harm(ctx, f, tell)
	if err != nil {
		return err
	}
	r.sum()
	if f.json {
		err = json.NewEncoder(d.out).Encode(r)
	} else {
		r.print(d.out)
	}
	if err == nil && r.Lost > 0 {
		err = fmt.Errorf("%d of %d calls were lost: %s\noffice log:\n%s\ntelco log:\n%s",
			r.Lost, r.Calls, strings.Join(r.why[:min(3, len(r.why))], "; "), d.nodes[0].lastLog(), d.nodes[1].lastLog())
	}
	return err
}

// harm places the calls and brings the fault about.
func (d *demo) harm(ctx context.Context, f failover, tell io.Writer) (*failoverResult, error) {
	talk, hangUp := context.WithCancel(ctx)
	defer hangUp()
	r := &failoverResult{Fault: f.fault, Calls: f.calls}
	d.carrier.answerer.MaxCalls, d.carrier.answerer.PlayFor = f.calls, 0
	d.carrier.answerer.OnAnswer = r.callees.add
	d.pbx.answerer.OnEnd, d.carrier.answerer.OnEnd = nil, nil
	failed := make(chan error, f.calls)
	answered := make(chan bool, f.calls)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer hangUp()
	pace := time.NewTicker(time.Second / failoverRate)
	defer pace.Stop()
	for i := range f.calls {
		calls.Go(func() {
			h, err := d.pbx.talk(talk, d.office.Name, i, func(s *bridgetest.ToneSink) { r.callers.add(s); answered <- true })
			if err == nil && h.Cause.By != bridge.ByCaller {
				err = h.Cause
			}
			if err != nil {
				failed <- err
				answered <- false
			}
		})
		<-pace.C
	}
	for range f.calls {
		select {
		case <-answered:
		case <-ctx.Done():
			return nil, fmt.Errorf("not every call was answered: %w", context.Cause(ctx))
		}
	}
	wait(ctx, failoverBefore)
	if err := d.fault(ctx, f.fault, r, tell); err != nil {
		return nil, err
	}
	r.look()
	hangUp()
	calls.Wait()
	for len(failed) > 0 {
		r.lost("it ended early: %v", <-failed)
	}
	return r, nil
}

// ears are what the ends of one side hear.
type ears struct {
	mu    sync.Mutex
	sinks []*bridgetest.ToneSink
}

func (e *ears) add(s *bridgetest.ToneSink) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sinks = append(e.sinks, s)
}

// look takes stock of what every end has heard, while the calls are up.
func (r *failoverResult) look() {
	for _, side := range []*ears{&r.callers, &r.callees} {
		side.mu.Lock()
		for _, s := range side.sinks {
			longest, now := s.Silence()
			if s.Frames() == 0 || now > failoverBack/2 {
				r.lost("an end has heard nothing for %v", now.Round(time.Millisecond))
				continue
			}
			r.gaps = append(r.gaps, max(longest, now))
		}
		side.mu.Unlock()
	}
}

// awaitSound waits until every end hears something, or is lost.
func (r *failoverResult) awaitSound(ctx context.Context) {
	deaf := func(s *bridgetest.ToneSink) bool {
		_, now := s.Silence()
		return now > failoverHears
	}
	for end := time.Now().Add(failoverBack); time.Now().Before(end) && ctx.Err() == nil; wait(ctx, failoverHears/3) {
		if !r.callers.any(deaf) && !r.callees.any(deaf) {
			return
		}
	}
}

// any tells whether it is so at one end of a side at least.
func (e *ears) any(is func(*bridgetest.ToneSink) bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.sinks, is)
}

func (r *failoverResult) lost(format string, args ...any) {
	r.Lost++
	r.why = append(r.why, fmt.Sprintf(format, args...))
}

// fault does what the word says.
func (d *demo) fault(ctx context.Context, word string, r *failoverResult, tell io.Writer) error {
	type step struct {
		node int
		end  func(*demoNode)
		how  string
	}
	steps := map[string][]step{
		faultServer:  {{1, (*demoNode).kill, "kill -9"}},
		faultClient:  {{0, (*demoNode).kill, "kill -9"}},
		faultRestart: {{0, (*demoNode).leave, "SIGTERM"}, {1, (*demoNode).leave, "SIGTERM"}},
	}[word]
	for _, s := range steps {
		n := d.nodes[s.node]
		began := time.Now()
		s.end(n)
		again, err := startNode(ctx, d.side(s.node).Dir, n.name)
		if err != nil {
			return err
		}
		d.nodes[s.node] = again
		fmt.Fprintf(tell, "%s to the %s; its next process was up %v later.\n", s.how, n.name, time.Since(began).Round(time.Millisecond))
		r.awaitSound(ctx)
		wait(ctx, failoverAfter)
	}
	return nil
}

func (d *demo) side(node int) demoSide {
	if node == 0 {
		return d.office
	}
	return d.telco
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// sum makes the figures.
func (r *failoverResult) sum() {
	r.Lost = min(r.Lost, r.Calls) // a call may be lost at both ends
	slices.Sort(r.gaps)
	if len(r.gaps) > 0 {
		r.P50, r.P99, r.Max = at(r.gaps, 50), at(r.gaps, 99), at(r.gaps, 100)
	}
}

// at is a percentile of what is sorted, in milliseconds.
func at(sorted []time.Duration, percent int) int64 {
	return sorted[(len(sorted)*percent+99)/100-1].Milliseconds()
}

func (r *failoverResult) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d calls, %d lost. Longest silence at an end: half up to %d ms, 99 %% up to %d ms, none over %d ms.\n", r.Calls, r.Lost, r.P50, r.P99, r.Max)
}

// talk dials and talks until ctx ends.
func (t *telephone) talk(ctx context.Context, trunk string, nth int, answered func(*bridgetest.ToneSink)) (bridgetest.Heard, error) {
	caller := bridgetest.Caller{Dialer: t.agent, Hz: t.hz, TalkFor: failoverLimit + time.Minute, OnAnswer: answered}
	return caller.Call(ctx, t.intent(trunk, fmt.Sprint("failover-", nth), numberOffice, numberTelco))
}
