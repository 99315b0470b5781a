package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"riptide/h3/conform"
)

// runConformCommand runs the command as an operator does.
func runConformCommand(t *testing.T, args ...string) (stdout, stderr string, exit int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), riptide(t), append([]string{"conform"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestConformSelf judges the program itself, over SIP telephones, by a few
// requirements of each kind: all of them are judged in package h3, and by make
// conform.
func TestConformSelf(t *testing.T) {
	t.Parallel()
	out, errs, exit := runConformCommand(t, "--self", "--quiet", "--only", "1,2,7,27,47,54,64,66", "--only", "72,84", "--time", "3m")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if last := lines[len(lines)-1]; exit != 0 || !strings.HasSuffix(last, " passed, 0 failed, 0 skipped") || strings.HasPrefix(last, "0 ") {
		t.Errorf("exit %d\n%s%s", exit, out, errs)
	}
	for _, want := range []string{"== the server", "== the client", "== both", "pass 47 "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestConformFindsFault: a server that does not know who asks fails, in the text
// and in JSON.
func TestConformFindsFault(t *testing.T) {
	t.Parallel()
	p := startPair(t, pairOptions{})
	args := []string{
		"--roots", filepath.Join(p.dir, "telco", "ca.crt"), "--client", "stranger",
		"--key", filepath.Join(p.dir, "office", "client.key"), "--only", "45", "--quiet", p.telco.ript,
	}
	out, errs, exit := runConformCommand(t, args...)
	if exit != 1 || !strings.Contains(out, "FAIL 45 ") || !strings.HasSuffix(strings.TrimSpace(out), "0 skipped") {
		t.Errorf("exit %d\n%s%s", exit, out, errs)
	}
	out, errs, exit = runConformCommand(t, append([]string{"--json"}, args...)...)
	var report conform.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || exit != 1 || report.Failed == 0 || len(report.Results) == 0 {
		t.Errorf("exit %d, %v\n%s%s", exit, err, out, errs)
	}
}

// TestConformMistakes are told in words that help, with exit status 2: nothing
// was judged.
func TestConformMistakes(t *testing.T) {
	t.Parallel()
	nothing := filepath.Join(t.TempDir(), "nothing")
	if err := os.WriteFile(nothing, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"flags behind":    {[]string{"https://a.example", "--json"}, "write flags first"},
		"nothing":         {nil, "--listen ADDR"},
		"two things":      {[]string{"--self", "https://a.example"}, "one thing at a time"},
		"no client":       {[]string{"https://a.example"}, "--client and --key"},
		"a path":          {[]string{"--client", "a", "https://a.example/b"}, "has a path"},
		"no key in it":    {[]string{"--client", "a", "--key", nothing, "https://a.example"}, "--key"},
		"no roots in it":  {[]string{"--roots", nothing, "https://a.example"}, "holds no certificate"},
		"no requirement":  {[]string{"--listen", "127.0.0.1:0", "--only", "999"}, "--list"},
		"half identity":   {[]string{"--identity-key", nothing, "https://a.example"}, "--x5u"},
		"no number":       {[]string{"--token", nothing, "--to", "12", "https://a.example"}, "--to"},
		"nobody there":    {[]string{"--token", nothing, "https://127.0.0.1:1"}, "not reachable"},
		"no such address": {[]string{"--listen", "203.0.113.1:1"}, "listen on 203.0.113.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, errs, exit := runConformCommand(t, tc.args...)
			if exit != 2 || !strings.Contains(errs, tc.want) {
				t.Errorf("exit %d, %q; want 2 and %q", exit, errs, tc.want)
			}
		})
	}
	out, _, exit := runConformCommand(t, "--list")
	if n := strings.Count(out, "\n"); exit != 0 || n != len(conform.Requirements()) {
		t.Errorf("exit %d, %d lines", exit, n)
	}
}
