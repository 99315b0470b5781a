package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// demoProcess is a child of the demo: a riptide, or a balancer. It ends when the
// parent does, however that happens.
type demoProcess struct {
	name   string
	log    string // path of what it prints
	cmd    *exec.Cmd
	exited chan struct{} // closed when the child is gone; then err is set
	err    error
}

// demoStop is how long a child may take to end.
const demoStop = 15 * time.Second

// startProcess starts a child, which prints to the file log. ended, unless it is
// nil, is called when it is gone.
func startProcess(name, log string, cmd *exec.Cmd, ended func()) (*demoProcess, error) {
	p := &demoProcess{name: name, log: log, cmd: cmd, exited: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(started, ended)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run owns the child from start to end. The kernel sends Pdeathsig when the
// thread that started the child ends (prctl(2)), so this goroutine keeps its
// thread.
func (p *demoProcess) run(started chan<- error, ended func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.exited)
	if ended != nil {
		defer ended()
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		started <- err
		return
	}
	defer func() { _ = out.Close() }()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGINT, // nobody follows it
		Setpgid:   true,           // a Ctrl-C is for the parent, which then ends the children in order
	}
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	p.err = p.cmd.Wait()
}

// stop ends the child and its calls, gracefully if it can.
func (p *demoProcess) stop() { p.end(os.Interrupt) }

// leave is what systemctl restart does first: its calls are left to the process
// that follows.
func (p *demoProcess) leave() { p.end(syscall.SIGTERM) }

func (p *demoProcess) end(how os.Signal) {
	_ = p.cmd.Process.Signal(how) // fails only if it has ended
	select {
	case <-p.exited:
	case <-time.After(demoStop):
		p.kill()
	}
}

// kill is what kill -9 does, to children that it has too.
func (p *demoProcess) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // fails only if it has ended
	<-p.exited
}

// logLine is what a line of lastLog may have.
const logLine = 400

// lastLog is the end of what the child printed, for error messages.
func (p *demoProcess) lastLog() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	for i, l := range lines {
		lines[i] = l[:min(len(l), logLine)]
	}
	return "  " + strings.Join(lines, "\n  ")
}

// cutOffs counts in a node's log how often it heard no majority of its cluster
// while it was up. On its way out it lets go of its lease itself.
func cutOffs(log string) (n int) {
	up := false
	for line := range strings.Lines(log) {
		switch {
		case strings.Contains(line, `msg="riptide is up`):
			up = true
		case strings.Contains(line, "msg=stopping"), strings.Contains(line, `msg="stopping`):
			up = false
		case up && strings.Contains(line, `msg="cluster lease"`) && strings.Contains(line, "held=false"):
			n++
		}
	}
	return n
}
