package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInitRefusesWhatCheckWould: flags that make no good configuration make no
// file either.
func TestInitRefusesWhatCheckWould(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"port of the authority": {[]string{"--authority", "sip.example.net:99999"}, "ript.authority"},
		"no host":               {[]string{"--authority", ":8443"}, "ript.authority"},
		"no port":               {[]string{"--authority", "sip.example.net"}, "--authority"},
		"address of SIP":        {[]string{"--authority", "sip.example.net:8443", "--sip", "x"}, "sip.listen"},
		"name of the node":      {[]string{"--authority", "sip.example.net:8443", "--node", "a b: {"}, "node"},
		"number":                {[]string{"--authority", "sip.example.net:8443", "--number", "abc"}, "--number"},
		"open block":            {[]string{"--authority", "sip.example.net:8443", "--number", "+1*"}, "+1*"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "box")
			app := newApp()
			app.Writer, app.ErrWriter = io.Discard, io.Discard
			err := app.Run(append(append([]string{"riptide", "init"}, c.args...), dir))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %s", err, c.want)
			}
			if files, _ := os.ReadDir(dir); len(files) > 0 {
				t.Errorf("%d files were left", len(files))
			}
		})
	}
}

// TestInitIPv6: an authority in brackets is one like any other.
func TestInitIPv6(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "co: lon #x")
	app := newApp()
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	if err := app.Run([]string{"riptide", "init", "--authority", "[::1]:8443", dir}); err != nil {
		t.Fatal(err)
	}
	if err := app.Run([]string{"riptide", "check", "-c", filepath.Join(dir, "riptide.yaml")}); err != nil {
		t.Error(err)
	}
}
