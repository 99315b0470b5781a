package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready says that the service has started. status is one line for people:
// systemctl status shows it.
func Ready(status string) error { return notify(daemon.SdNotifyReady, status) }

// Stopping says that the service is ending its calls.
func Stopping(status string) error { return notify(daemon.SdNotifyStopping, status) }

func notify(state, status string) error {
	if status != "" {
		// A line is an assignment (sd_notify(3)), so the text must stay one.
		state += "\nSTATUS=" + strings.Join(strings.FieldsFunc(status, func(r rune) bool { return r == '\n' || r == 0 }), " ")
	}
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("tell systemd %s: %w", strings.SplitN(state, "=", 2)[0], err)
	}
	return nil
}

// Watchdog tells the service manager twice per WatchdogSec that the process is
// alive, for as long as alive returns nil, and returns when ctx ends. It
// returns at once where no watchdog was asked for.
//
// alive looks whether what matters still moves, by taking the locks that calls
// take. If it hangs, nothing is sent, and the service manager restarts us: that
// is the point. An error of alive, or of the sending, comes to report.
func Watchdog(ctx context.Context, alive func(context.Context) error, report func(error)) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("watchdog of systemd: %w", err)
	}
	if interval == 0 {
		return nil
	}
	watch(ctx, interval/2, alive, func() error { return notify(daemon.SdNotifyWatchdog, "") }, report)
	return nil
}

func watch(ctx context.Context, every time.Duration, alive func(context.Context) error, ping func() error, report func(error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := alive(ctx)
		if err == nil {
			err = ping()
		}
		if err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
