package stir

import (
	"errors"
	"fmt"
	"strings"
)

// Identity is the value of a SIP Identity header field (RFC 8224 section 4).
type Identity struct {
	Passport string // full form, or ".." and a signature (compact form)
	Info     string // where the certificate is; equals x5u
	Alg      string // "" if absent
	PPT      string // "" if absent
}

// ErrIdentity is wrapped by every error of ParseIdentity and FormatIdentity.
var ErrIdentity = errors.New("not a usable Identity header field")

const (
	maxIdentity = 10 << 10 // a PASSporT, its URL once more, and parameters
	maxParams   = 16
)

// ParseIdentity reads one Identity header field value. ppt may be quoted, as
// RFC 8224 has it, or not, as several implementations write it. What the
// parameters say must be what the PASSporT says. The compact form is read, but
// Verify refuses it. Errors wrap ErrIdentity.
func ParseIdentity(s string) (Identity, error) {
	id, err := scanIdentity(s)
	if err == nil {
		err = id.check()
	}
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	return id, nil
}

// Compact tells whether header and payload were left out (RFC 8225 section 7).
func (id Identity) Compact() bool { return strings.HasPrefix(id.Passport, "..") }

func (id Identity) check() error {
	if id.Info == "" {
		return errors.New("no info parameter")
	}
	if id.Alg != "" && id.Alg != algES256 {
		return fmt.Errorf("alg is %.20q, want ES256", id.Alg)
	}
	p, err := ParsePassport(id.Passport)
	switch {
	case errors.Is(err, ErrCompact):
		return nil
	case err != nil:
		return err
	case p.Header.X5U != id.Info:
		return errors.New("info and x5u are not the same URL")
	case id.PPT != "" && id.PPT != p.Header.PPT:
		return fmt.Errorf("ppt is %.20q, the PASSporT says %.20q", id.PPT, p.Header.PPT)
	}
	return nil
}

// FormatIdentity writes the header field value for a PASSporT in full form.
func FormatIdentity(passport string) (string, error) {
	p, err := ParsePassport(passport)
	if err == nil {
		err = CheckURL(p.Header.X5U)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	value := passport + ";info=<" + p.Header.X5U + ">;alg=" + p.Header.Alg
	if p.Header.PPT != "" {
		value += `;ppt="` + p.Header.PPT + `"`
	}
	return value, nil
}

// scanIdentity reads the grammar of RFC 8224 section 4.1:
// token *( SEMI name EQUAL value ), where a value is <URI>, a quoted string or
// a token, with white space allowed around ; and =.
func scanIdentity(s string) (Identity, error) {
	if len(s) > maxIdentity {
		return Identity{}, fmt.Errorf("longer than %d bytes", maxIdentity)
	}
	var id Identity
	id.Passport, s = cutAny(strings.TrimLeft(s, " \t"), "; \t")
	for n := 0; ; n++ {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return id, nil
		}
		if s[0] != ';' {
			return Identity{}, errors.New("something other than a parameter behind the PASSporT")
		}
		if n == maxParams {
			return Identity{}, fmt.Errorf("more than %d parameters", maxParams)
		}
		var name, value string
		var err error
		if name, value, s, err = scanParam(s[1:]); err != nil {
			return Identity{}, err
		}
		if err := id.set(name, value); err != nil {
			return Identity{}, err
		}
	}
}

func (id *Identity) set(name, value string) error {
	var field *string
	switch strings.ToLower(name) {
	case "info":
		field = &id.Info
	case "alg":
		field = &id.Alg
	case "ppt":
		field = &id.PPT
	default:
		return nil // ident-info-extension: to be ignored
	}
	if *field != "" {
		return fmt.Errorf("parameter %s twice", strings.ToLower(name))
	}
	if value == "" {
		return fmt.Errorf("parameter %s without a value", strings.ToLower(name))
	}
	*field = value
	return nil
}

func scanParam(s string) (name, value, rest string, err error) {
	name, rest = cutAny(strings.TrimLeft(s, " \t"), "=; \t")
	rest = strings.TrimLeft(rest, " \t")
	if name == "" {
		return "", "", "", errors.New("parameter without a name")
	}
	if !strings.HasPrefix(rest, "=") {
		return name, "", rest, nil
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	var ok bool
	switch {
	case strings.HasPrefix(rest, "<"):
		value, rest, ok = strings.Cut(rest[1:], ">")
	case strings.HasPrefix(rest, `"`):
		value, rest, ok = strings.Cut(rest[1:], `"`)
	default:
		value, rest = cutAny(rest, "; \t")
		ok = true
	}
	if !ok {
		return "", "", "", fmt.Errorf("parameter %.20s does not end", name)
	}
	return name, value, rest, nil
}

// cutAny cuts before the first of the characters.
func cutAny(s, chars string) (before, rest string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}
