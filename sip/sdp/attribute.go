package sdp

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// attributeLine takes one a= line. Attributes we do not know, and values that
// make no sense, are ignored as RFC 8866 section 5.13 wants.
func (p *parser) attributeLine(line string) {
	name, value, _ := strings.Cut(line, ":")
	name = strings.ToLower(strings.TrimSpace(name))
	if p.section() != nil {
		p.attributes = append(p.attributes, pending{name, strings.TrimSpace(value)})
		return
	}
	if d, ok := directionNamed(name); ok {
		p.direction = d
	}
	switch name {
	case "fingerprint":
		if f, ok := parseFingerprint(value); ok {
			p.fingerprint = f
		}
	case "setup":
		p.setup = setupNamed(value)
	}
	if name == "ptime" { // belongs in a section, but some write it above
		p.ptime = milliseconds(value)
	}
}

// endSection judges the attributes of the section that is complete.
func (p *parser) endSection() {
	m := p.section()
	if m == nil {
		return
	}
	attributes := p.attributes
	p.attributes = nil
	if m.Connection == "" {
		m.Connection = p.d.Connection
	}
	if !m.rtp() {
		return
	}
	m.Direction, m.Ptime, m.Fingerprint, m.Setup = p.direction, p.ptime, p.fingerprint, p.setup
	for _, a := range attributes {
		m.attribute(a.name, a.value)
	}
	if m.Fingerprint.IsZero() {
		m.Setup = SetupUnsaid // of what, nobody knows
	}
	for i, f := range m.Formats {
		if known, ok := static[f.Payload]; ok && f.Name == "" {
			known.Params = f.Params
			m.Formats[i] = known
		}
	}
	p.addresses(m, attributes)
}

// attribute takes one a= line of the section.
func (m *Media) attribute(name, value string) {
	switch name {
	case "rtpmap":
		m.rtpmap(value)
	case "fmtp":
		m.fmtp(value)
	case "ptime":
		m.Ptime = milliseconds(value)
	case "maxptime":
		m.MaxPtime = milliseconds(value)
	case "rtcp-mux":
		m.RTCPMux = true
	case "rtcp-fb":
		m.feedback(value)
	case "crypto":
		if c, ok := parseCrypto(value); ok && len(m.Crypto) < maxCryptos {
			m.Crypto = append(m.Crypto, c)
		}
	case "fingerprint":
		if f, ok := parseFingerprint(value); ok {
			m.Fingerprint = f
		}
	case "setup":
		m.Setup = setupNamed(value)
	default:
		if d, ok := directionNamed(name); ok {
			m.Direction = d
		}
	}
}

// addresses settles where media and reports go.
func (p *parser) addresses(m *Media, attributes []pending) {
	if m.Connection.hold() {
		m.Direction = m.Direction.And(SendOnly)
	}
	if m.Port != 0 && m.Port < 65535 {
		m.RTCP = usable(netip.AddrPortFrom(m.Connection.Addr(), m.Port+1))
	}
	for _, a := range attributes {
		if a.name != "rtcp" {
			continue
		}
		if at, ok := rtcpAddress(a.value, m.Connection); ok {
			m.RTCP = at
		}
	}
}

// rtcpAddress reads "<port> [IN IP4 <address>]" (RFC 3605 section 2.1).
func rtcpAddress(value string, host Host) (netip.AddrPort, bool) {
	f := strings.Fields(value)
	if len(f) == 0 {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(f[0], 10, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	if len(f) > 1 {
		if host, err = hostOf(f[1:]); err != nil {
			return netip.AddrPort{}, false
		}
	}
	at := usable(netip.AddrPortFrom(host.Addr(), uint16(port)))
	return at, at.IsValid()
}

// rtpmap reads "<payload type> <name>/<clock>[/<channels>]".
func (m *Media) rtpmap(value string) {
	number, encoding, _ := strings.Cut(value, " ")
	pt, err := strconv.ParseUint(number, 10, 7)
	if err != nil {
		return
	}
	f := findPayload(m.Formats, uint8(pt))
	part := strings.Split(strings.TrimSpace(encoding), "/")
	if f == nil || len(part) < 2 || len(part) > 3 || part[0] == "" || strings.ContainsAny(part[0], " \t") {
		return
	}
	clock, err := strconv.ParseUint(part[1], 10, 31)
	if err != nil || clock == 0 {
		return
	}
	channels := uint64(1)
	if len(part) == 3 {
		if channels, err = strconv.ParseUint(part[2], 10, 8); err != nil || channels == 0 {
			return
		}
	}
	f.Name, f.Clock, f.Channels = part[0], int(clock), int(channels)
}

// feedback reads "<payload type>|* <kind> [<parameter>]" (RFC 4585 section 4.2).
func (m *Media) feedback(value string) {
	number, what, _ := strings.Cut(value, " ")
	kind := feedbackNamed(what)
	pt, err := strconv.ParseUint(number, 10, 7)
	for i := range m.Formats {
		if number == "*" || err == nil && m.Formats[i].Payload == uint8(pt) {
			m.Formats[i].Feedback |= kind
		}
	}
}

// fmtp reads "<payload type> <parameters>".
func (m *Media) fmtp(value string) {
	number, params, _ := strings.Cut(value, " ")
	pt, err := strconv.ParseUint(number, 10, 7)
	if err != nil {
		return
	}
	if f := findPayload(m.Formats, uint8(pt)); f != nil {
		f.Params = strings.TrimSpace(params)
	}
}

func (p *parser) finish() (Description, error) {
	if !p.version {
		return Description{}, errors.New("sdp: empty description")
	}
	if !p.origin {
		return Description{}, errors.New("sdp: no o= line")
	}
	p.endSection()
	for _, m := range p.d.Media {
		if m.Type == audioType && m.rtp() && m.Port != 0 && m.Connection == "" {
			return Description{}, errors.New("sdp: no c= line says where the audio goes")
		}
	}
	return p.d, nil
}
