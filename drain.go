package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"riptide/ops"
)

const (
	// turnAway is how long a node that is to be emptied still takes calls: by then
	// balancers and peers that probe have found out that it wants none.
	turnAway = 3 * time.Second
	// clientsFirst is how long RIPT clients have to follow by themselves; then
	// their calls are given to any node, and found there.
	clientsFirst = 5 * time.Second
	// tellEvery is how often a command hears how far it is.
	tellEvery = time.Second
)

func drainCommand() *cli.Command {
	return &cli.Command{
		Name:  "drain",
		Usage: "hand the calls over to other nodes, or wait for their end, and stop",
		Description: "Asks the riptide serve on this box to take no new calls and to stop when it has none left. Where\n" +
			"other nodes of its cluster live it hands all calls over to them: /readyz turns to 503 at once, new\n" +
			"calls are refused three seconds later, and nobody hears that a call moves. A node by itself waits\n" +
			"until its calls have ended. After --within it ends what is left, with a cause. To take a new version\n" +
			"or configuration on a single box, restart the service instead: its calls go on.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.DurationFlag{Name: "within", Value: 5 * time.Minute, Usage: "end what is left after `TIME`; 0 ends all calls at once"},
			&cli.BoolFlag{Name: "json", Usage: "write the outcome as JSON"},
		},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			within := c.Duration("within")
			if within < 0 || within > ops.MaxDrain {
				return fmt.Errorf("--within %v: want a time up to %v", within, ops.MaxDrain)
			}
			state, err := stateOf(c)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context, within+endCalls+endParts)
			defer cancel()
			done, err := ops.Drain(ctx, state, ops.DrainOrder{Within: within.String()}, func(d ops.Drained) {
				if !c.Bool("json") {
					fmt.Fprintf(c.App.Writer, "%d calls left, %d handed over\n", d.Left, d.Moved)
				}
			})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return json.NewEncoder(c.App.Writer).Encode(done)
			}
			fmt.Fprintf(c.App.Writer, "%d calls handed over, %d ended by themselves, %d were ended\n", done.Moved, max(0, done.Calls-done.Moved-done.Cut), done.Cut)
			return nil
		},
	}
}

// drain empties the box and has the process end. It goes on if who asked for it
// goes away.
func (a *appliance) drain(ctx context.Context, within time.Duration, tell func(ops.Drained)) (ops.Drained, error) {
	if a.draining.Swap(true) {
		return ops.Drained{}, errors.New("the process is being drained already")
	}
	defer close(a.drained)
	a.retire()
	ctx = context.WithoutCancel(ctx)
	done := ops.Drained{Calls: a.bridge.Active()}
	moved, alone := a.bridge.Moved(), joined(a.members, &a.trouble)
	a.logger.Info("draining", "calls", done.Calls, "within", within)
	wait, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	err := a.telling(func() error {
		if a.bridge.HasHeirs() {
			if err := a.handOver(wait, turnAway); err != nil {
				a.logger.Warn("not every call could be handed over", "error", err)
			}
		}
		return a.bridge.Drain(wait)
	}, func() {
		tell(ops.Drained{Calls: done.Calls, Left: a.bridge.Active(), Moved: a.bridge.Moved() - moved})
	})
	done.Moved = a.bridge.Moved() - moved
	done.Calls = max(done.Calls, done.Moved) // some came while others still came here
	if done.Left = a.bridge.Left(); err == nil && done.Left > 0 {
		why := "the process was told to stop meanwhile (SIGTERM)"
		if alone != nil {
			why = alone.Error()
		}
		return done, fmt.Errorf("%s: %d calls are left on record for the process that follows, or another node", why, done.Left)
	}
	if err == nil {
		return done, nil
	}
	done.Cut = a.bridge.Active()
	end, cancel := context.WithTimeout(ctx, endCalls)
	defer cancel()
	if err := a.bridge.Shutdown(end); err != nil {
		return done, err
	}
	return done, nil
}

// retire has balancers, peers that probe and the other nodes turn away from here.
func (a *appliance) retire() {
	a.draining.Store(true)
	a.bridge.Retire()
	a.sip.Retire()
	if a.server != nil {
		a.server.Retire()
	}
}

// telling tells how far something is until it is done.
func (a *appliance) telling(do func() error, tell func()) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			tell()
		}
	}
}

// handOver empties this node onto the others of its cluster: balancers and peers
// are told and have a while to turn to others, RIPT clients are asked to follow by
// themselves, and what is left then is given away.
func (a *appliance) handOver(ctx context.Context, turn time.Duration) error {
	a.retire()
	select {
	case <-time.After(turn):
	case <-ctx.Done():
	}
	a.bridge.Refuse()
	if a.server != nil {
		a.server.Drain()
		following, cancel := context.WithTimeout(ctx, clientsFirst)
		defer cancel()
		if m, err := a.server.Migrate(following, ""); err != nil {
			a.logger.Warn("clients were not asked to follow", "error", err)
		} else if m.Asked > 0 {
			a.logger.Info("clients were asked to follow", "asked", m.Asked, "came back here", m.Attached)
		}
	}
	if err := a.bridge.HandOver(ctx); err != nil {
		return err
	}
	if a.server != nil {
		// A balancer of connections, which sees no health, sends clients here as long
		// as somebody answers.
		a.server.Close()
	}
	a.bridge.ListenOut(ctx)
	return nil
}
