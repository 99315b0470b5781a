package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Number is a calling or called party in riptide's one internal form: an
// E.164 number with its leading plus ("+12025550123"), or a private number or
// address at a domain ("100@pbx.example"). The zero Number means "not known".
//
// E.164 numbers are never written in the second form (RIPT core, "Call
// Establishment": number@domain is for private numbers only).
type Number string

// Limits of the two forms. E.164 allows 15 digits; a national network adds
// nothing to that, so a longer string of digits is never a public number.
const (
	maxDigits  = 15
	minDigits  = 3
	maxAddress = 255
)

// ErrNumber is wrapped by every error of ParseNumber.
var ErrNumber = errors.New("not a telephone number or address")

// ParseNumber reads a party as it stands in configuration, JSON or a
// normalised SIP URI. Visual separators of RFC 3966 (- . ( ) and space) are
// dropped from numbers. Errors wrap ErrNumber and quote at most 64 bytes of
// the input.
func ParseNumber(s string) (Number, error) {
	if len(s) > maxAddress {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrNumber, maxAddress)
	}
	if user, domain, ok := strings.Cut(s, "@"); ok {
		return parseAddress(user, domain)
	}
	if !strings.HasPrefix(s, "+") {
		return "", fmt.Errorf("%w: %q has no leading + and no @domain", ErrNumber, clip(s))
	}
	digits := stripSeparators(s[1:])
	if len(digits) < minDigits || len(digits) > maxDigits {
		return "", fmt.Errorf("%w: %q has %d digits, want %d to %d", ErrNumber, clip(s), len(digits), minDigits, maxDigits)
	}
	if !allDigits(digits) {
		return "", fmt.Errorf("%w: %q holds something that is not a digit", ErrNumber, clip(s))
	}
	return Number("+" + digits), nil
}

func parseAddress(user, domain string) (Number, error) {
	if user == "" || domain == "" || strings.Contains(domain, "@") {
		return "", fmt.Errorf("%w: %q is not user@domain", ErrNumber, clip(user+"@"+domain))
	}
	// The leading plus is what tells a public number from an address: with one
	// in it, an address of any domain would pass for the number.
	if user[0] == '+' {
		return "", fmt.Errorf("%w: %q is a public number at a domain; write the number alone", ErrNumber, clip(user+"@"+domain))
	}
	if !utf8.ValidString(user) || strings.ContainsFunc(user, forbiddenInUser) {
		return "", fmt.Errorf("%w: the user of %q holds a forbidden character", ErrNumber, clip(user+"@"+domain))
	}
	if strings.ContainsFunc(domain, forbiddenInDomain) {
		return "", fmt.Errorf("%w: the domain of %q is not a host name or address", ErrNumber, clip(user+"@"+domain))
	}
	return Number(user + "@" + strings.ToLower(domain)), nil
}

// IsE164 tells a public number from a private one or an address.
func (n Number) IsE164() bool { return len(n) > 0 && n[0] == '+' }

// TN is the number as PASSporTs and certificates write it: canonical digits
// without the plus (RFC 8224 section 8.3). It is empty for addresses.
func (n Number) TN() string {
	if !n.IsE164() {
		return ""
	}
	return string(n[1:])
}

// User is the part a SIP URI carries before the @: "+12025550123" or the user
// of an address.
func (n Number) User() string {
	user, _, _ := strings.Cut(string(n), "@")
	return user
}

// Domain is the part behind the @ of an address, empty for E.164 numbers.
func (n Number) Domain() string {
	_, domain, _ := strings.Cut(string(n), "@")
	return domain
}

func (n Number) String() string { return string(n) }

func forbiddenInUser(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`<>"\;,`, r)
}

func forbiddenInDomain(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-._:[]", r)
}

func stripSeparators(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("-.() ", r) {
			return -1
		}
		return r
	}, s)
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
