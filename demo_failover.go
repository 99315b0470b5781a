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
	failoverRate   = 20              // calls a second
	failoverBefore = 2 * time.Second // of speech before the fault
	failoverAfter  = 5 * time.Second // and after the last process is up again
	failoverMax    = 200             // calls: this process plays and records both ends of each
	failoverLimit  = 80 * time.Second
	failoverQuiet  = 4 * time.Second // without sound at the end, hanging up included: the call is lost
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

	caller, callee []time.Duration // one per call that was not lost there
	why            []string
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
			r.Lost, r.Calls, strings.Join(append(r.why, "an end does not know how its call ended")[:min(3, len(r.why)+1)], "; "), d.nodes[0].lastLog(), d.nodes[1].lastLog())
	}
	return err
}

// harm places the calls and brings the fault about.
func (d *demo) harm(ctx context.Context, f failover, tell io.Writer) (*failoverResult, error) {
	talk, hangUp := context.WithCancel(ctx)
	defer hangUp()
	called := make(chan bridgetest.Heard, f.calls)
	answered := make(chan bool, f.calls)
	r := &failoverResult{Fault: f.fault, Calls: f.calls}
	var mu sync.Mutex
	var calls sync.WaitGroup
	defer calls.Wait()
	defer hangUp()
	d.carrier.collect(called, f.calls)
	pace := time.NewTicker(time.Second / failoverRate)
	defer pace.Stop()
	for i := range f.calls {
		calls.Go(func() {
			h, err := d.pbx.talk(talk, d.office.Name, i, func() { answered <- true })
			mu.Lock()
			defer mu.Unlock()
			r.account("caller", h, err)
			if err != nil {
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
	if err := d.fault(ctx, f.fault, tell); err != nil {
		return nil, err
	}
	wait(ctx, failoverAfter)
	hangUp()
	calls.Wait()
	end := time.After(demoStop)
	for range f.calls {
		select {
		case h := <-called:
			r.account("callee", h, nil)
		case <-end:
			return r, nil // whose account is missing is lost
		}
	}
	return r, nil
}

// fault does what the word says.
func (d *demo) fault(ctx context.Context, word string, tell io.Writer) error {
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
	for i, s := range steps {
		if i > 0 {
			wait(ctx, failoverAfter)
		}
		n := d.nodes[s.node]
		began := time.Now()
		s.end(n)
		again, err := startNode(ctx, d.side(s.node).Dir, n.name)
		if err != nil {
			return err
		}
		d.nodes[s.node] = again
		fmt.Fprintf(tell, "%s to the %s; its next process was up %v later.\n", s.how, n.name, time.Since(began).Round(time.Millisecond))
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

// account notes one end of a call.
func (r *failoverResult) account(end string, h bridgetest.Heard, err error) {
	by := h.Cause.By
	switch {
	case err != nil:
	case end == "caller" && by != bridge.ByCaller:
		err = fmt.Errorf("ended early: %w", h.Cause)
	case h.Quiet > failoverQuiet:
		err = fmt.Errorf("the %s heard nothing for the last %v", end, h.Quiet.Round(time.Millisecond))
	case h.Media.Received == 0:
		err = fmt.Errorf("the %s never heard anything", end)
	}
	if err != nil {
		r.why = append(r.why, err.Error())
		return
	}
	if end == "caller" {
		r.caller = append(r.caller, h.Silence)
	} else {
		r.callee = append(r.callee, h.Silence)
	}
}

// sum makes the figures.
func (r *failoverResult) sum() {
	r.Lost = r.Calls - min(len(r.caller), len(r.callee))
	all := slices.Sorted(slices.Values(append(slices.Clone(r.caller), r.callee...)))
	if len(all) > 0 {
		r.P50, r.P99, r.Max = at(all, 50), at(all, 99), at(all, 100)
	}
}

// at is a percentile of what is sorted, in milliseconds.
func at(sorted []time.Duration, percent int) int64 {
	return sorted[(len(sorted)*percent+99)/100-1].Milliseconds()
}

func (r *failoverResult) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d calls, %d lost. Longest silence at an end: half up to %d ms, 99 %% up to %d ms, none over %d ms.\n", r.Calls, r.Lost, r.P50, r.P99, r.Max)
}

// collect has every call's account sent to heard, and lets as many come.
func (t *telephone) collect(heard chan bridgetest.Heard, calls int) {
	t.answerer.MaxCalls, t.answerer.PlayFor = calls, 0
	t.answerer.OnEnd = func(h bridgetest.Heard) { heard <- h } // there is a place for each
}

// talk dials and talks until ctx ends.
func (t *telephone) talk(ctx context.Context, trunk string, nth int, answered func()) (bridgetest.Heard, error) {
	caller := bridgetest.Caller{Dialer: t.agent, Hz: t.hz, TalkFor: 24 * time.Hour, OnAnswer: answered}
	offer := bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA}, Digits: true, ComfortNoise: true}
	return caller.Call(ctx, bridge.Intent{
		Call: fmt.Sprint("failover-", nth), Trunk: trunk, From: number(numberOffice), To: number(numberTelco), Media: offer, Hops: bridge.DefaultHops,
	})
}
