package conform

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// check is one thing that is done to judge one or more requirements.
type check struct {
	reqs string // numbers, separated by spaces
	did  string
	run  func(context.Context, *Probe) error
	slow time.Duration // about how long it takes, if that is worth telling
}

// atOnce is how many checks run side by side: most of them wait.
const atOnce = 4

// Run judges the server. The error is ErrUnreachable, or that of ctx.
func (p *Probe) Run(ctx context.Context) (*Report, error) {
	if err := p.Reach(ctx); err != nil {
		return nil, err
	}
	f := newFindings(Server)
	checks := p.chosen(serverChecks())
	// The long ones first: the others fit into their time.
	slices.SortStableFunc(checks, func(a, b check) int { return int(b.slow - a.slow) })
	work := make(chan check)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for c := range work {
				p.judge(ctx, f, c)
			}
		})
	}
	var long sync.WaitGroup
	for _, c := range checks {
		if c.slow > 0 {
			p.say("%s (requirement %s) takes about %v", c.did, c.reqs, c.slow)
			long.Go(func() { p.judge(ctx, f, c) })
			continue
		}
		select {
		case work <- c:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	p.say("waiting for what takes long")
	long.Wait()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("judge %s: %w", p.base.Host, context.Cause(ctx))
	}
	return f.report(p.base.String()), nil
}

func (p *Probe) say(format string, args ...any) {
	if p.opt.Progress != nil {
		p.opt.Progress(fmt.Sprintf(format, args...))
	}
}

// chosen are the checks of the requirements that were asked for.
func (p *Probe) chosen(all []check) []check {
	if len(p.opt.Only) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(c check) bool {
		return !slices.ContainsFunc(strings.Fields(c.reqs), func(id string) bool { return wanted(p.opt.Only, id) })
	})
}

func wanted(only []string, id string) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(o string) bool { return strings.EqualFold(o, id) })
}

// checkLimit bounds a check, beyond what it is known to take.
const checkLimit = 90 * time.Second

func (p *Probe) judge(ctx context.Context, f *findings, c check) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit+c.slow)
	defer cancel()
	began := time.Now()
	err := c.run(ctx, p)
	for _, id := range strings.Fields(c.reqs) {
		if wanted(p.opt.Only, id) {
			f.note(id, c.did, err, time.Since(began))
		}
	}
}

// serverChecks are all checks of servers, in the order in which they are best
// run: what needs nothing first.
func serverChecks() []check {
	return slices.Concat(discoveryChecks, webChecks, handlerChecks, enrolChecks, callChecks, identityChecks,
		bywayChecks, stateChecks, mediaChecks, wireChecks, carrierChecks, negotiationChecks, customerChecks, lifeChecks)
}

// CheckedBy are the numbers of the requirements that a side is judged by.
func CheckedBy(s Side) map[string]bool {
	out := map[string]bool{}
	if s&Server != 0 {
		for _, c := range serverChecks() {
			for _, id := range strings.Fields(c.reqs) {
				out[id] = true
			}
		}
	}
	if s&Client != 0 {
		for id := range clientChecks {
			out[id] = true
		}
	}
	return out
}
