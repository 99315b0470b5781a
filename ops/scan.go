package ops

import (
	"bytes"
	"strings"
)

// maxScanned bounds how much of a message is looked at for what a trace goes by.
const maxScanned = 16 << 10

// scanned is what a trace goes by.
type scanned struct {
	callID string
	users  []string // the numbers and names that the message is about
}

// scan finds it in a SIP message, which may be anything.
func scan(msg []byte) scanned {
	var s scanned
	msg = msg[:min(len(msg), maxScanned)]
	for first := true; len(msg) > 0; first = false {
		var line []byte
		line, msg, _ = bytes.Cut(msg, []byte("\n"))
		line = bytes.TrimRight(line, "\r")
		if len(line) == 0 {
			return s
		}
		if first {
			if !bytes.HasPrefix(line, []byte("SIP/")) {
				s.users = appendUser(s.users, line)
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "call-id", "i":
			if s.callID == "" {
				s.callID = string(bytes.TrimSpace(value))
			}
		case "from", "f", "to", "t", "p-asserted-identity":
			s.users = appendUser(s.users, value)
		}
	}
	return s
}

// appendUser adds the user of the first URI in b.
func appendUser(users []string, b []byte) []string {
	for _, scheme := range []string{"sip:", "sips:", "tel:"} {
		i := bytes.Index(b, []byte(scheme))
		if i < 0 {
			continue
		}
		rest := b[i+len(scheme):]
		if end := bytes.IndexAny(rest, "@;>? \t,"); end >= 0 {
			if scheme != "tel:" && rest[end] != '@' && rest[end] != ';' {
				continue // a host alone
			}
			rest = rest[:end]
		}
		return append(users, string(rest))
	}
	return users
}

// leastDigits is what a number needs to be found as the end of another.
const leastDigits = 6

// sameNumber tells whether two ways to write a number may mean the same one: with
// and without the prefixes of a country or a PBX.
func sameNumber(a, b string) bool {
	if strings.EqualFold(a, b) {
		return a != ""
	}
	a, b = digitsOf(a), digitsOf(b)
	if len(a) > len(b) {
		a, b = b, a
	}
	return len(a) >= leastDigits && strings.HasSuffix(b, a)
}

// digitsOf is a number without what is written for the eye (RFC 3966 section 3),
// "" of what is no number.
func digitsOf(s string) string {
	var out []byte
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			out = append(out, c)
		case strings.IndexByte("+-.() ", c) < 0:
			return ""
		}
	}
	return string(out)
}
