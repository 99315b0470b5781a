package sip

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// A request that does not parse is refused, not dropped: its sender would
// repeat it for half a minute, and never learn what is wrong with it. So what
// can be read of it is read, and the rest is marked.

// unparsed marks the name of a header field that did not parse.
const unparsed = "X-Unparsed-"

// sipgo tells its parsing loop with an error that a value ends at a comma. The
// type is not exported; its text is all there is to know it by.
const commaDetected = "comma detected"

// lenientHeaders parse as sipgo's do, but keep as text what does not parse, and
// take the white space that RFC 3261 section 25.1 allows around ; and =.
func lenientHeaders() map[string]sipgo.HeaderParser {
	lenient := map[string]sipgo.HeaderParser{}
	for name, parse := range sipgo.DefaultHeadersParser() {
		lenient[name] = func(field []byte, value string) (sipgo.Header, error) {
			h, err := parse(field, value)
			if err != nil && err.Error() != commaDetected {
				return sipgo.NewHeader(unparsed+string(field), value), nil
			}
			trim(h)
			return h, err
		}
	}
	return lenient
}

func trim(h sipgo.Header) {
	switch h := h.(type) {
	case *sipgo.ViaHeader:
		trimParams(h.Params)
	case *sipgo.FromHeader:
		h.Address.Host = strings.TrimSpace(h.Address.Host)
		trimParams(h.Params)
	case *sipgo.ToHeader:
		h.Address.Host = strings.TrimSpace(h.Address.Host)
		trimParams(h.Params)
	case *sipgo.ContactHeader:
		h.Address.Host = strings.TrimSpace(h.Address.Host)
		trimParams(h.Params)
	}
}

func trimParams(params sipgo.HeaderParams) {
	for i := range params {
		params[i].K, params[i].V = strings.TrimSpace(params[i].K), strings.TrimSpace(params[i].V)
	}
}

// errStartLine says that the first line of a request is not what RFC 3261
// section 7.1 wants it to be.
var errStartLine = errors.New("start line does not parse")

// standIn is the Request-URI of a request whose own cannot be read.
const standIn = "sip:unparsed.invalid"

// salvage reads a request whose first line does not parse: its method, its
// version and all that follows. It returns nil if there is not even that.
func salvage(b []byte, why error) (sipgo.Message, error) {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	fields := strings.Fields(string(line))
	if !ok || len(fields) < 3 || !isToken(fields[0]) || !strings.HasPrefix(fields[len(fields)-1], "SIP/") {
		return nil, why
	}
	uri, broken := standIn, fmt.Errorf("%w: %w", errStartLine, why)
	if isOtherScheme(fields[1]) && len(fields) == 3 {
		uri, broken = "unknown:scheme", nil // there is nothing wrong with it but that it is not for us
	}
	head := fields[0] + " " + uri + " " + fields[len(fields)-1] + "\r\n"
	msg, err := parser.ParseSIP(append([]byte(head), rest...))
	if msg == nil {
		return nil, errors.Join(why, err)
	}
	return msg, broken
}

// isOtherScheme tells a URI whose scheme (RFC 3986 section 3.1) has nothing to
// do with us.
func isOtherScheme(uri string) bool {
	scheme, _, ok := strings.Cut(strings.ToLower(uri), ":")
	switch {
	case !ok, scheme == "sip", scheme == "sips", scheme == "tel", scheme == "":
		return false
	}
	return scheme[0] >= 'a' && scheme[0] <= 'z' && strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == ""
}

// isToken tells a method from anything else (RFC 3261 section 25.1).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte("-.!%*_+`'~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// salvageVia makes a Via of one that does not parse, so that there is somewhere
// to answer to. The mark of what did not parse stays: the request is refused.
func salvageVia(msg sipgo.Message) {
	req, ok := msg.(*sipgo.Request)
	if !ok || req.Via() != nil {
		return
	}
	for _, name := range []string{"via", "v"} {
		for _, value := range headerValues(req, unparsed+name) {
			head, _, _ := strings.Cut(value, ";")
			h, err := sipgo.DefaultHeadersParser()["via"](nil, head)
			if err == nil {
				req.PrependHeader(h)
				return
			}
		}
	}
}
