package configs

import (
	"strings"
	"testing"
)

func TestParseUsers(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"alice:secret\n# a comment\n\nbob:pass:word with spaces\r\n": "",
		"alice\n":                         "line 1",
		"alice:a\nalice:b\n":              "already",
		":x\n":                            "line 1",
		"alice:\n":                        "line 1",
		"# nobody\n":                      "names no user",
		"":                                "names no user",
		strings.Repeat("x", 70<<10):       "names no user",
		"alice:a\x00b\n":                  "line 1",
		strings.Repeat("a", 300) + ":x\n": "line 1",
	} {
		users, err := parseUsers([]byte(in))
		switch {
		case want == "" && (err != nil || users["alice"] != "secret" || users["bob"] != "pass:word with spaces"):
			t.Errorf("%.40q: %v, %v", in, users, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%.40q: %v, want %q", in, err, want)
		}
	}
}

func FuzzParseUsers(f *testing.F) {
	f.Add([]byte("alice:secret\nbob:x\n#\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if users, err := parseUsers(b); err == nil && len(users) == 0 {
			t.Error("no users and no error")
		}
	})
}
