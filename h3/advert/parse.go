package advert

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"riptide/bridge/format"
)

// ErrSyntax is wrapped by every error of ParseAdvert and ParseDirective. The
// message gives the offset at which reading stopped.
var ErrSyntax = errors.New("not a valid advertisement or directive")

// ParseAdvert reads a handler's advertisement.
func ParseAdvert(s string) (Advert, error) {
	var out Advert
	seen := map[lineKey]bool{}
	err := parseLines(s, func(p *parser) error {
		l := Line{}
		var err error
		if l.ID, err = p.id(); err != nil {
			return err
		}
		switch p.word() {
		case "in":
			l.In = true
		case "out":
		default:
			return p.fail(`want "in" or "out"`)
		}
		if key := (lineKey{l.ID, l.In}); seen[key] {
			return p.fail("the same source or sink twice")
		} else {
			seen[key] = true
		}
		l.Codecs, err = p.codecs()
		out = append(out, l)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("advertisement: %w", err)
	}
	return out, nil
}

// ParseDirective reads what one end is told to send.
func ParseDirective(s string) (Directive, error) {
	var out Directive
	seen := map[[2]uint8]bool{}
	err := parseLines(s, func(p *parser) error {
		st := Stream{}
		var err error
		if st.Source, err = p.id(); err != nil {
			return err
		}
		if p.word() != "to" {
			return p.fail(`want "to"`)
		}
		if st.Sink, err = p.id(); err != nil {
			return err
		}
		if key := [2]uint8{st.Source, st.Sink}; seen[key] {
			return p.fail("the same stream twice")
		} else {
			seen[key] = true
		}
		st.Codecs, err = p.codecs()
		out = append(out, st)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("directive: %w", err)
	}
	return out, nil
}

func parseLines(s string, line func(*parser) error) error {
	if len(s) > MaxBytes {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrSyntax, len(s), MaxBytes)
	}
	p := &parser{s: s}
	p.space()
	for n := 0; n == 0 || p.pos < len(s); n++ {
		if n == MaxLines {
			return p.fail(fmt.Sprintf("more than %d lines", MaxLines))
		}
		if err := line(p); err != nil {
			return err
		}
	}
	return nil
}

// parser reads tokens; white space after a token belongs to it.
type parser struct {
	s   string
	pos int
}

func (p *parser) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrSyntax, what, p.pos)
}

func (p *parser) space() {
	for p.pos < len(p.s) {
		switch p.s[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) peek() byte {
	if p.pos < len(p.s) {
		return p.s[p.pos]
	}
	return 0
}

func (p *parser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.pos++
	p.space()
	return true
}

// word reads a name in lower case; it is empty if none is there.
func (p *parser) word() string {
	start := p.pos
	for p.pos < len(p.s) {
		c := p.s[p.pos]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case p.pos > start && ('0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'):
		default:
			goto done
		}
		p.pos++
	}
done:
	w := strings.ToLower(p.s[start:p.pos])
	p.space()
	return w
}

// integer reads a decimal number with an optional sign.
func (p *parser) integer() (int64, error) {
	start := p.pos
	if c := p.peek(); c == '-' || c == '+' {
		p.pos++
	}
	for '0' <= p.peek() && p.peek() <= '9' {
		p.pos++
	}
	v, err := strconv.ParseInt(p.s[start:p.pos], 10, 64)
	if err != nil || v == math.MinInt64 {
		return 0, p.fail("want an integer of at most 63 bits")
	}
	p.space()
	return v, nil
}

func (p *parser) id() (uint8, error) {
	if c := p.peek(); c < '0' || c > '9' {
		return 0, p.fail("want the number of a source or sink")
	}
	v, err := p.integer()
	if err != nil {
		return 0, err
	}
	if v < 1 || v > math.MaxUint8 {
		return 0, p.fail("a source or sink is numbered 1 to 255")
	}
	return uint8(v), nil
}

// codecs reads ":" and one or more codecs, up to the next line's number or the end.
func (p *parser) codecs() ([]Codec, error) {
	if !p.take(':') {
		return nil, p.fail(`want ":"`)
	}
	var out []Codec
	for {
		c, err := p.codec()
		if err != nil {
			return nil, err
		}
		out = append(out, c)
		// A codec's name never starts with a digit, so one begins the next line.
		if n := p.peek(); n == 0 && p.pos == len(p.s) || '0' <= n && n <= '9' {
			return out, nil
		}
	}
}

func (p *parser) codec() (Codec, error) {
	name := p.word()
	if name == "" {
		return Codec{}, p.fail("want the name of a codec")
	}
	c := Codec{Name: format.Canonical(name)}
	for p.take(',') {
		param := Param{Name: p.word()}
		if param.Name == "" {
			return Codec{}, p.fail("want the name of a parameter")
		}
		if _, twice := c.param(param.Name); twice {
			return Codec{}, p.fail(fmt.Sprintf("parameter %q twice", param.Name))
		}
		if p.take('=') {
			v, err := p.integer()
			if err != nil {
				return Codec{}, err
			}
			param.Value, param.HasValue = v, true
		}
		c.Params = append(c.Params, param)
	}
	if !p.take(';') {
		return Codec{}, p.fail(`want ";" or ","`)
	}
	return c, nil
}

func (c Codec) param(name string) (Param, bool) {
	for _, p := range c.Params {
		if p.Name == name {
			return p, true
		}
	}
	return Param{}, false
}

// lineKey tells lines apart: sinks and sources are numbered separately.
type lineKey struct {
	id uint8
	in bool
}
