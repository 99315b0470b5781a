package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"

	"riptide/bridge"
	"riptide/configs"
	"riptide/ops"
)

func reloadCommand() *cli.Command {
	return &cli.Command{
		Name:  "reload",
		Usage: "take a changed configuration without a restart",
		Description: "Has the riptide serve on this box read its configuration anew, as systemctl reload and SIGHUP do.\n" +
			"Calls go on, and keep the trunks that they have. It takes other routes (routes), limits (limits.calls,\n" +
			"trunks.NAME.calls, trunks.NAME.calls-per-second), callers (trunks.NAME.sip.callers), transfers\n" +
			"(trunks.NAME.transfer) and another log.level. If the file has a mistake, or any other key has changed,\n" +
			"it takes nothing, and says why: systemctl restart takes every change, and keeps the calls, too.\n" +
			"Renewed certificates are taken without it.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.BoolFlag{Name: "json", Usage: "write the outcome as JSON"},
		},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			state, err := stateOf(c)
			if err != nil {
				return err
			}
			var done ops.Reloaded
			if err := ops.Order(c.Context, state, "reload", struct{}{}, &done); err != nil {
				return err
			}
			switch {
			case c.Bool("json"):
				return json.NewEncoder(c.App.Writer).Encode(done)
			case len(done.Changed) == 0:
				fmt.Fprintln(c.App.Writer, "nothing has changed")
			default:
				fmt.Fprintf(c.App.Writer, "changed: %s\n", strings.Join(done.Changed, ", "))
			}
			return nil
		},
	}
}

// Keys that may change while calls run, and files that are looked at anyway.
var (
	reloadable = regexp.MustCompile(`^(log\.level|limits\.calls|routes|trunks\.[^.]+\.(calls|calls-per-second|transfer|sip\.callers))$`)
	renewed    = regexp.MustCompile(`^(ript|sip|cluster|trunks\.[^.]+\.sip)\.tls\.(certificate|key)$`)
)

// reloader has a process take a changed configuration.
type reloader struct {
	logger  *slog.Logger
	level   *slog.LevelVar
	hangups chan os.Signal

	mu  sync.Mutex
	cfg *configs.Config // as it is in force
}

// newReloader is told of SIGHUP from now on, which would end the process otherwise.
func newReloader(cfg *configs.Config, logger *slog.Logger, level *slog.LevelVar) *reloader {
	r := &reloader{logger: logger, level: level, hangups: make(chan os.Signal, 1), cfg: cfg}
	signal.Notify(r.hangups, syscall.SIGHUP)
	return r
}

// follow reloads at every SIGHUP until stop is called.
func (r *reloader) follow(change func(*configs.Config) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() {
		for {
			select {
			case <-r.hangups:
				if _, err := r.reload(change); err != nil {
					r.logger.Error("the configuration stays as it was", "error", err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		signal.Stop(r.hangups)
		cancel()
		following.Wait()
	}
}

// order is reload as a command wants it.
func (r *reloader) order(change func(*configs.Config) error) func(context.Context) (ops.Reloaded, error) {
	return func(context.Context) (ops.Reloaded, error) { return r.reload(change) }
}

// reload takes everything that has changed, by change, or nothing.
func (r *reloader) reload(change func(*configs.Config) error) (ops.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.cfg.Again()
	if err != nil {
		return ops.Reloaded{}, err
	}
	done := ops.Reloaded{Changed: []string{}}
	var late []string
	for _, c := range next.Changes(r.cfg) {
		switch {
		case c.File && renewed.MatchString(c.Key):
		case !c.File && reloadable.MatchString(c.Key):
			done.Changed = append(done.Changed, c.Key)
		case c.File:
			late = append(late, c.Key+" (what is in the file)")
		default:
			late = append(late, c.Key)
		}
	}
	if len(late) > 0 {
		return ops.Reloaded{}, fmt.Errorf("nothing was changed, since only a restart can change %s (systemctl restart riptide: calls go on)", strings.Join(late, ", "))
	}
	if err := change(next); err != nil {
		return ops.Reloaded{}, err
	}
	if err := r.level.UnmarshalText([]byte(next.Log.Level)); err != nil {
		return ops.Reloaded{}, fmt.Errorf("%w (key log.level)", err)
	}
	r.cfg = next
	r.logger.Info("configuration reloaded", "changed", strings.Join(done.Changed, ", "))
	return done, nil
}

// change puts into force what may change while calls run.
func (a *appliance) change(cfg *configs.Config) error {
	calls, err := makePolicy(cfg)
	if err != nil {
		return err
	}
	a.bridge.Change(bridge.Rules{Policy: calls, MaxCalls: cfg.Limits.Calls, Trunks: a.trunks(cfg)})
	a.sip.Limit(legsOf(cfg))
	if a.server != nil {
		a.server.Limit(cfg.Limits.Calls)
	}
	return nil
}

// legsOf is how many SIP legs the calls that are allowed may have.
func legsOf(cfg *configs.Config) int { return 2 * cfg.Limits.Calls }
