package sdp

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Limits of what Parse takes.
const (
	MaxSize    = 64 << 10 // bytes of a description
	MaxLines   = 2000
	MaxLine    = 4096 // bytes of a line without its end
	MaxMedia   = 32   // m= sections
	MaxFormats = 128  // of one section
)

// Parse reads a session description. Errors name the line and what is wrong
// with it.
func Parse(b []byte) (Description, error) {
	if len(b) > MaxSize {
		return Description{}, fmt.Errorf("sdp: %d bytes, the limit is %d", len(b), MaxSize)
	}
	var p parser
	for n := 1; len(b) > 0; n++ {
		if n > MaxLines {
			return Description{}, fmt.Errorf("sdp: more than %d lines", MaxLines)
		}
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		if err := p.line(string(bytes.TrimSuffix(line, []byte{'\r'}))); err != nil {
			return Description{}, fmt.Errorf("sdp: line %d: %w", n, err)
		}
	}
	return p.finish()
}

// parser collects the lines of one description.
type parser struct {
	d           Description
	version     bool // v= seen
	origin      bool // o= seen
	direction   Direction
	ptime       time.Duration
	fingerprint Fingerprint
	setup       Setup
	attributes  []pending // of the section being read
}

// pending is an a= line that can only be judged when its section is complete,
// because nothing forces rtpmap, c= and rtcp lines into an order.
type pending struct{ name, value string }

func (p *parser) line(s string) error {
	if s == "" {
		return nil // blank lines at the end are common, harmless anywhere
	}
	if len(s) > MaxLine {
		return fmt.Errorf("%d bytes, the limit is %d", len(s), MaxLine)
	}
	if len(s) < 2 || s[1] != '=' {
		return fmt.Errorf("want <letter>=<value>, have %.20q", s)
	}
	if strings.ContainsAny(s, "\x00\r") {
		return fmt.Errorf("control character in %.20q", s)
	}
	kind, value := s[0], s[2:]
	if !p.version && kind != 'v' {
		return fmt.Errorf("a description begins with v=0, have %.20q", s)
	}
	switch kind {
	case 'v':
		return p.versionLine(value)
	case 'o':
		return p.originLine(value)
	case 'c':
		return p.connectionLine(value)
	case 'm':
		return p.mediaLine(value)
	case 'a':
		p.attributeLine(value)
	}
	return nil
}

func (p *parser) versionLine(value string) error {
	if p.version || strings.TrimSpace(value) != "0" {
		return fmt.Errorf("want one v=0, have v=%.20q", value)
	}
	p.version = true
	return nil
}

// originLine reads o=<user> <id> <version> IN IP4|IP6 <host>. A user name with
// spaces is wrong but seen: what counts is the last five fields.
func (p *parser) originLine(value string) error {
	f := strings.Fields(value)
	if p.origin || len(f) < 6 {
		return fmt.Errorf("want one o= with six fields, have o=%.60q", value)
	}
	f = append([]string{strings.Join(f[:len(f)-5], "_")}, f[len(f)-5:]...)
	if !digits(f[1]) || !digits(f[2]) {
		return fmt.Errorf("session id and version of o= are numbers, have %.40q %.40q", f[1], f[2])
	}
	host, err := hostOf(f[3:])
	if err != nil {
		return fmt.Errorf("o=: %w", err)
	}
	p.d.Origin = Origin{User: f[0], ID: f[1], Version: f[2], Host: host}
	p.origin = true
	return nil
}

func (p *parser) connectionLine(value string) error {
	host, err := hostOf(strings.Fields(value))
	if err != nil {
		return fmt.Errorf("c=: %w", err)
	}
	to := &p.d.Connection
	if m := p.section(); m != nil {
		to = &m.Connection
	}
	if *to == "" { // several c= lines are layered multicast (RFC 8866 section 5.7): the first is the base
		*to = host
	}
	return nil
}

// hostOf reads "IN IP4 <address>". A multicast TTL is cut off.
func hostOf(f []string) (Host, error) {
	if len(f) != 3 || !strings.EqualFold(f[0], "IN") {
		return "", fmt.Errorf("want IN IP4|IP6 <address>, have %.60q", strings.Join(f, " "))
	}
	v6 := strings.EqualFold(f[1], "IP6")
	if !v6 && !strings.EqualFold(f[1], "IP4") {
		return "", fmt.Errorf("want IN IP4|IP6 <address>, have %.60q", strings.Join(f, " "))
	}
	name, _, _ := strings.Cut(f[2], "/")
	if len(name) == 0 || len(name) > 255 {
		return "", fmt.Errorf("address of %d characters", len(name))
	}
	if a, err := netip.ParseAddr(name); err == nil {
		if a.Zone() != "" || a.Is4() && v6 || a.Is6() && !v6 {
			return "", fmt.Errorf("%q is no %s address", name, strings.ToUpper(f[1]))
		}
		return Host(a.String()), nil
	}
	for _, c := range []byte(name) {
		if !tokenByte(c) {
			return "", fmt.Errorf("%.60q is neither an address nor a domain name", name)
		}
	}
	return Host(strings.ToLower(name)), nil
}

// mediaLine reads m=<type> <port>[/<count>] <proto> <format> ...
func (p *parser) mediaLine(value string) error {
	f := strings.Fields(value)
	if len(f) < 4 {
		return fmt.Errorf("want m=<media> <port> <proto> <format> ..., have m=%.60q", value)
	}
	if len(p.d.Media) >= MaxMedia {
		return fmt.Errorf("more than %d media sections", MaxMedia)
	}
	number, _, _ := strings.Cut(f[1], "/")
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return fmt.Errorf("port of m= is 0 to 65535, have %.20q", f[1])
	}
	p.endSection()
	m := Media{Type: strings.ToLower(f[0]), Port: uint16(port), Proto: strings.ToUpper(f[2])}
	if m.rtp() {
		m.Formats, err = payloadTypes(f[3:])
	}
	switch {
	case err != nil && m.Type == audioType:
		return err
	case err != nil || !m.rtp():
		// Refusals quote these as they came (RFC 3264 section 6). Video that
		// cannot be read is no reason to lose the call either.
		m = Media{Type: f[0], Port: m.Port, Proto: f[2], List: strings.Join(f[3:], " ")}
	}
	p.d.Media = append(p.d.Media, m)
	return nil
}

// payloadTypes reads the format list of a section over RTP.
func payloadTypes(numbers []string) ([]Format, error) {
	if len(numbers) > MaxFormats {
		return nil, fmt.Errorf("%d formats in one section, the limit is %d", len(numbers), MaxFormats)
	}
	var formats []Format
	for _, number := range numbers {
		pt, err := strconv.ParseUint(number, 10, 8)
		if err != nil || pt > 127 {
			return nil, fmt.Errorf("payload type is 0 to 127, have %.20q", number)
		}
		if findPayload(formats, uint8(pt)) == nil {
			formats = append(formats, Format{Payload: uint8(pt)})
		}
	}
	return formats, nil
}

func (p *parser) section() *Media {
	if len(p.d.Media) == 0 {
		return nil
	}
	return &p.d.Media[len(p.d.Media)-1]
}

func findPayload(formats []Format, pt uint8) *Format {
	for i := range formats {
		if formats[i].Payload == pt {
			return &formats[i]
		}
	}
	return nil
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// tokenByte tells the visible characters that cannot end or restructure a line.
func tokenByte(c byte) bool { return c > ' ' && c < 0x7f }

// milliseconds reads the value of ptime and maxptime; 0 if it makes no sense.
func milliseconds(s string) time.Duration {
	ms, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || !(ms >= 1) || ms > 10_000 {
		return 0
	}
	return time.Duration(math.Round(ms)) * time.Millisecond
}
