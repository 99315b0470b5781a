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

// migrateLimit is how long calls may take to move.
const migrateLimit = 30 * time.Second

func migrateCommand() *cli.Command {
	return &cli.Command{
		Name:  "migrate",
		Usage: "ask the clients of running calls to attach anew",
		Description: "Takes the incoming RIPT calls of the riptide serve on this box off the connections they are on:\n" +
			"their clients open new ones, through the balancer or, with --to, at another address of this\n" +
			"server. Nobody hears it. Useful before a balancer is serviced. On one node of several, --to must\n" +
			"name a way to this node alone, for the others do not know its calls. Outgoing calls are moved by\n" +
			"the server at their other end.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.StringFlag{Name: "to", Usage: "tell them to come to `https://HOST[:PORT]`; it must lead to this server, within the site of ript.authority"},
			&cli.BoolFlag{Name: "json", Usage: "write the outcome as JSON"},
		},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			state, err := stateOf(c)
			if err != nil {
				return err
			}
			var done ops.Migrated
			if err := ops.Order(c.Context, state, "migrate", ops.MigrateOrder{To: c.String("to")}, &done); err != nil {
				return err
			}
			if c.Bool("json") {
				return json.NewEncoder(c.App.Writer).Encode(done)
			}
			fmt.Fprintf(c.App.Writer, "%d calls asked: %d have attached anew, %d ended meanwhile\n", done.Asked, done.Attached, done.Ended)
			if left := done.Asked - done.Attached - done.Ended; left > 0 {
				return fmt.Errorf("%d calls did not move within %v: their clients do not follow migrate, or cannot reach the place; they go on where they are", left, migrateLimit)
			}
			return nil
		},
	}
}

// migrate moves the calls of our RIPT server.
func (a *appliance) migrate(ctx context.Context, origin string) (ops.Migrated, error) {
	if a.server == nil {
		return ops.Migrated{}, errors.New("this box has no RIPT server (key ript.listen), and so no incoming RIPT calls")
	}
	ctx, cancel := context.WithTimeout(ctx, migrateLimit)
	defer cancel()
	m, err := a.server.Migrate(ctx, origin)
	return ops.Migrated(m), err
}
