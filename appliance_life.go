package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"riptide/bridge"
	"riptide/configs"
	"riptide/systemd"
)

// resumer says which edge continues a leg.
func (a *appliance) resumer(r bridge.LegRecord) bridge.Resumer {
	switch {
	case r.Protocol == "sip":
		return a.sip
	case r.Protocol == "ript" && !r.Incoming:
		return a.client
	case r.Protocol == "ript" && a.server != nil:
		return a.server
	}
	return nil
}

// restore takes up the calls of the process before this one. A store that cannot
// say which there were does not keep us from taking new ones.
func (a *appliance) restore() {
	r, err := a.bridge.Restore(context.Background())
	if err != nil {
		a.logger.Error("the calls of before are not taken up again", "error", err)
	}
	if r.Resumed+r.Ended+r.Lost > 0 {
		a.logger.Info("calls of before", "resumed", r.Resumed, "ended", r.Ended, "lost", r.Lost, "took", r.Took.Round(time.Millisecond))
	}
}

// start takes up the calls there were, and runs every part: no edge reads a
// request before it knows its calls. The channel gets the error of the first part
// that fails.
func (a *appliance) start() <-chan error {
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel, a.running = cancel, make(chan struct{})
	failed := make(chan error, 5)
	ended := make(chan struct{}, 5)
	run := func(part func(context.Context) error) {
		go func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				failed <- err
			}
			ended <- struct{}{}
		}()
	}
	parts := 4
	run(a.bridge.Run)
	a.restore()
	run(func(ctx context.Context) error {
		return systemd.Watchdog(ctx, a.alive, func(err error) { a.logger.Warn("watchdog", "error", err) })
	})
	run(a.sip.Serve)
	run(func(ctx context.Context) error { a.client.Run(ctx); return nil })
	if a.server != nil {
		parts++
		run(a.server.Serve)
	}
	a.up.Store(true)
	go func() {
		for range parts {
			<-ended
		}
		close(a.running)
	}()
	return failed
}

// alive takes the locks that calls take: where one is stuck, so is this, and the
// service manager restarts us.
func (a *appliance) alive(context.Context) error {
	a.bridge.Active()
	a.sip.Legs()
	return nil
}

// ready says whether calls can be taken on every trunk.
func (a *appliance) ready(cfg *configs.Config) error {
	errs := []error{joined(a.members, &a.trouble)}
	if !a.up.Load() {
		errs = append(errs, errors.New("starting: the calls of before are being taken up"))
	}
	if cfg.Limits.Unrecorded != "accept" {
		errs = append(errs, a.admin.Writable(context.Background()))
	}
	if a.draining.Load() || a.bridge.Draining() {
		errs = append(errs, errors.New("draining: no new calls are taken"))
	}
	for _, t := range cfg.Trunks {
		if t.RIPT != nil && t.RIPT.Connect != "" {
			errs = append(errs, a.client.Ready(t.Name))
		}
	}
	for _, t := range a.sip.Trunks() {
		if t.Err != nil && (t.Registers || t.Probed) {
			errs = append(errs, fmt.Errorf("trunk %q: %w", t.Name, t.Err))
		}
	}
	return errors.Join(errs...)
}

func (a *appliance) riptAddr() net.Addr {
	if a.server == nil {
		return nil
	}
	return a.server.Addr()
}

// close ends every part there is, edges first, the store last.
func (a *appliance) close(ctx context.Context) error {
	var errs []error
	if a.control != nil {
		errs = append(errs, a.control.Close(ctx))
	}
	if a.sip != nil {
		errs = append(errs, a.sip.Shutdown(ctx))
	}
	if a.server != nil {
		errs = append(errs, a.server.Shutdown(ctx))
	}
	if a.cancel != nil {
		a.cancel()
		select {
		case <-a.running:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("some parts did not end: %w", ctx.Err()))
		}
	}
	a.tracer.Close()
	if a.admin != nil {
		errs = append(errs, a.admin.Close(ctx))
	}
	if a.members != nil {
		a.members.Leave()
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}
