package sip

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// discreet takes out of a text what the peer of a trunk is not to be told: what
// went wrong on one trunk is said on another, and must not tell who is there.
func discreet(text, trunk string) string {
	return withoutAddresses(otherTrunks.ReplaceAllStringFunc(text, func(name string) string {
		if name == fmt.Sprintf("trunk %q", trunk) {
			return name
		}
		return "the other trunk"
	}))
}

// otherTrunks finds the names of trunks as our texts have them.
var otherTrunks = regexp.MustCompile(`trunk "[^"]*"`)

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
