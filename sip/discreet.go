package sip

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// discreet takes out of a text what the peer of a trunk is not to be told: what
// went wrong on one trunk is said on another, and must not tell who is there. The
// log has it all.
func discreet(text, trunk string) string {
	if !strings.ContainsAny(text, ".:/\"") && !strings.Contains(text, "lookup ") {
		return text
	}
	text = otherTrunks.ReplaceAllStringFunc(text, func(name string) string {
		if name == fmt.Sprintf("trunk %q", trunk) {
			return name
		}
		return "the other trunk"
	})
	text = urls.ReplaceAllString(withoutAddresses(text), "(address)")
	text = lookups.ReplaceAllString(text, "$1 (name)")
	text = lookedUp.ReplaceAllString(text, "lookup (name)")
	text = files.ReplaceAllString(text, "$1(file)")
	text = dotted.ReplaceAllStringFunc(text, func(name string) string { return discreetName(name, trunk) })
	return ports.ReplaceAllString(text, "(address)")
}

// What may tell too much, as our texts and those of libraries have it.
var (
	otherTrunks = regexp.MustCompile(`trunk "[^"]*"`)
	urls        = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>()]*[^\s"'<>().,:;]`)
	lookups     = regexp.MustCompile(`\b(lookup|resolve|peer|name|host|node|of) "[^"]*"`)
	lookedUp    = regexp.MustCompile(`\blookup [^\s:"(]+`)
	files       = regexp.MustCompile(`(^|[\s"'(])/[^\s"'():]+`)
	ports       = regexp.MustCompile(`\b[A-Za-z][A-Za-z0-9-]*:[0-9]{4,5}\b`)
	dotted      = regexp.MustCompile(`[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+`)

	// keys are those of the configuration that tell nothing of another trunk.
	keys = regexp.MustCompile(`^(?:sip\.(?:media|tls|listen|advertise|dns|srtp|srtp-keys|transport|peer|timer|dtmf|login|accept|identity|rate|match|number|numbers|register)` +
		`|ript\.(?:key|tls|listen|authority|token-key|e2e-keys)|identity\.(?:ca|roots)|limits\.calls|trunks\.NAME)(?:\.[a-z-]+)*$`)
)

// discreetName is what is said instead of a word with dots: a host's name, a key
// of the configuration or, which tells nothing, a number of several parts.
func discreetName(name, trunk string) string {
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case name == trunk, name == "trunks."+trunk, strings.HasPrefix(name, "trunks."+trunk+"."), keys.MatchString(name):
		return name
	case strings.HasPrefix(name, "trunks."):
		return "(key)"
	case len(last) < 2 || strings.ContainsAny(last[:1], "0123456789-"):
		return name
	}
	return "(name)"
}

func withoutAddresses(text string) string {
	if !strings.ContainsAny(text, "0123456789:") {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		n := strings.IndexFunc(text, inAddress)
		if n < 0 {
			break
		}
		b.WriteString(text[:n])
		text = text[n:]
		if n = strings.IndexFunc(text, func(c rune) bool { return !inAddress(c) }); n < 0 {
			n = len(text)
		}
		word := text[:n]
		text = text[n:]
		bare := strings.TrimRight(word, ".:") // the end of a sentence, or what follows
		if isAddress(bare) {
			b.WriteString("(address)" + word[len(bare):])
		} else {
			b.WriteString(word)
		}
	}
	b.WriteString(text)
	return b.String()
}

// inAddress tells characters of addresses with ports, of both families.
func inAddress(c rune) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || strings.ContainsRune(".:[]", c)
}

// isAddress tells an address, with or without a port or brackets.
func isAddress(s string) bool {
	if _, err := netip.ParseAddrPort(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return err == nil && len(s) > 2
}
