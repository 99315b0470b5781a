package siptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a running peer. It ends with the test at the latest, and with the
// test program whatever happens to that.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // valid once done is closed
}

// stopPatience is how long a peer may take to end when asked to.
const stopPatience = 5 * time.Second

// Start runs a program, by its name or path, in a namespace (nil: this one). What
// it prints goes to a file in dir, which Log reads.
func Start(t testing.TB, ns *Namespace, dir, name string, args ...string) *Process {
	t.Helper()
	path := Need(t, name)[0]
	if ns != nil {
		args = append(ns.enter(path), args...)
		path = Need(t, "nsenter")[0]
	}
	p := &Process{name: name, log: filepath.Join(dir, filepath.Base(name)+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	err = Tie(p.cmd, func(err error) {
		p.err = err
		_ = out.Close()
		close(p.done)
	})
	if err != nil {
		_ = out.Close()
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Tie starts a program in a process group of its own that is told to end
// (SIGTERM) when this process ends, however that happens: a test run that is
// killed or times out leaves nobody behind. ended is called when the program has
// ended, with what exec.Cmd.Wait returned.
func Tie(cmd *exec.Cmd, ended func(error)) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGTERM
	started := make(chan error, 1)
	go func() {
		// The kernel sends the signal when the thread that started the program
		// ends (prctl(2)), so this goroutine keeps its thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended(cmd.Wait())
		}
	}()
	return <-started
}

// Signal sends a signal to the program.
func (p *Process) Signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// Stop ends the program, gently first, and waits for it.
func (p *Process) Stop() {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
}

// Wait waits for the program to end by itself and returns its exit status.
func (p *Process) Wait(ctx context.Context) (status int, err error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.Stop()
		return -1, fmt.Errorf("%s did not end: %w\n%s", p.name, context.Cause(ctx), p.Log())
	}
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return 0, nil
	case errors.As(p.err, &exit):
		return exit.ExitCode(), nil
	}
	return -1, fmt.Errorf("%s: %w", p.name, p.err)
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is the program's process id (nsenter's successor in a namespace: it
// replaces itself by the program).
func (p *Process) PID() int { return p.cmd.Process.Pid }

// maxLog bounds what Log returns: the end is what matters.
const maxLog = 16 << 10

// Log is the end of what the program printed.
func (p *Process) Log() string { return tail(p.log) }

func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-maxLog), io.SeekStart)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxLog))
	if err != nil {
		return ""
	}
	return string(b)
}

// awaitPort waits until the program's network namespace has a socket bound to a
// port: peers do not say when they are ready.
func (p *Process) awaitPort(ctx context.Context, network string, port int) error {
	table := fmt.Sprintf("/proc/%d/net/%s", p.PID(), network)
	want := fmt.Sprintf(":%04X", port)
	for {
		b, err := os.ReadFile(table)
		if err == nil && boundTo(string(b), want) {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it listened on %s port %d:\n%s", p.name, network, port, p.Log())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s port %d: %w\n%s", p.name, network, port, context.Cause(ctx), p.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// boundTo looks for a port among the local addresses of /proc/net/udp or tcp:
// the second column of each line, of which only listeners matter for TCP.
func boundTo(table, port string) bool {
	for line := range strings.Lines(table) {
		_, local, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if addr, _, _ := strings.Cut(local, " "); ok && strings.HasSuffix(addr, port) {
			return true
		}
	}
	return false
}
