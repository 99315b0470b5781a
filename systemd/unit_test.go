package systemd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"riptide/sip/siptest"
)

const unit = "riptide.service"

// analyze runs systemd-analyze, which works without a running systemd.
func analyze(t *testing.T, args ...string) (output string, status int) {
	t.Helper()
	cmd := exec.Command(siptest.Need(t, "systemd-analyze")[0], append([]string{"--no-pager"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_COLORS=0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// copyUnit writes the unit, with changes, where its binary and its manual are:
// verify looks whether they exist, and on the machine that tests they don't.
func copyUnit(t *testing.T, changes ...string) string {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "riptide")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer(append(changes, "/usr/bin/riptide", binary)...).Replace(string(text))
	path := filepath.Join(dir, unit)
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// verify returns what systemd-analyze has to say of our unit. It warns of other
// units of the host too, and returns 0 even for keys it does not know, so what
// counts is what it prints.
func verify(t *testing.T, path string) []string {
	t.Helper()
	out, _ := analyze(t, "verify", path)
	var ours []string
	for line := range strings.Lines(out) {
		if strings.Contains(line, "riptide") {
			ours = append(ours, strings.TrimSpace(line))
		}
	}
	return ours
}

func TestUnitVerifies(t *testing.T) {
	if warnings := verify(t, copyUnit(t)); len(warnings) > 0 {
		t.Errorf("%s", strings.Join(warnings, "\n"))
	}
	// And would it notice?
	for _, mistake := range [][2]string{
		{"WatchdogSec=30s", "WatchdogSeconds=30s"},
		{"Type=notify", "Type=notified"},
		{"TimeoutStopSec=45s", "TimeoutStopSec=soon"},
		{"@system-service", "@system-services"},
	} {
		if warnings := verify(t, copyUnit(t, mistake[0], mistake[1])); len(warnings) == 0 {
			t.Errorf("%s went unnoticed", mistake[1])
		}
	}
}

// TestUnitIsHardened: an exposure of at most 2.0 of 10.
func TestUnitIsHardened(t *testing.T) {
	out, status := analyze(t, "security", "--offline=true", "--threshold=20", copyUnit(t))
	if status != 0 || !strings.Contains(out, "Overall exposure level for "+unit) {
		t.Errorf("status %d\n%s", status, out)
	}
	if _, status := analyze(t, "security", "--offline=true", "--threshold=20", copyUnit(t, "ProtectSystem=strict\n", "", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n", "", "SystemCallFilter=", "#")); status == 0 {
		t.Error("a unit without hardening went unnoticed")
	}
}

// TestUnitAgreesWithTheCode: what the configuration and the store expect of the
// unit.
func TestUnitAgreesWithTheCode(t *testing.T) {
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Type=notify", "StateDirectory=riptide", "FileDescriptorStoreMax=64", "RestartPreventExitStatus=78", "ExecStart=/usr/bin/riptide serve -c /etc/riptide/riptide.yaml", "ExecReload=+/usr/bin/riptide reload -c /etc/riptide/riptide.yaml"} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("%s lacks %s", unit, line)
		}
	}
}
