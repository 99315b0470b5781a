package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"riptide/configs"
)

// loadConfig reads the configuration that a command was given, with every file that
// it names.
func loadConfig(c *cli.Context) (*configs.Config, error) { return read(c, configs.Load) }

// stateOf is the state directory in which the process of a configuration takes
// orders. The rest of the file may be wrong: who wants to empty the box must not
// have to mend it first.
func stateOf(c *cli.Context) (string, error) { return read(c, configs.State) }

// read reads the file of a command unless that is interrupted: it may be a pipe
// that nobody writes to, and then the reader ends with the process.
func read[T any](c *cli.Context, from func(path string) (T, error)) (T, error) {
	var value T
	done := make(chan error, 1)
	go func() {
		v, err := from(c.String("config"))
		if err == nil {
			value = v
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return value, cli.Exit(err.Error(), exitConfig)
		}
		return value, nil
	case <-c.Context.Done():
		var none T
		return none, fmt.Errorf("interrupted while the configuration was being read: %w", context.Cause(c.Context))
	}
}
