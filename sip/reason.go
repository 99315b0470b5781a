package sip

import (
	"fmt"
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// reason is what Reason header fields say (RFC 3326). 0 means not said.
type reason struct {
	sip, q850 int
	place     bridge.Place // of q850 (RFC 8606)
	text      string
}

// parseReason reads all Reason values of a message. Unknown protocols and
// values out of range are skipped.
func parseReason(values []string) reason {
	var r reason
	for _, v := range values {
		for _, one := range splitList(v) {
			protocol, params, _ := strings.Cut(one, ";")
			cause, text, place := reasonParams(params)
			switch strings.ToUpper(strings.TrimSpace(protocol)) {
			case "SIP":
				if cause >= 100 && cause <= 699 && r.sip == 0 {
					r.sip = cause
				}
			case "Q.850":
				if cause >= 1 && cause <= 127 && r.q850 == 0 {
					r.q850, r.place = cause, place
				}
			default:
				continue
			}
			if r.text == "" {
				r.text = text
			}
		}
	}
	return r
}

func reasonParams(params string) (cause int, text string, place bridge.Place) {
	for _, p := range splitOutside(params, ';') {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "cause":
			cause, _ = strconv.Atoi(strings.TrimSpace(value))
		case "text":
			text = clip(unquote(strings.TrimSpace(value)), 200)
		case "location":
			place = bridge.PlaceFromSIP(strings.TrimSpace(value))
		}
	}
	return cause, text, place
}

// ended is the cause of a BYE with this reason.
func (r reason) ended() bridge.Cause {
	status := r.sip
	if status < 300 {
		status = 0 // 200 "call completed" says nothing that a BYE does not
	}
	c := bridge.CauseFromSIP(status, r.q850)
	c.Text, c.Location = r.text, r.place
	return c
}

// cancelled is the cause of a CANCEL with this reason. "SIP;cause=200" is how
// forking elements say that another branch took the call (RFC 3326 section 2).
func (r reason) cancelled() bridge.Cause {
	c := bridge.CauseCancelled
	if r.sip == 200 || r.q850 == 26 {
		c.Code = "answered-elsewhere"
	}
	c.Text, c.Q850, c.Location = r.text, r.q850, r.place
	return c
}

// reasonHeaders says why in the two protocols peers know, and no more than the
// peer of a trunk may know of the others.
func reasonHeaders(c bridge.Cause, status int, phrase, trunk string) []sipgo.Header {
	text := c.Text
	if text == "" {
		text = c.Title()
	}
	text = discreet(text, trunk)
	location := ""
	if place := c.Location.SIP(); place != "" {
		location = ";location=" + place
	}
	headers := []sipgo.Header{sipgo.NewHeader("Reason", fmt.Sprintf("Q.850;cause=%d%s;text=%s", c.Q850Cause(), location, quote(shorten(text, maxReasonText))))}
	if status >= 300 {
		headers = append(headers, sipgo.NewHeader("Reason", fmt.Sprintf("SIP;cause=%d;text=%s", status, quote(phrase))))
	}
	return headers
}

// maxReasonText keeps an answer with two Reason fields and many Via fields
// within a datagram.
const maxReasonText = 400

// shorten cuts the middle out of a text that is too long: errors begin with
// what was being done, and end with why it failed and what would mend it.
func shorten(s string, n int) string {
	const gap = " … "
	if len(s) <= n {
		return s
	}
	head := (n - len(gap)) / 4
	tail := n - len(gap) - head
	return strings.ToValidUTF8(s[:head], "") + gap + strings.ToValidUTF8(s[len(s)-tail:], "")
}

// headerValues are the values of all header fields of a name.
func headerValues(msg sipgo.Message, name string) []string {
	var out []string
	for _, h := range msg.GetHeaders(name) {
		out = append(out, h.Value())
	}
	return out
}

// splitList splits a comma-separated header value, respecting quotes and <>.
func splitList(s string) []string { return splitOutside(s, ',') }

func splitOutside(s string, sep byte) []string {
	var out []string
	quoted, angle, start := false, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == sep && !angle:
			out = append(out, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(out, strings.TrimSpace(s[start:]))
}

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c == 0x7f:
			b.WriteByte(' ') // also keeps CR and LF out of header fields
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s[1:len(s)-1], `\"`, `"`), `\\`, `\`)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
