package configs

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"time"
)

// SIPAccept says who may speak on a SIP trunk by name and password, besides
// what its addresses say.
type SIPAccept struct {
	Users      File          `yaml:"users"` // lines of name:password
	Register   string        `yaml:"register" oneof:"refuse allow"`
	From       string        `yaml:"from" oneof:"match anywhere"`
	Algorithms []string      `yaml:"algorithms" oneof:"MD5 SHA-256 SHA-512-256"`
	MinExpires time.Duration `yaml:"min-expires"`
	MaxExpires time.Duration `yaml:"max-expires"`

	Passwords Secret[map[string]string] // by name; loaded from Users by Load
}

func (a *SIPAccept) fill() {
	if a == nil {
		return
	}
	if a.Register == "" {
		a.Register = "refuse"
	}
	if a.From == "" {
		a.From = "match"
	}
	if len(a.Algorithms) == 0 {
		a.Algorithms = []string{"SHA-256", "MD5"}
	}
	if a.MinExpires == 0 {
		a.MinExpires = time.Minute
	}
	if a.MaxExpires == 0 {
		a.MaxExpires = time.Hour
	}
}

// registers tells whether calls to the trunk go where its users registered.
func (s *SIPTrunk) registers() bool { return s.Accept != nil && s.Accept.Register == "allow" }

// Anywhere tells whether its users may come from any address.
func (s *SIPTrunk) Anywhere() bool { return s.Accept != nil && s.Accept.From == "anywhere" }

func (d *decoder) checkSIPAccept(key string, a *SIPAccept) {
	if a == nil {
		return
	}
	if a.Users == "" && !d.has(key+".users") {
		d.problem(key, "users is missing", "add users: a file with a line name:password for each who may speak there")
	}
	if a.MinExpires < time.Second || a.MaxExpires < a.MinExpires || a.MaxExpires > 24*time.Hour {
		d.problem(key, fmt.Sprintf("registrations of %v to %v", a.MinExpires, a.MaxExpires), "write min-expires of 1s or more, and max-expires not below it and not above 24h")
	}
}

// maxUsers bounds the users of one trunk.
const maxUsers = 10000

// parseUsers reads lines of name:password. Empty ones, and those that begin
// with #, are skipped.
func parseUsers(b []byte) (map[string]string, error) {
	const mend = "write one line name:password for each"
	users := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		name, password, ok := strings.Cut(line, ":")
		_, twice := users[name]
		switch {
		case !ok || name == "" || password == "" || !isPrintable(name) || !isPrintable(password):
			return nil, mistake(fmt.Sprintf("line %d is not name:password", n), mend)
		case twice:
			return nil, mistake(fmt.Sprintf("line %d: %q is there already", n, name), "keep one of the two")
		case len(users) == maxUsers:
			return nil, mistake(fmt.Sprintf("more than %d users", maxUsers), "make several trunks of it")
		}
		users[name] = password
	}
	if lines.Err() != nil || len(users) == 0 {
		return nil, mistake("the file names no user", mend)
	}
	return users, nil
}

func (d *decoder) loadUsers(key string, name File) Secret[map[string]string] {
	b := d.read(key, name, true)
	if b == nil {
		return Secret[map[string]string]{}
	}
	users, err := parseUsers(b)
	if err != nil {
		d.wrong(key, err)
	}
	return NewSecret(users)
}
