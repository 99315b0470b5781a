package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	nodes "riptide/bridge/cluster"
	"riptide/bridge/store"
	"riptide/bridge/store/embedded"
	"riptide/configs"
	"riptide/ops"
	"riptide/systemd"
)

// witness is a node that stores and votes, and has no edges.
type witness struct {
	admin   *ops.Server
	store   store.Store
	members *nodes.Members
	trouble embedded.Trouble
	control *ops.Control
}

// newWitness makes one. It is up when a majority of its cluster is.
func newWitness(ctx context.Context, cfg *configs.Config, logger *slog.Logger, reloads *reloader) (_ *witness, err error) {
	w := &witness{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close(ctx))
		}
	}()
	if w.admin, err = ops.New(ops.Config{
		Listen: cfg.Admin, Logger: logger, Version: version, State: cfg.State,
		Sources: ops.Sources{
			ActiveCalls: func() int { return 0 },
			SIP:         func() ops.SIPCounts { return ops.SIPCounts{} },
			SIPTrunks:   func() []ops.TrunkState { return nil },
			RIPT:        func() ops.RIPTCounts { return ops.RIPTCounts{} },
			Ready:       func() error { return joined(w.members, &w.trouble) },
		},
	}); err != nil {
		return nil, err
	}
	kept, err := openStore(ctx, cfg, &w.trouble, w.admin, logger)
	if err != nil {
		return nil, err
	}
	w.store, w.members = w.admin.Measure(kept.Store, kept.leads), kept.members
	if err := w.admin.Start(ctx); err != nil {
		return nil, err
	}
	if w.control, err = ops.NewControl(ctx, cfg.State, ops.Orders{Reload: reloads.order(ofWitness)}, logger); err != nil {
		return nil, err
	}
	return w, nil
}

// ofWitness: nothing but the log's level has an effect on a witness.
func ofWitness(*configs.Config) error { return nil }

// serveWitness runs one until ctx ends.
func serveWitness(ctx context.Context, cfg *configs.Config, logger *slog.Logger, reloads *reloader) error {
	w, err := newWitness(ctx, cfg, logger, reloads)
	if err != nil {
		return err
	}
	defer reloads.follow(ofWitness)()
	if err := systemd.Ready("a witness"); err != nil {
		logger.Warn("the service manager does not know that we are ready", "error", err)
	}
	logger.Info("riptide is up, a witness that takes no calls", "version", version, "cluster", cfg.Cluster.Bind(cfg.Node), "admin", w.admin.Addr())
	watched := make(chan error, 1)
	go func() {
		watched <- systemd.Watchdog(ctx, func(context.Context) error { w.members.Held(); return nil },
			func(err error) { logger.Warn("watchdog", "error", err) })
	}()
	<-ctx.Done()
	err = <-watched // which ends with ctx
	if err := systemd.Stopping("stopping"); err != nil {
		logger.Warn("the service manager does not know that we are stopping", "error", err)
	}
	closing, cancel := context.WithTimeout(context.Background(), endParts)
	defer cancel()
	if err := errors.Join(err, w.close(closing)); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	logger.Info("stopped")
	return nil
}

func (w *witness) close(ctx context.Context) error {
	var errs []error
	if w.control != nil {
		errs = append(errs, w.control.Close(ctx))
	}
	if w.members != nil {
		w.members.Leave()
	}
	if w.admin != nil {
		errs = append(errs, w.admin.Close(ctx))
	}
	if w.store != nil {
		errs = append(errs, w.store.Close())
	}
	return errors.Join(errs...)
}
