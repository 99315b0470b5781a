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

func drainCommand() *cli.Command {
	return &cli.Command{
		Name:  "drain",
		Usage: "take no new calls, wait for those there are, and stop",
		Description: "Asks the riptide serve on this box to refuse new calls and to stop when the calls there are have\n" +
			"ended by themselves; after --within it ends what is left, with a cause. To take a new version or\n" +
			"configuration, restart the service instead: its calls go on.",
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
			var done ops.Drained
			if err := ops.Order(ctx, state, "drain", ops.DrainOrder{Within: within.String()}, &done); err != nil {
				return err
			}
			if c.Bool("json") {
				return json.NewEncoder(c.App.Writer).Encode(done)
			}
			fmt.Fprintf(c.App.Writer, "%d calls ended by themselves, %d were ended\n", done.Calls-done.Cut, done.Cut)
			return nil
		},
	}
}

// drain empties the box and has the process end. It goes on if who asked for it
// goes away.
func (a *appliance) drain(ctx context.Context, within time.Duration) (ops.Drained, error) {
	if a.draining.Swap(true) {
		return ops.Drained{}, errors.New("the process is being drained already")
	}
	defer close(a.drained)
	ctx = context.WithoutCancel(ctx)
	done := ops.Drained{Calls: a.bridge.Active()}
	a.logger.Info("draining", "calls", done.Calls, "within", within)
	wait, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if a.bridge.Drain(wait) == nil {
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
