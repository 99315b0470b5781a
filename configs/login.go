package configs

import (
	"fmt"
	"strings"
)

// Login is how we say who we are at a SIP peer that asks (digest).
type Login struct {
	User     string `yaml:"user"`
	Password File   `yaml:"password"` // holds the password, and perhaps a line's end
	Realm    string `yaml:"realm"`    // answer for this realm only; "" = for whichever the peer names

	Secret Secret[string] // loaded from Password by Load
}

// maxPassword bounds passwords and user names of digest.
const maxPassword = 256

func (d *decoder) checkLogin(key string, l *Login) {
	if l == nil {
		return
	}
	if l.User == "" && !d.has(key+".user") {
		d.problem(key, "user is missing", "add user: the name that the peer knows us by")
	}
	if l.Password == "" && !d.has(key+".password") {
		d.problem(key, "password is missing", "add password: the file that holds it; it never stands in this file")
	}
	if !isPrintable(l.User) || !isPrintable(l.Realm) {
		d.problem(key, "user or realm holds something that cannot be sent", fmt.Sprintf("write up to %d printable characters", maxPassword))
	}
}

func isPrintable(s string) bool {
	return len(s) <= maxPassword && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// loadPassword reads a file of one line.
func (d *decoder) loadPassword(key string, name File) Secret[string] {
	b := d.read(key, name, true)
	if b == nil {
		return Secret[string]{}
	}
	s := strings.TrimRight(string(b), "\r\n")
	switch {
	case s == "":
		d.problem(key, "the file is empty", "write the password into it, as one line")
	case !isPrintable(s):
		d.problem(key, "the file holds something that is not one password", fmt.Sprintf("write one line of up to %d printable characters", maxPassword))
	}
	return NewSecret(s)
}

// loadSIPTrunk reads the files that a SIP trunk names.
func (d *decoder) loadSIPTrunk(key string, s *SIPTrunk) {
	if s.Login != nil && s.Login.Password != "" {
		s.Login.Secret = d.loadPassword(key+".login.password", s.Login.Password)
	}
	if s.Accept != nil && s.Accept.Users != "" {
		s.Accept.Passwords = d.loadUsers(key+".accept.users", s.Accept.Users)
	}
}
