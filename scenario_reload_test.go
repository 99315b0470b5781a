package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"riptide/configs/setup"
	"riptide/sip/siptest"
)

// rewrite changes the configuration of a node that runs.
func (n node) rewrite(t *testing.T, old, by string) {
	t.Helper()
	file := filepath.Join(n.dir, setup.ConfigFile)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(replace(t, string(b), old, by)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload runs the command.
func (n node) reload(t *testing.T) (output string, status int) {
	t.Helper()
	cmd := exec.Command(riptide(t), "reload", "-c", filepath.Join(n.dir, setup.ConfigFile))
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// hangUp sends the process SIGHUP. The lock of its store says which it is.
func (n node) hangUp(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "state", "store", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// TestReload: what may change while calls run does, by SIGHUP and by command, and
// the call there is goes on; what may not, and what is wrong, changes nothing and
// is said.
func TestReload(t *testing.T) {
	t.Parallel()
	s := startSBC(t)
	callee := siptest.Sipp{Scenario: siptest.UAS, Script: siptest.Script{RingMS: 20}, Netns: s.carrier, Port: 5060, Calls: 2, Timeout: 2 * time.Minute}.Start(t)
	caller := siptest.Sipp{
		Scenario: siptest.UAC, Script: siptest.Script{From: officeNumber, HoldMS: 20_000},
		Netns: s.pbx, Port: 5070, Remote: s.inside, Service: outsideNumber, Timeout: 2 * time.Minute,
	}.Start(t)
	s.node.awaitCalls(t, 1)
	refused := func(status int) {
		t.Helper()
		s.call(t, siptest.UACRefused, siptest.Script{Status: status}, 1)
	}

	s.node.rewrite(t, "trunks:\n", "limits: {calls: 1}\ntrunks:\n")
	s.node.hangUp(t)
	s.node.awaitLog(t, "configuration reloaded")
	refused(503)

	s.node.rewrite(t, "limits: {calls: 1}", "log: {level: debug}\nlimits: {calls: 9}")
	s.node.rewrite(t, `{from: pbx, to: "+*", trunk: carrier}`, `{from: pbx, to: "+44*", trunk: carrier}`)
	if out, status := s.node.reload(t); status != 0 || out != "changed: limits.calls, log.level, routes\n" {
		t.Errorf("status %d, %q", status, out)
	}
	refused(404)
	if out, status := s.node.reload(t); status != 0 || out != "nothing has changed\n" {
		t.Errorf("status %d, %q", status, out)
	}

	// All or nothing: the route is good, and stays as it was.
	s.node.rewrite(t, `to: "+44*"`, `to: "+*"`)
	s.node.rewrite(t, "peer: 198.51.100.20:5060", "peer: 198.51.100.20:5061")
	if out, status := s.node.reload(t); status != 1 || !strings.Contains(out, "trunks.carrier.sip.peer") || !strings.Contains(out, "systemctl restart riptide") {
		t.Errorf("status %d, %q", status, out)
	}
	refused(404)
	s.node.rewrite(t, "peer: 198.51.100.20:5061", "peer: 198.51.100.20:5060\n      colour: green")
	if out, status := s.node.reload(t); status != 1 || !strings.Contains(out, "colour") {
		t.Errorf("status %d, %q", status, out)
	}
	s.node.hangUp(t)
	s.node.awaitLog(t, "the configuration stays as it was")
	refused(404)
	s.node.rewrite(t, "\n      colour: green", "")
	s.node.rewrite(t, "level: debug", "level: warn")
	if out, status := s.node.reload(t); status != 0 || out != "changed: log.level, routes\n" {
		t.Errorf("status %d, %q", status, out)
	}
	s.call(t, siptest.UAC, talks, 1)

	caller.Check(t, 1)
	callee.Check(t, 2)
	s.node.settle(t)
	if log := s.node.logText(t); strings.Count(log, `msg="call started"`) != 1 {
		t.Errorf("the last call is in the log, or the first is not:\n%s", log)
	}
}
