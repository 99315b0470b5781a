package sip

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/rtp"
	"riptide/sip/sdp"
)

// DTMF says how digits are exchanged with a trunk's peer.
type DTMF string

// The ways. The default is DTMFAuto. Digits by INFO are understood in any case.
const (
	DTMFAuto   DTMF = "auto"    // as events where the peer has them; else as it sends them itself, or as tones
	DTMFEvents DTMF = "rfc4733" // as events, or not at all
	DTMFInfo   DTMF = "info"    // by INFO, also where the peer has events
	DTMFInband DTMF = "inband"  // as tones, and heard in the sound
)

func (d DTMF) check() (DTMF, error) {
	switch d {
	case "":
		return DTMFAuto, nil
	case DTMFAuto, DTMFEvents, DTMFInfo, DTMFInband:
		return d, nil
	}
	return "", fmt.Errorf("dtmf %q is not known, use auto, rfc4733, info or inband", d)
}

// events tells whether telephone-event is offered and taken.
func (d DTMF) events() bool { return d == DTMFAuto || d == DTMFEvents }

// carries tells whether digits get over, with a peer that has events or not.
func (d DTMF) carries(events bool) bool { return d != DTMFEvents || events }

// Media types of digits in INFO. Nobody has standardised them, and everybody has
// them.
const (
	typeRelay = "application/dtmf-relay" // Signal=5, Duration=160
	typeDTMF  = "application/dtmf"       // 5
)

// maxInfo bounds the bodies we read.
const maxInfo = 256

// parseDigit reads a digit from the body of an INFO: the key, and for how long
// it was pressed, 0 if that is not said.
func parseDigit(contentType string, body []byte) (key byte, pressed time.Duration, err error) {
	if len(body) > maxInfo {
		return 0, 0, fmt.Errorf("a digit of %d bytes, the limit is %d", len(body), maxInfo)
	}
	contentType, _, _ = strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(contentType)) {
	case typeDTMF:
		key, err = keyNamed(string(body))
		return key, 0, err
	case typeRelay:
	default:
		return 0, 0, errNotDigit
	}
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		name, value, _ := strings.Cut(string(line), "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "signal":
			if key, err = keyNamed(value); err != nil {
				return 0, 0, err
			}
		case "duration":
			if ms, err := strconv.ParseUint(value, 10, 16); err == nil {
				pressed = time.Duration(ms) * time.Millisecond
			}
		}
	}
	if key == 0 {
		return 0, 0, errors.New("no Signal in it")
	}
	return key, pressed, nil
}

// errNotDigit says that an INFO is about something else.
var errNotDigit = errors.New("no digit")

// keyNamed reads a key: its character, or, of those that have a number beyond,
// that (10 and 11 are * and #).
func keyNamed(s string) (byte, error) {
	s = strings.ToUpper(strings.TrimSpace(s))
	switch s {
	case "10", "STAR":
		return '*', nil
	case "11", "POUND":
		return '#', nil
	case "12", "13", "14", "15":
		return 'A' + s[1] - '2', nil
	}
	if len(s) == 1 && strings.Contains("0123456789*#ABCD", s) {
		return s[0], nil
	}
	return 0, fmt.Errorf("%.20q is no key of a telephone", s)
}

// onInfo serves INFO (RFC 6086). An empty one is a keep-alive.
func (l *Leg) onInfo(req *sipgo.Request, s *serverTx) {
	if len(req.Body()) == 0 {
		s.respond(200, "", nil)
		return
	}
	contentType := ""
	if h := req.ContentType(); h != nil {
		contentType = h.Value()
	}
	key, pressed, err := parseDigit(contentType, req.Body())
	switch {
	case errors.Is(err, errNotDigit):
		s.refuse(refuse(415, "", sipgo.NewHeader("Accept", typeRelay+", "+typeDTMF)))
	case err != nil:
		s.refuse(refuse(400, "Bad Digit"))
	case !l.media.port.Press(key, pressed):
		s.refuse(refuse(500, "Too Many Digits", pauseHeader()))
	default:
		l.media.informs = true
		l.media.direct()
		s.respond(200, "", nil)
	}
}

// digit is one that waits to be sent by INFO.
type digit struct {
	key     byte
	pressed time.Duration
}

// maxDigits bounds the digits that wait.
const maxDigits = 32

// inform sends a digit by INFO, behind those that wait: one at a time, since two
// on their way could overtake each other.
func (l *Leg) inform(d digit) {
	if l.muted || l.dlg == nil || len(l.digits) >= maxDigits {
		return
	}
	if l.digits = append(l.digits, d); len(l.digits) == 1 {
		l.informNext()
	}
}

func (l *Leg) informNext() {
	if l.muted || len(l.digits) == 0 {
		l.digits = nil
		return
	}
	d := l.digits[0]
	req := l.dlg.request(sipgo.INFO)
	req.AppendHeader(sipgo.NewHeader("Content-Type", typeRelay))
	req.SetBody(fmt.Appendf(nil, "Signal=%c\r\nDuration=%d\r\n", d.key, d.pressed.Milliseconds()))
	done := func(status int) {
		l.digits = l.digits[1:]
		if status == 415 || status == 405 || status == 501 { // it has no INFO, or not for this
			l.media.informs, l.media.deaf = false, true
			l.media.direct()
		}
		l.informNext()
	}
	f, err := l.route(l.dlg)
	if err == nil {
		err = l.request(l.dlg, req, f,
			func(res *sipgo.Response) {
				if res.StatusCode >= 200 {
					done(res.StatusCode)
				}
			},
			func(error) { done(0) })
	}
	if err != nil {
		done(0)
	}
}

// direct tells the port how digits reach the peer, by what was agreed on and by
// what the peer itself does.
func (s *session) direct() {
	if s.agreed == nil {
		return
	}
	events, tones := false, false
	for _, f := range s.agreed.Audio.Send {
		events = events || f.IsTelephoneEvent()
	}
	if f, ok := sdp.Speech(s.agreed.Audio.Send); ok {
		c, known := rtp.CodecOf(f)
		tones = known && (c == bridge.PCMU || c == bridge.PCMA)
	}
	way := rtp.DigitsAsEvents
	switch {
	case events || s.dtmf == DTMFEvents:
	case s.deaf && tones, s.dtmf == DTMFInband && tones, s.dtmf == DTMFAuto && !s.informs && tones:
		way = rtp.DigitsAsTones
	case !s.deaf:
		way = rtp.DigitsByRequest
	}
	s.port.SetDigits(way, s.inform)
	s.port.Listen(s.dtmf == DTMFInband && tones)
}

// spoken is what SDP says of a capability: without digits where they go another
// way.
func (s *session) spoken(c sdp.Capability) sdp.Capability {
	if s.dtmf.events() {
		return c
	}
	out := c
	out.Audio = nil
	for _, f := range c.Audio {
		if !f.IsTelephoneEvent() {
			out.Audio = append(out.Audio, f)
		}
	}
	return out
}
