package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
)

// How ends are judged.
const (
	gapHears = 300 * time.Millisecond // without sound: who hears does not miss as much
	gapDeaf  = 5 * time.Second        // without sound, when all was given time: it is lost
	gapBack  = 35 * time.Second       // that time: longer than RIPT and SIP hold a call
	gapPlace = 45 * time.Second       // for all calls to be answered, and to be heard
)

// heldCall is a call with a tone from either end, and what the other one hears.
type heldCall struct {
	caller, callee *bridgetest.ToneSink // nil: not answered yet
	node           string               // of the telco, that answered it
	hit            bool                 // the fault is meant for it
	ended          error                // why it is over, before anybody hung up
	refused        error                // why it could not be placed, when it was tried last
}

// gaps are what ends heard nothing of: the longest silence of each.
type gaps struct {
	P50 int64 `json:"gap_ms_p50"`
	P99 int64 `json:"gap_ms_p99"`
	Max int64 `json:"gap_ms_max"`

	all []time.Duration
}

// failoverResult is what came of a failover. Its gaps are those of both ends of
// the calls that were hit, but for those that were lost.
type failoverResult struct {
	Fault    string `json:"fault"`
	Nodes    int    `json:"nodes"`
	Balancer string `json:"balancer,omitempty"`
	Timers   string `json:"timers"`
	Calls    int    `json:"calls"`
	Hit      int    `json:"hit"` // had by what the fault befell
	Lost     int    `json:"lost"`
	CutOff   int    `json:"cut_off"` // times that a node which lives heard no majority: its calls were silent
	gaps
	Office gaps            `json:"office"`           // at the callers
	Telco  gaps            `json:"telco"`            // at the callees
	Others *gaps           `json:"others,omitempty"` // of calls that were not hit
	Phases []failoverPhase `json:"phases,omitempty"`

	fault time.Time // when something was killed; zero: nothing was, or more than once

	mu    sync.Mutex
	calls []heldCall
	why   []string
}

// call finds a call by the number that was dialled. The caller holds mu.
func (r *failoverResult) call(to string) *heldCall {
	for i := range r.calls {
		if failoverNumber(i) == to {
			return &r.calls[i]
		}
	}
	return &heldCall{}
}

// placed notes a call that was answered, at its caller.
func (r *failoverResult) placed(to string, s *bridgetest.ToneSink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.call(to).caller = s
}

// refused notes that it was not answered.
func (r *failoverResult) refused(to string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.call(to) = heldCall{refused: why}
}

// answered notes it at its callee.
func (r *failoverResult) answered(info bridge.LegInfo, s *bridgetest.ToneSink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.call(string(info.To))
	c.callee, c.node = s, info.Trunk
}

// over notes that an end of a call is gone. What is left of one that was refused
// does not count.
func (r *failoverResult) over(to string, meant bool, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.call(to); !meant && c.caller != nil && c.ended == nil {
		c.ended = why
	}
}

// awaitCalls waits until every call is answered.
func (r *failoverResult) awaitCalls(ctx context.Context) error {
	for end := time.Now().Add(gapPlace); ; wait(ctx, gapHears/3) {
		err := r.any(func(c *heldCall) error {
			switch {
			case c.ended != nil:
				return fmt.Errorf("a call is over before any fault: %w", c.ended)
			case c.caller == nil && c.refused != nil:
				return fmt.Errorf("a call could not be placed: %w", c.refused)
			case c.caller == nil || c.callee == nil:
				return errors.New("a call was not answered")
			}
			return nil
		})
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case time.Now().After(end):
			return err
		}
	}
}

// any returns the first error that something is for a call.
func (r *failoverResult) any(is func(*heldCall) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.calls {
		if err := is(&r.calls[i]); err != nil {
			return err
		}
	}
	return nil
}

// ends are the two of a call.
func (c *heldCall) ends() [2]*bridgetest.ToneSink { return [2]*bridgetest.ToneSink{c.caller, c.callee} }

// deaf tells whether an end hears nothing at the moment.
func (c *heldCall) deaf(limit time.Duration) error {
	if c.ended != nil {
		return nil // nothing to wait for
	}
	for i, s := range c.ends() {
		if _, now := s.Silence(); s.Frames() == 0 || now > limit {
			return fmt.Errorf("the %s has heard nothing for %v", [2]string{"caller", "callee"}[i], now.Round(time.Millisecond))
		}
	}
	return nil
}

// awaitSound waits until every end has heard something all the time for a while.
func (r *failoverResult) awaitSound(ctx context.Context, while time.Duration) error {
	since := time.Now()
	for end := since.Add(gapBack); ; wait(ctx, gapHears/3) {
		now := time.Now()
		err := r.any(func(c *heldCall) error { return c.deaf(gapHears) })
		switch {
		case err == nil && now.Sub(since) >= while:
			return nil
		case err != nil && now.After(end):
			return err
		case err != nil:
			since = now
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// anew begins to measure.
func (r *failoverResult) anew() {
	_ = r.any(func(c *heldCall) error {
		c.caller.Anew()
		c.callee.Anew()
		return nil
	})
}

// busiest is the telco's node that has most calls.
func (r *failoverResult) busiest() string {
	had := map[string]int{}
	_ = r.any(func(c *heldCall) error { had[c.node]++; return nil })
	best := ""
	for node, n := range had {
		if n > had[best] || n == had[best] && node < best {
			best = node
		}
	}
	return best
}

// hits notes that a fault is meant for the calls of a node of the telco, or for
// all if it has no name, and returns how many they are.
func (r *failoverResult) hits(node string) (n int) {
	_ = r.any(func(c *heldCall) error {
		if c.hit = node == "" || c.node == node; c.hit {
			n++
		}
		return nil
	})
	return n
}

// look takes stock of what every end has heard, while the calls are up.
func (r *failoverResult) look() {
	others := &gaps{}
	i := 0
	_ = r.any(func(c *heldCall) error {
		i++
		if c.hit {
			r.Hit++
		}
		why := c.ended
		if why != nil {
			why = fmt.Errorf("it ended early: %w", why)
		} else {
			why = c.deaf(gapDeaf)
		}
		if why != nil {
			r.Lost++
			r.why = append(r.why, fmt.Sprintf("call %d of %s: %v", i, c.node, why))
			return nil
		}
		for end, s := range c.ends() {
			longest, now := s.Silence()
			of := []*gaps{&r.gaps, [2]*gaps{&r.Office, &r.Telco}[end]}
			if !c.hit {
				of = []*gaps{others}
			}
			for _, g := range of {
				g.all = append(g.all, max(longest, now))
			}
		}
		return nil
	})
	if len(others.all) > 0 {
		r.Others = others
	}
}

// sum makes the figures.
func (r *failoverResult) sum() {
	for _, g := range []*gaps{&r.gaps, &r.Office, &r.Telco, r.Others} {
		if g != nil && len(g.all) > 0 {
			slices.Sort(g.all)
			g.P50, g.P99, g.Max = at(g.all, 50), at(g.all, 99), at(g.all, 100)
		}
	}
}

// at is a percentile of what is sorted, in milliseconds.
func at(sorted []time.Duration, percent int) int64 {
	return sorted[(len(sorted)*percent+99)/100-1].Milliseconds()
}

func (r *failoverResult) print(to io.Writer) error {
	fmt.Fprintf(to, "\n%d calls, %d hit by the fault, %d lost. Longest silence:\n\n", r.Calls, r.Hit, r.Lost)
	if r.CutOff > 0 {
		fmt.Fprintf(to, "Nodes that were not killed heard no majority %d times, since this machine did not let them run; their calls were silent meanwhile.\n\n", r.CutOff)
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tends\thalf up to\t99 % up to\tlongest\t")
	for _, row := range []struct {
		name string
		*gaps
	}{{"callers, at the office", &r.Office}, {"callees, at the telco", &r.Telco}, {"both", &r.gaps}, {"of the other calls", r.Others}} {
		if row.gaps != nil {
			fmt.Fprintf(w, "%s\t%d\t%d ms\t%d ms\t%d ms\t\n", row.name, len(row.all), row.P50, row.P99, row.Max)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return printPhases(to, r.Phases)
}
