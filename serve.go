package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"riptide/configs"
	"riptide/ops"
	"riptide/systemd"
)

// exitConfig is EX_CONFIG of sysexits.h: the unit does not restart on it, since
// trying again would not mend the file.
const exitConfig = 78

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the bridge",
		Description: "Listens for SIP and RIPT, peers with the configured trunks and bridges calls. SIGTERM leaves the\n" +
			"answered calls to the process that follows within a minute, and so does a crash: it takes them up\n" +
			"again. SIGHUP is riptide reload. SIGINT ends calls, with a cause; riptide drain waits for them first.\n" +
			"A configuration with a mistake starts nothing and exits with status 78.",
		Flags:  []cli.Flag{configFlag()},
		Before: noArguments,
		Action: func(c *cli.Context) error {
			cfg, err := loadConfig(c)
			if err != nil {
				return err
			}
			return serve(c.Context, cfg)
		},
	}
}

// Limits of the end: calls are handed over to other nodes if there are any, what
// is left is left on record or hung up, then everything else closes. systemd's
// TimeoutStopSec is longer than all three.
const (
	handOverLimit = 15 * time.Second
	endCalls      = 15 * time.Second
	endParts      = 10 * time.Second
)

// serve runs one bridge until ctx ends or a part of it fails.
func serve(ctx context.Context, cfg *configs.Config) error {
	logger, level, err := ops.NewLogger(os.Stderr, cfg.Log.Level, cfg.Log.Format, cfg.Node)
	if err != nil {
		return err
	}
	reloads := newReloader(cfg, logger, level)
	if cfg.Witness() {
		return serveWitness(ctx, cfg, logger, reloads)
	}
	a, err := newAppliance(ctx, cfg, logger, reloads)
	if err != nil {
		return err
	}
	failed := a.start()
	defer reloads.follow(a.change)()
	if err := systemd.Ready("taking calls"); err != nil {
		logger.Warn("the service manager does not know that we are ready", "error", err)
	}
	logger.Info("riptide is up", "version", version, "sip", a.sip.Addr(), "ript", a.riptAddr(), "admin", a.admin.Addr())

	leave := false
	select {
	case <-ctx.Done():
		leave = errors.Is(context.Cause(ctx), errTerminated)
		logger.Info("stopping", "calls", a.bridge.Active(), "left", leave)
	case <-a.drained:
		logger.Info("stopping, drained")
	case err = <-failed:
		leave = true // whoever restarts us
		logger.Error("a part has failed, stopping", "error", err)
	}
	if err := systemd.Stopping("stopping"); err != nil {
		logger.Warn("the service manager does not know that we are stopping", "error", err)
	}
	return errors.Join(err, a.stop(leave))
}

// stop leaves the calls to the process that follows or ends them, and closes
// every part, each in its time.
func (a *appliance) stop(leave bool) error {
	if leave && a.bridge.HasHeirs() && a.bridge.Active() > 0 {
		moving, cancel := context.WithTimeout(context.Background(), handOverLimit)
		err := a.handOver(moving, turnAway/3)
		cancel()
		a.logger.Info("calls handed over", "calls", a.bridge.Moved())
		if err != nil {
			a.logger.Warn("not every call could be handed over", "error", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), endCalls)
	defer cancel()
	if leave {
		if a.server != nil {
			a.server.Close() // at once: its clients look for the next process from now on
		}
		if err := a.bridge.Leave(ctx); err != nil {
			a.logger.Warn("not every call could be left on record as it was last", "error", err)
		}
	} else if err := a.bridge.Shutdown(ctx); err != nil {
		a.logger.Warn("not every call could be ended cleanly", "error", err)
	}
	a.goodbye()
	ctx, cancel = context.WithTimeout(context.Background(), endParts)
	defer cancel()
	if err := a.close(ctx); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	a.logger.Info("stopped")
	return nil
}
