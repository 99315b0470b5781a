package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"riptide/bridge/bridgetest"
)

// Times of a failover.
const (
	failoverRate   = 20              // calls a second
	failoverBefore = 2 * time.Second // of speech before the fault
	failoverAfter  = 3 * time.Second // and after, in which every end hears all the time
	failoverMax    = 200             // calls: this process plays and records both ends of each
	failoverLimit  = 5 * time.Minute
)

// failover is what the flags say of it.
type failover struct {
	calls        int
	fault        demoFault
	json         bool
	listen       time.Duration
	timers       string
	nodes        int
	balancer     string // "" with one node
	balancerPath string
}

// failoverOnly are flags that mean nothing without --failover.
var failoverOnly = []string{"calls", "fault", "json", "nodes", "balancer", "listen", "timers"}

// failoverTimers are after which time without an acknowledgement the client of a call
// looks for it elsewhere (trunks.NAME.ript.silence): what the drafts say, and what a
// site may choose.
var failoverTimers = map[string]string{"drafts": "1s", "ours": "300ms"}

func failoverFlags(c *cli.Context) (f failover, err error) {
	if !c.Bool("failover") {
		for _, name := range failoverOnly {
			if c.IsSet(name) {
				return f, fmt.Errorf("--%s is of --failover; give that too", name)
			}
		}
		return f, nil
	}
	f = failover{calls: c.Int("calls"), json: c.Bool("json"), listen: c.Duration("listen"), timers: c.String("timers"), nodes: c.Int("nodes")}
	if f.fault, err = findFault(c.String("fault")); err != nil {
		return f, err
	}
	switch {
	case f.calls < 1 || f.calls > failoverMax:
		return f, fmt.Errorf("--calls %d: want 1 to %d", f.calls, failoverMax)
	case f.listen < failoverAfter || f.listen > time.Minute:
		return f, fmt.Errorf("--listen %v: want %v to %v", f.listen, failoverAfter, time.Minute)
	case failoverTimers[f.timers] == "":
		return f, fmt.Errorf("--timers %q: want drafts or ours", f.timers)
	case c.String("to") != "" || c.String("from") != "" || c.Bool("call"):
		return f, errors.New("--failover measures at both of its own telephones: leave out --to, --from and --call")
	}
	for _, name := range []string{"sip", "telco-sip"} {
		if c.IsSet(name) && !strings.HasSuffix(c.String(name), ":0") {
			return f, fmt.Errorf("--%s %s: --failover takes addresses of its own on loopback; leave it out", name, c.String(name))
		}
	}
	return f, f.chooseNodes(c.String("balancer"), c.IsSet("nodes"))
}

// chooseNodes settles how many nodes the telco has, and the balancer before them.
func (f *failover) chooseNodes(balancer string, told bool) (err error) {
	switch {
	case told && f.nodes == 1 && balancer != "":
		return errors.New("--nodes 1 has no balancer: leave out --balancer, or take --nodes 2")
	case told && f.nodes != 1 && f.nodes != 2:
		return fmt.Errorf("--nodes %d: want 1 or 2", f.nodes)
	case told && f.nodes == 1:
	default:
		if f.balancer, f.balancerPath, err = findBalancer(balancer); err != nil {
			return err
		}
		if told && f.balancer == "" {
			return fmt.Errorf("--nodes 2 needs a balancer, and no program of one was found: %s. Without one: --nodes 1", installWords())
		}
		f.nodes = 2
		if f.balancer == "" {
			f.nodes = 1
		}
	}
	if f.fault.nodes > f.nodes {
		return fmt.Errorf("--fault %s takes two nodes behind a balancer, and there is one node: %s", f.fault.word, installWords())
	}
	return nil
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
	fmt.Fprintf(tell, "Starting %s …\n", f.topology(d))
	if err := d.start(ctx); err != nil {
		return err
	}
	r := &failoverResult{Fault: f.fault.word, Nodes: f.nodes, Balancer: f.balancer, Timers: f.timers, Calls: f.calls, calls: make([]heldCall, f.calls)}
	if err := d.harm(ctx, f, r, tell); err != nil {
		return err
	}
	r.sum()
	var err error
	if f.json {
		err = json.NewEncoder(d.out).Encode(r)
	} else {
		err = r.print(d.out)
	}
	if err == nil && r.Lost > 0 {
		err = fmt.Errorf("%d of %d calls were lost: %s%s", r.Lost, r.Calls, strings.Join(r.why[:min(3, len(r.why))], "; "), d.lastLogs())
	}
	return err
}

// topology says what is started.
func (f failover) topology(d *demo) string {
	side := func(s demoSide) string {
		if len(s.Cluster) > 0 {
			return fmt.Sprintf("an %s of two nodes and a witness", s.Name)
		}
		return fmt.Sprintf("an %s of one node", s.Name)
	}
	telco := strings.Replace(side(d.telco), "an ", "a ", 1)
	if f.balancer != "" {
		telco += " behind " + f.balancer
	}
	return side(d.office) + ", and " + telco
}

// harm places the calls and brings the fault about.
func (d *demo) harm(ctx context.Context, f failover, r *failoverResult, tell io.Writer) error {
	talk, hangUp := context.WithCancel(ctx)
	defer hangUp()
	d.carrier.answerer.MaxCalls, d.carrier.answerer.PlayFor = f.calls, 0
	d.carrier.answerer.OnAnswer = r.answered
	d.carrier.answerer.OnEnd = func(h bridgetest.Heard) { r.over(string(h.Info.To), talk.Err() != nil, h.Cause) }
	d.pbx.answerer.OnEnd = nil
	var calls sync.WaitGroup
	defer calls.Wait()
	defer hangUp()
	fmt.Fprintf(tell, "Placing %d calls from the office to the telco …\n", f.calls)
	pace := time.NewTicker(time.Second / failoverRate)
	defer pace.Stop()
	for i := range f.calls {
		calls.Go(func() {
			d.hold(talk, failoverNumber(i), r)
		})
		<-pace.C
	}
	if err := r.awaitCalls(ctx); err != nil {
		return fmt.Errorf("%w%s", err, d.lastLogs())
	}
	wait(ctx, failoverBefore)
	if err := r.awaitSound(ctx, failoverAfter/3); err != nil {
		return fmt.Errorf("before any fault: %w%s", err, d.lastLogs())
	}
	r.anew()
	if err := f.fault.do(faulty{demo: d, result: r, tell: tell}, ctx); err != nil {
		return err
	}
	if err := r.awaitSound(ctx, f.listen); err != nil {
		fmt.Fprintf(tell, "Not every end hears again: %v.\n", err)
	}
	r.look()
	r.CutOff = d.cutOffs()
	r.Phases = d.phases(r.fault)
	return nil
}

// placeAgain is when a call that was refused is placed anew: a box that is full for
// a moment says so, and it is running calls that are judged here.
const placeAgain = time.Second

// hold places a call and keeps it until ctx ends.
func (d *demo) hold(ctx context.Context, to string, r *failoverResult) {
	for {
		h, err := d.pbx.talk(ctx, d.office.takers()[0].Node, to, func(s *bridgetest.ToneSink) { r.placed(to, s) })
		if err == nil {
			r.over(to, ctx.Err() != nil, h.Cause)
			return
		}
		if ctx.Err() != nil {
			return
		}
		r.refused(to, err)
		wait(ctx, placeAgain)
	}
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// failoverNumber is whom the i-th call is for. Both ends know the call by it.
func failoverNumber(i int) string { return fmt.Sprint("+1202555", 2000+i) }

// talk dials and talks until ctx ends.
func (t *telephone) talk(ctx context.Context, trunk, to string, answered func(*bridgetest.ToneSink)) (bridgetest.Heard, error) {
	caller := bridgetest.Caller{Dialer: t.agent, Hz: t.hz, TalkFor: 2 * failoverLimit, OnAnswer: answered}
	return caller.Call(ctx, t.intent(trunk, "failover "+to, numberOffice, to))
}
