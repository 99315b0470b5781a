// Command riptide is a SIP/RTP interworking bridge: SIP trunks on one side,
// RIPT on HTTP/3 on the other. README.md says how to use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

// version is set at link time (-ldflags "-X main.version=...").
var version = "dev"

func main() {
	// A reader that goes away, of the log or of `riptide demo | head`, is no reason
	// to drop calls, or to leave keys in a temporary directory.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := untilSignal()
	defer stop()
	if err := newApp().RunContext(ctx, os.Args); err != nil {
		var exit cli.ExitCoder
		if !errors.As(err, &exit) {
			exit = cli.Exit(fmt.Sprintf("riptide: %v", err), 1)
		}
		if msg := exit.Error(); msg != "" {
			fmt.Fprintln(os.Stderr, msg)
		}
		os.Exit(exit.ExitCode())
	}
}

// errTerminated is the cause of a context that SIGTERM ended.
var errTerminated = errors.New("told to stop (SIGTERM)")

// untilSignal is a context that SIGINT or SIGTERM ends.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(done)
		select {
		case s := <-signals:
			why := context.Canceled
			if s == syscall.SIGTERM {
				why = errTerminated
			}
			cancel(why)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
		signal.Stop(signals)
	}
}

func newApp() *cli.App {
	return &cli.App{
		Name:                 "riptide",
		Usage:                "join SIP trunks and RIPT, the HTTP/3 way to make telephone calls",
		Version:              version,
		EnableBashCompletion: true,
		HideHelpCommand:      true,
		Suggest:              true,
		ExitErrHandler:       func(*cli.Context, error) {}, // main prints errors, once
		Commands: []*cli.Command{
			serveCommand(),
			checkCommand(),
			initCommand(),
			demoCommand(),
			reloadCommand(),
			drainCommand(),
			migrateCommand(),
			traceCommand(),
			conformCommand(),
		},
	}
}

// configFlag is how every command that needs a configuration is given one.
func configFlag() cli.Flag {
	return &cli.StringFlag{
		Name:    "config",
		Aliases: []string{"c"},
		Value:   "/etc/riptide/riptide.yaml",
		Usage:   "read the configuration from `FILE`",
		EnvVars: []string{"RIPTIDE_CONFIG"},
	}
}

// noArguments refuses what is left on the command line: a forgotten flag name
// would otherwise be ignored in silence.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%s takes no argument %q (see riptide %s --help)", c.Command.Name, c.Args().First(), c.Command.Name)
	}
	return nil
}
