package ops

import (
	"bytes"
	"slices"
	"strings"
)

// masked stands for each byte of a secret: the message keeps its length, and so
// what its Content-Length says stays true.
const masked = 'x'

// redactSIP takes the secrets out of a SIP message, in place: what proves who
// somebody is (RFC 3261 section 22, RFC 8898), and keys of SRTP (RFC 4568). It
// looks at every line, of header fields and of bodies alike, so that nothing
// hides in a body of several parts or behind an end of the head that we and the
// peer see differently.
func redactSIP(msg []byte) {
	inCredentials := false
	for len(msg) > 0 {
		end := bytes.IndexAny(msg, "\r\n")
		if end < 0 {
			end = len(msg)
		}
		line := msg[:end]
		switch {
		case len(line) == 0:
			// Between CR and LF; a header field may go on behind it.
		case inCredentials && (line[0] == ' ' || line[0] == '\t'):
			redactParams(line) // a folded line (RFC 3261 section 7.3.1)
		default:
			inCredentials = redactLine(line)
		}
		msg = msg[min(end+1, len(msg)):]
	}
}

// redactLine masks what is secret in a line, and tells whether it is a header
// field of credentials.
func redactLine(line []byte) bool {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if ok && isCredentials(bytes.TrimSpace(name)) {
		scheme, rest, _ := bytes.Cut(bytes.TrimLeft(value, " \t"), []byte(" "))
		if !bytes.EqualFold(scheme, []byte("Digest")) {
			mask(rest)
			return true
		}
		redactParams(rest)
		return true
	}
	lower := bytes.ToLower(line[:min(len(line), len("a=key-mgmt:"))])
	switch {
	case bytes.HasPrefix(lower, []byte("a=crypto:")):
		redactCrypto(line)
	case bytes.HasPrefix(lower, []byte("a=key-mgmt:")):
		mask(line[len("a=key-mgmt:"):])
	case bytes.HasPrefix(lower, []byte("k=")):
		mask(line[len("k="):])
	}
	return false
}

func isCredentials(name []byte) bool {
	return bytes.EqualFold(name, []byte("Authorization")) || bytes.EqualFold(name, []byte("Proxy-Authorization"))
}

// shownParams are the parameters of a digest from which nobody can guess the
// password.
var shownParams = []string{"username", "realm", "uri", "algorithm", "qop", "nc", "opaque", "nonce"}

// redactParams masks all parameters of credentials but those that are known to
// give nothing away.
func redactParams(b []byte) {
	for len(b) > 0 {
		end := endOfParam(b)
		name, value, ok := bytes.Cut(b[:end], []byte("="))
		switch {
		case !ok && len(bytes.TrimSpace(b[:end])) > 0:
			mask(b[:end])
		case ok && !slices.Contains(shownParams, strings.ToLower(string(bytes.TrimSpace(name)))):
			mask(value)
		}
		b = b[min(end+1, len(b)):]
	}
}

// endOfParam finds the comma behind a parameter, whose value may be quoted.
func endOfParam(b []byte) int {
	quoted := false
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\' && quoted:
			i++
		case b[i] == '"':
			quoted = !quoted
		case b[i] == ',' && !quoted:
			return i
		}
	}
	return len(b)
}

// redactCrypto masks the keys in "a=crypto:1 SUITE inline:KEY|...".
func redactCrypto(line []byte) {
	_, rest, _ := bytes.Cut(line[len("a=crypto:"):], []byte(" "))
	_, keys, _ := bytes.Cut(bytes.TrimLeft(rest, " \t"), []byte(" "))
	keys = bytes.TrimLeft(keys, " \t")
	const method = "inline:"
	if len(keys) >= len(method) && strings.EqualFold(string(keys[:len(method)]), method) {
		keys = keys[len(method):]
	}
	mask(keys)
}

// mask leaves quotes and blanks, so that it still reads as what it was.
func mask(b []byte) {
	for i, c := range b {
		if c != ' ' && c != '\t' && c != '"' {
			b[i] = masked
		}
	}
}
