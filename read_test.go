package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Ctrl-C ends a command that waits for a configuration which nobody writes.
func TestInterruptedWhileReading(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "riptide.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "serve", "drain", "reload", "migrate"} {
		ctx, cancel := context.WithCancel(t.Context())
		app := newApp()
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		done := make(chan error, 1)
		go func() { done <- app.RunContext(ctx, []string{"riptide", command, "-c", pipe}) }()
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", command, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s does not end", command)
		}
	}
}

// Who has to drain a box must not have to mend its configuration first.
func TestOrdersWithABrokenConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "riptide.yaml")
	if err := os.WriteFile(path, []byte("state: "+dir+"\nsip: {listen: nonsense}\ncolour: green\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"drain", "reload", "migrate"} {
		app := newApp()
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		if err := app.Run([]string{"riptide", command, "-c", path}); err == nil || !strings.Contains(err.Error(), "no riptide serve is running") {
			t.Errorf("%s: %v", command, err)
		}
	}
}
