package sip

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// What we understand, as peers are told.
const (
	allowed       = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER"
	acceptedTypes = typeSDP + ", " + typePIDF + ", " + typeMultipart + "mixed"
)

var (
	allowHeader  = sipgo.NewHeader("Allow", allowed)
	acceptHeader = sipgo.NewHeader("Accept", acceptedTypes)
)

// extensions are the option tags that a trunk's peer may require of us.
func (t *Trunk) extensions() []string {
	var out []string
	if t.Timer != TimerNever {
		out = append(out, "timer")
	}
	if t.Reliable != ReliableOff {
		out = append(out, rel100)
	}
	return append(out, "replaces", norefersub)
}

// supported tells the peer about them; nothing, where there are none.
func (t *Trunk) supported() []sipgo.Header {
	if tags := t.extensions(); len(tags) > 0 {
		return []sipgo.Header{sipgo.NewHeader("Supported", strings.Join(tags, ", "))}
	}
	return nil
}

// capabilities go with answers to OPTIONS.
func (t *Trunk) capabilities() []sipgo.Header {
	return append([]sipgo.Header{allowHeader, acceptHeader}, t.supported()...)
}

// refusal is a final response that needs no look at the call.
type refusal struct {
	status  int
	phrase  string
	headers []sipgo.Header
}

func refuse(status int, phrase string, headers ...sipgo.Header) *refusal {
	return &refusal{status, phrase, headers}
}

// singles are the header fields that must not come twice: with two, it depends
// on the reader what the message means.
var singles = map[string]bool{
	"call-id": true, "cseq": true, "from": true, "to": true, "max-forwards": true,
	"content-length": true, "content-type": true,
}

var compactForms = map[string]string{
	"i": "call-id", "f": "from", "t": "to", "l": "content-length", "c": "content-type",
	"v": "via", "m": "contact", "k": "supported", "e": "content-encoding", "x": "session-expires",
	"r": "refer-to", "b": "referred-by", "o": "event", "y": "identity", "n": "identity-info",
}

func canonicalName(name string) string {
	name = strings.ToLower(strings.TrimPrefix(name, unparsed))
	if long, ok := compactForms[name]; ok {
		return long
	}
	return name
}

// checkSyntax is the judgement of RFC 3261 section 8.2 on form, the same for
// every request. broken is what the parser found.
func checkSyntax(req *sipgo.Request, broken error) *refusal {
	if req.SipVersion != "SIP/2.0" {
		return refuse(505, "")
	}
	switch {
	case errors.Is(broken, errStartLine):
		return refuse(400, "Bad Request-Line")
	case broken != nil:
		return refuse(400, "Body Shorter Than Content-Length")
	}
	seen := map[string]bool{}
	for _, h := range req.Headers() {
		name := canonicalName(h.Name())
		if strings.HasPrefix(h.Name(), unparsed) {
			return refuse(400, "Bad "+name+" Header")
		}
		if singles[name] && seen[name] {
			return refuse(400, "More Than One "+name+" Header")
		}
		seen[name] = true
	}
	for _, name := range []string{"via", "from", "to", "call-id", "cseq"} {
		if !seen[name] {
			return refuse(400, "Missing "+name+" Header")
		}
	}
	// sipgo writes methods in capitals, whatever the peer wrote.
	if !strings.EqualFold(strings.TrimSpace(string(req.CSeq().MethodName)), string(req.Method)) {
		if !knownMethods[req.Method] { // RFC 4475 section 3.1.2.18
			return refuse(501, "", allowHeader)
		}
		return refuse(400, "CSeq Method Does Not Match")
	}
	if n := req.ContentLength(); n != nil && int(*n) != len(req.Body()) {
		return refuse(400, "Wrong Content-Length")
	}
	return checkURI(&req.Recipient)
}

func checkURI(u *sipgo.Uri) *refusal {
	switch u.Scheme {
	case "sip", "sips", "tel", "":
	default:
		return refuse(416, "")
	}
	if len(u.Headers) > 0 { // RFC 3261 section 19.1.1
		return refuse(400, "Header Fields In Request-URI")
	}
	if strings.ContainsAny(u.User+u.Host, "<>\" \t") || (u.Scheme != "tel" && u.Host == "") {
		return refuse(400, "Bad Request-URI")
	}
	return nil
}

// checkSips refuses what was promised to travel in secret on every hop and has
// come in clear (RFC 5630 section 3.1.3).
func checkSips(req *sipgo.Request, over transport) *refusal {
	if req.Recipient.Scheme == "sips" && !over.secure() {
		return refuse(416, "")
	}
	return nil
}

// checkMethod judges what a request outside of any dialog asks for.
func checkMethod(req *sipgo.Request) *refusal {
	switch req.Method {
	case sipgo.INVITE, sipgo.OPTIONS:
	case sipgo.BYE, sipgo.INFO, sipgo.UPDATE, sipgo.PRACK, sipgo.NOTIFY:
		return refuse(481, "") // they live in dialogs only
	case sipgo.REFER:
		return refuse(603, "")
	case sipgo.SUBSCRIBE:
		return refuse(489, "Bad Event")
	default:
		return refuseMethod(req.Method)
	}
	// An endpoint serves what has used up its hops; a call is handed on (RFC
	// 4475 section 3.3.11).
	if mf := req.MaxForwards(); mf != nil && *mf == 0 && req.IsInvite() {
		return refuse(483, "")
	}
	return nil
}

// knownMethods are those of the RFCs, whether or not we serve them.
var knownMethods = map[sipgo.RequestMethod]bool{
	sipgo.INVITE: true, sipgo.ACK: true, sipgo.CANCEL: true, sipgo.BYE: true, sipgo.OPTIONS: true, sipgo.REGISTER: true,
	sipgo.INFO: true, sipgo.PRACK: true, sipgo.UPDATE: true, sipgo.SUBSCRIBE: true, sipgo.NOTIFY: true, sipgo.REFER: true,
	sipgo.MESSAGE: true, sipgo.PUBLISH: true,
}

// refuseMethod tells methods that we do not serve from those that nobody knows
// (RFC 3261 sections 8.2.1 and 21.5.2).
func refuseMethod(m sipgo.RequestMethod) *refusal {
	if knownMethods[m] {
		return refuse(405, "", allowHeader)
	}
	return refuse(501, "", allowHeader)
}

// checkContent judges extensions and body of a request we would serve.
func (t *Trunk) checkContent(req *sipgo.Request) *refusal {
	var unknown []string
	known := t.extensions()
	for _, v := range headerValues(req, "Require") {
		for _, tag := range splitList(v) {
			if tag != "" && !slices.Contains(known, strings.ToLower(tag)) {
				unknown = append(unknown, tag)
			}
		}
	}
	if len(unknown) > 0 {
		return refuse(420, "", sipgo.NewHeader("Unsupported", strings.Join(unknown, ", ")))
	}
	if req.IsInvite() && !takesSDP(req) {
		return refuse(406, "", sipgo.NewHeader("Accept", typeSDP))
	}
	if len(req.Body()) == 0 {
		return t.checkTimer(req)
	}
	for _, v := range headerValues(req, "Content-Encoding") {
		if !strings.EqualFold(v, "identity") {
			return refuse(415, "", sipgo.NewHeader("Accept-Encoding", "identity"), acceptHeader)
		}
	}
	if !isSDP(req) && (req.Method == sipgo.INVITE || req.Method == sipgo.UPDATE) {
		return refuse(415, "", acceptHeader)
	}
	return t.checkTimer(req)
}

// checkTimer refuses session intervals that would keep the peer busy with
// refreshing (RFC 4028 section 9).
func (t *Trunk) checkTimer(req *sipgo.Request) *refusal {
	if t.Timer == TimerNever || req.Method != sipgo.INVITE && req.Method != sipgo.UPDATE {
		return nil
	}
	if seconds, _, ok := sessionExpires(req); ok && seconds < minSessionExpires {
		return refuse(422, "Session Interval Too Small", sipgo.NewHeader("Min-SE", strconv.Itoa(minSessionExpires)))
	}
	return nil
}

// takesSDP tells whether a caller takes session descriptions, without which
// there is no call. Who does not say what it takes does (RFC 3261 section 20.1).
func takesSDP(req *sipgo.Request) bool {
	values := listOf(req, "Accept")
	for _, v := range values {
		kind, _, _ := strings.Cut(v, ";")
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case typeSDP, "application/*", "*/*":
			return true
		}
	}
	return len(values) == 0
}

func isSDP(msg sipgo.Message) bool {
	kind, _ := contentType(msg)
	return kind == typeSDP
}

// sessionExpires reads the session interval and who refreshes it.
func sessionExpires(msg sipgo.Message) (seconds int, refresher string, ok bool) {
	values := append(headerValues(msg, "Session-Expires"), headerValues(msg, "x")...)
	if len(values) == 0 {
		return 0, "", false
	}
	delta, params, _ := strings.Cut(values[0], ";")
	n, err := strconv.ParseUint(strings.TrimSpace(delta), 10, 32) // delta-seconds (RFC 3261 section 25.1)
	if err != nil {
		return 0, "", false
	}
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(name, "refresher") {
			refresher = strings.ToLower(value)
		}
	}
	return int(n), refresher, true
}

// offers tells whether the sender of a message knows an extension.
func offers(msg sipgo.Message, tag string) bool {
	return hasOption(msg, "Supported", tag) || hasOption(msg, "k", tag) || hasOption(msg, "Require", tag)
}

func hasOption(msg sipgo.Message, header, tag string) bool {
	for _, v := range headerValues(msg, header) {
		for _, t := range splitList(v) {
			if strings.EqualFold(t, tag) {
				return true
			}
		}
	}
	return false
}

var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 413: "Request Entity Too Large",
	406: "Not Acceptable", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
	487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending",
	500: "Server Internal Error", 501: "Not Implemented", 503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large",
	603: "Decline",
}

func statusPhrase(status int) string {
	if p, ok := phrases[status]; ok {
		return p
	}
	return "Status " + strconv.Itoa(status)
}
