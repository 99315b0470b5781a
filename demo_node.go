package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// demoNode is one riptide of the demo, a child process that serves.
type demoNode struct {
	name   string
	config string // path
	log    string // path of what it prints
	notify string // path of the socket on which it says READY=1, as to systemd
	ready  *net.UnixConn
	cmd    *exec.Cmd
	exited chan struct{} // closed when the child is gone; then err is set
	err    error
}

// Time limits for a child: cold starts on a busy machine take a second or two.
const (
	demoStart = 30 * time.Second
	demoStop  = 15 * time.Second
)

// startNode starts `riptide serve` and returns when it is ready. The child ends
// when the parent does, however that happens.
func startNode(ctx context.Context, dir, name string) (*demoNode, error) {
	n := &demoNode{
		name:   name,
		config: filepath.Join(dir, "riptide.yaml"),
		log:    filepath.Join(dir, name+".log"),
		notify: filepath.Join(dir, "notify"),
		exited: make(chan struct{}),
	}
	_ = os.Remove(n.notify) // of the process before
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.notify, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen for %s to become ready: %w", name, err)
	}
	n.ready = conn
	started := make(chan error, 1)
	go n.run(started)
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), conn.Close())
	}
	if err := n.waitReady(ctx); err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

// run owns the child from start to end. The kernel sends Pdeathsig when the
// thread that started the child ends (prctl(2)), so this goroutine keeps its
// thread.
func (n *demoNode) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(n.exited)
	defer func() { _ = n.ready.Close() }()
	exe, err := os.Executable()
	if err != nil {
		started <- err
		return
	}
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		started <- err
		return
	}
	defer func() { _ = out.Close() }()
	n.cmd = exec.Command(exe, "serve", "-c", n.config)
	n.cmd.Stdout, n.cmd.Stderr = out, out
	n.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+n.notify)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGINT, // nobody follows it
		Setpgid:   true,           // a Ctrl-C is for the parent, which then ends the children in order
	}
	if err := n.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	n.err = n.cmd.Wait()
}

func (n *demoNode) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoStart)
	defer cancel()
	isReady := make(chan struct{})
	go func() {
		buf := make([]byte, 4096)
		for {
			k, err := n.ready.Read(buf)
			if err != nil {
				return // closed with the child
			}
			if bytes.Contains(buf[:k], []byte("READY=1")) {
				close(isReady)
				return
			}
		}
	}()
	select {
	case <-isReady:
		return nil
	case <-n.exited:
		return fmt.Errorf("%s ended before it was ready: %v\n%s", n.name, n.err, n.lastLog())
	case <-ctx.Done():
		return fmt.Errorf("%s was not ready within %v:\n%s", n.name, demoStart, n.lastLog())
	}
}

// stop ends the child and its calls, gracefully if it can.
func (n *demoNode) stop() {
	_ = n.cmd.Process.Signal(os.Interrupt) // fails only if it has ended
	select {
	case <-n.exited:
	case <-time.After(demoStop):
		_ = n.cmd.Process.Kill()
		<-n.exited
	}
}

// kill is what kill -9 does.
func (n *demoNode) kill() {
	_ = n.cmd.Process.Kill() // fails only if it has ended
	<-n.exited
}

// leave is what systemctl restart does first: its calls are left to the process
// that follows.
func (n *demoNode) leave() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-n.exited:
	case <-time.After(demoStop):
		n.kill()
	}
}

// lastLog is the end of what the child printed, for error messages.
func (n *demoNode) lastLog() string {
	b, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	return "  " + strings.Join(lines, "\n  ")
}

// waitTrunks waits until the node is peered: it has discovered the other's TG,
// has a token, a handler and a certificate for its callers.
func (n *demoNode) waitTrunks(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, demoStart)
	defer cancel()
	why := "no answer from its admin server"
	for {
		ready, text := askReady(ctx, admin)
		if ready {
			return nil
		}
		if text != "" {
			why = text
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-n.exited:
			return fmt.Errorf("%s ended: %v\n%s", n.name, n.err, n.lastLog())
		case <-ctx.Done():
			return fmt.Errorf("%s was not peered within %v: %s\n%s", n.name, demoStart, why, n.lastLog())
		}
	}
}

// askReady asks a node's /readyz.
func askReady(ctx context.Context, admin string) (ready bool, text string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return false, err.Error()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, ""
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return false, err.Error()
	}
	return res.StatusCode == http.StatusOK, strings.TrimSpace(string(b))
}
