package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoginFile(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		content string
		mode    os.FileMode
		want    string // part of the problem; "" = the password is good
	}{
		{"hunter2\n", 0o600, ""},
		{"pass word\r\n", 0o640, ""},
		{"hunter2\n", 0o604, "every user"},
		{"\n", 0o600, "empty"},
		{"one\ntwo\n", 0o600, "not one password"},
		{strings.Repeat("x", maxPassword+1), 0o600, "not one password"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "riptide.yaml")
		write := func(name, content string, mode os.FileMode) {
			if err := os.WriteFile(name, []byte(content), mode); err != nil {
				t.Fatal(err)
			}
		}
		write(filepath.Join(dir, "password"), tc.content, tc.mode)
		write(file, "trunks: {carrier: {sip: {peer: 192.0.2.1, login: {user: alice, password: password}}}}", 0o644)
		c, err := Load(file)
		if tc.want != "" {
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: %v, want %q", tc.content, err, tc.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tc.content, err)
			continue
		}
		if l := c.Trunks[0].SIP.Login; l.Secret.Reveal() != strings.TrimRight(tc.content, "\r\n") || strings.Contains(fmt.Sprintf("%+v", l), "hunter2") {
			t.Errorf("%q: %+v", tc.content, l)
		}
	}
}
