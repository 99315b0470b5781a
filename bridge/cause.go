package bridge

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Cause is why a call ended, or was refused. It is an error, so that it can
// travel through the layers that return one; CauseOf finds it again.
type Cause struct {
	Code       Code          `json:"code"`
	SIP        int           `json:"sip,omitempty"`      // the status a SIP peer gave, if one did; 0 = take the table's
	Q850       int           `json:"q850,omitempty"`     // as above, ITU-T Q.850 cause value
	Location   Place         `json:"location,omitempty"` // where in the network it arose, if the peer said so
	Text       string        `json:"text,omitempty"`     // for people; says what, for whom, why
	RetryAfter time.Duration `json:"retryAfter,omitempty"`
	By         Party         `json:"by,omitempty"` // who ended the call
}

// Code is the one word for a cause, the key of the table below. It is also the
// last path segment of the RIPT problem type and the `reason.code` of events.
type Code string

// Party says who did something.
type Party string

const (
	ByCaller Party = "caller"
	ByCallee Party = "callee"
	ByBridge Party = "bridge"
)

// causeRow is one line of the only table SIP status <-> Q.850 <-> RIPT event
// and problem. SIP to Q.850 follows RFC 3398 section 8.2.6.1.
type causeRow struct {
	code  Code
	sip   int    // final status before the answer; BYE carries a Reason header instead
	q850  int    // Reason: Q.850;cause=
	event string // RIPT event before the answer; after it every cause is `end`
	http  int    // status of the problem when POST calls is refused with it
	text  string // SIP reason phrase and problem title
}

// Events of the RIPT registry that end a call.
const (
	eventEnd      = "end"
	eventDeclined = "declined"
	eventNoAnswer = "noanswer"
	eventFailed   = "failed"
)

// The causes. The order matters where several rows share a SIP status: the
// first is what an unadorned status means.
var causeTable = []causeRow{
	// What happens to calls.
	{"normal", 487, 16, eventEnd, http.StatusGone, "Normal Clearing"},
	{"cancelled", 487, 16, eventEnd, http.StatusGone, "Request Terminated"},
	{"answered-elsewhere", 487, 26, eventEnd, http.StatusGone, "Call Completed Elsewhere"},
	{"busy", 486, 17, eventDeclined, http.StatusConflict, "Busy Here"},
	{"busy-everywhere", 600, 17, eventDeclined, http.StatusConflict, "Busy Everywhere"},
	{"declined", 603, 21, eventDeclined, http.StatusForbidden, "Decline"},
	{"unwanted", 607, 21, eventDeclined, http.StatusForbidden, "Unwanted"},
	{"rejected", 608, 21, eventDeclined, http.StatusForbidden, "Rejected"},
	{"no-answer", 480, 19, eventNoAnswer, http.StatusGatewayTimeout, "Temporarily Unavailable"},
	{"no-response", 408, 18, eventNoAnswer, http.StatusGatewayTimeout, "Request Timeout"},

	// What is wrong with the number.
	{"not-found", 404, 1, eventFailed, http.StatusNotFound, "Not Found"},
	{"does-not-exist", 604, 1, eventFailed, http.StatusNotFound, "Does Not Exist Anywhere"},
	{"number-changed", 410, 22, eventFailed, http.StatusNotFound, "Gone"},
	{"moved", 302, 23, eventFailed, http.StatusNotFound, "Moved"},
	{"number-incomplete", 484, 28, eventFailed, http.StatusUnprocessableEntity, "Address Incomplete"},
	{"number-ambiguous", 485, 1, eventFailed, http.StatusUnprocessableEntity, "Ambiguous"},

	// What the network cannot do.
	{"unreachable", 503, 38, eventFailed, http.StatusServiceUnavailable, "Service Unavailable"},
	{"overloaded", 503, 42, eventFailed, http.StatusServiceUnavailable, "Overloaded"},
	{"store-unavailable", 503, 41, eventFailed, http.StatusServiceUnavailable, "Call Store Unavailable"},
	{"shutting-down", 503, 41, eventFailed, http.StatusServiceUnavailable, "Shutting Down"},
	{"rate-limited", 503, 42, eventFailed, http.StatusTooManyRequests, "Too Many Calls"},
	{"peer-timeout", 504, 102, eventFailed, http.StatusGatewayTimeout, "Server Time-out"},
	{"peer-error", 502, 38, eventFailed, http.StatusBadGateway, "Bad Gateway"},
	{"internal", 500, 41, eventFailed, http.StatusInternalServerError, "Server Internal Error"},
	{"not-implemented", 501, 79, eventFailed, http.StatusNotImplemented, "Not Implemented"},
	{"media-lost", 480, 31, eventFailed, http.StatusGatewayTimeout, "Media Lost"},
	{"no-ack", 408, 102, eventFailed, http.StatusGatewayTimeout, "No ACK"},
	{"signalling-lost", 480, 27, eventFailed, http.StatusGatewayTimeout, "Signalling Lost"},
	{"loop", 482, 25, eventFailed, http.StatusLoopDetected, "Loop Detected"},
	{"too-many-hops", 483, 25, eventFailed, http.StatusLoopDetected, "Too Many Hops"},
	{"media-incompatible", 488, 65, eventFailed, http.StatusUnprocessableEntity, "Not Acceptable Here"},
	{"media-sealed", 488, 65, eventFailed, http.StatusUnprocessableEntity, "Media Encrypted End To End"},
	{"not-acceptable", 606, 65, eventFailed, http.StatusUnprocessableEntity, "Not Acceptable"},
	{"media-type-unsupported", 415, 79, eventFailed, http.StatusUnsupportedMediaType, "Unsupported Media Type"},
	{"bad-request", 400, 41, eventFailed, http.StatusBadRequest, "Bad Request"},
	{"extension-required", 420, 127, eventFailed, http.StatusBadRequest, "Bad Extension"},

	// What policy forbids.
	{"forbidden", 403, 21, eventDeclined, http.StatusForbidden, "Forbidden"},
	{"auth-required", 407, 21, eventFailed, http.StatusForbidden, "Proxy Authentication Required"},
	{"destination-forbidden", 403, 21, eventFailed, http.StatusForbidden, "Destination Not Allowed"},
	{"caller-forbidden", 403, 21, eventFailed, http.StatusForbidden, "Caller Number Not Allowed"},
	{"transfer-refused", 603, 21, eventFailed, http.StatusForbidden, "Transfer Refused"},
	{"no-route", 404, 3, eventFailed, http.StatusNotFound, "No Route"},

	// What caller identity demands (RFC 8224 section 6.2.2; 607 and 608 above).
	{"identity-missing", 428, 21, eventFailed, http.StatusBadRequest, "Use Identity Header"},
	{"identity-anonymous", 433, 21, eventFailed, http.StatusForbidden, "Anonymity Disallowed"},
	{"identity-info-unavailable", 436, 21, eventFailed, http.StatusFailedDependency, "Bad Identity Info"},
	{"identity-credential-unsupported", 437, 21, eventFailed, http.StatusForbidden, "Unsupported Credential"},
	{"identity-invalid", 438, 21, eventFailed, http.StatusForbidden, "Invalid Identity Header"},
	{"identity-mismatch", 438, 21, eventFailed, http.StatusForbidden, "Identity Does Not Match Call"},
	{"identity-stale", 403, 21, eventFailed, http.StatusForbidden, "Stale Date"},
	{"identity-number-not-covered", 403, 21, eventFailed, http.StatusForbidden, "Caller Number Outside Certificate"},
	{"identity-replayed", 403, 21, eventFailed, http.StatusForbidden, "Identity Replayed"},

	// What the RIPT peer thinks of our credentials or requests. To a SIP caller
	// they are all a trunk out of service: PBXs re-route on 503.
	{"token-missing", 503, 57, eventFailed, http.StatusUnauthorized, "Trunk Sent No Token"},
	{"token-invalid", 503, 57, eventFailed, http.StatusUnauthorized, "Trunk Token Refused"},
	{"token-expired", 503, 57, eventFailed, http.StatusUnauthorized, "Trunk Token Expired"},
	{"token-audience", 503, 57, eventFailed, http.StatusUnauthorized, "Trunk Token For Another Audience"},
	{"token-scope", 503, 57, eventFailed, http.StatusForbidden, "Trunk Token Without Scope"},
	{"tls-untrusted", 503, 57, eventFailed, http.StatusServiceUnavailable, "Trunk Certificate Not Trusted"},
	{"handler-not-registered", 500, 41, eventFailed, http.StatusInternalServerError, "Handler Not Registered"},
	{"idempotency-key-reused", 500, 41, eventFailed, http.StatusUnprocessableEntity, "Idempotency Key Reused"},
	{"session-unknown", 500, 41, eventFailed, http.StatusConflict, "Trunk Session Unknown"},
	{"call-ended", 481, 41, eventFailed, http.StatusNotFound, "Call Does Not Exist"},
}

// Ready-made causes for code that ends calls. Use With to say what happened.
var (
	CauseNormal            = Cause{Code: "normal"}
	CauseCancelled         = Cause{Code: "cancelled"}
	CauseElsewhere         = Cause{Code: "answered-elsewhere"}
	CauseBusy              = Cause{Code: "busy"}
	CauseDeclined          = Cause{Code: "declined"}
	CauseNoAnswer          = Cause{Code: "no-answer"}
	CauseNoResponse        = Cause{Code: "no-response"}
	CauseNotFound          = Cause{Code: "not-found"}
	CauseNoRoute           = Cause{Code: "no-route"}
	CauseUnreachable       = Cause{Code: "unreachable"}
	CauseOverloaded        = Cause{Code: "overloaded"}
	CauseStore             = Cause{Code: "store-unavailable"}
	CauseShuttingDown      = Cause{Code: "shutting-down"}
	CausePeerTimeout       = Cause{Code: "peer-timeout"}
	CausePeerError         = Cause{Code: "peer-error"}
	CauseInternal          = Cause{Code: "internal"}
	CauseNotImplemented    = Cause{Code: "not-implemented"}
	CauseMediaLost         = Cause{Code: "media-lost"}
	CauseNoACK             = Cause{Code: "no-ack"}
	CauseSignallingLost    = Cause{Code: "signalling-lost"}
	CauseTooManyHops       = Cause{Code: "too-many-hops"}
	CauseMediaIncompatible = Cause{Code: "media-incompatible"}
	CauseMediaSealed       = Cause{Code: "media-sealed"}
	CauseBadRequest        = Cause{Code: "bad-request"}
	CauseForbidden         = Cause{Code: "forbidden"}
	CauseDestination       = Cause{Code: "destination-forbidden"}
	CauseCaller            = Cause{Code: "caller-forbidden"}
	CauseIdentityMissing   = Cause{Code: "identity-missing"}
	CauseAnonymous         = Cause{Code: "identity-anonymous"}
	CauseTransferRefused   = Cause{Code: "transfer-refused"}
	CauseUntrustedTLS      = Cause{Code: "tls-untrusted"}
)

// Codes are all codes of the table, in its order: what the specification lists.
func Codes() []Code {
	codes := make([]Code, len(causeTable))
	for i, row := range causeTable {
		codes[i] = row.code
	}
	return codes
}

var (
	rowByCode = map[Code]*causeRow{}
	rowBySIP  = map[int]*causeRow{}
	rowByQ850 = map[int]*causeRow{}
)

func init() {
	for i := range causeTable {
		row := &causeTable[i]
		rowByCode[row.code] = row
		if rowBySIP[row.sip] == nil {
			rowBySIP[row.sip] = row
		}
		if rowByQ850[row.q850] == nil {
			rowByQ850[row.q850] = row
		}
	}
	// An unadorned 487 is a caller who gave up, and "normal, unspecified" is
	// normal.
	rowBySIP[487] = rowByCode["cancelled"]
	rowByQ850[31] = rowByCode["normal"]
}

func (c Cause) row() *causeRow {
	if row := rowByCode[c.Code]; row != nil {
		return row
	}
	return rowByCode["internal"]
}

// With returns the cause with a text that says what happened.
func (c Cause) With(format string, args ...any) Cause {
	c.Text = fmt.Sprintf(format, args...)
	return c
}

// EndedBy returns the cause with the party that ended the call.
func (c Cause) EndedBy(p Party) Cause {
	c.By = p
	return c
}

// Error is the code and the text.
func (c Cause) Error() string {
	if c.Text == "" {
		return string(c.Code)
	}
	return string(c.Code) + ": " + c.Text
}

// Is makes errors.Is(err, CauseBusy) compare codes only.
func (c Cause) Is(target error) bool {
	t, ok := target.(Cause)
	return ok && t.Code == c.Code
}

// CauseOf finds the Cause in err. An error without one is our own fault:
// CauseInternal with the error's text. CauseOf(nil) is CauseNormal.
func CauseOf(err error) Cause {
	if err == nil {
		return CauseNormal
	}
	var c Cause
	if errors.As(err, &c) {
		if c.Text == "" || err.Error() != c.Error() {
			c.Text = err.Error()
		}
		return c
	}
	return CauseInternal.With("%v", err)
}

// SIPStatus is the final status and reason phrase for a request that is
// refused with this cause: the peer's own status if it carried one.
func (c Cause) SIPStatus() (status int, phrase string) {
	row := c.row()
	if c.SIP >= 300 && c.SIP <= 699 && c.SIP != row.sip {
		if r := rowBySIP[c.SIP]; r != nil {
			return c.SIP, r.text
		}
		return c.SIP, row.text
	}
	return row.sip, row.text
}

// Q850Cause is the value for Reason: Q.850;cause= (RFC 3326).
func (c Cause) Q850Cause() int {
	if c.Q850 > 0 && c.Q850 <= 127 {
		return c.Q850
	}
	return c.row().q850
}

// Title is the fixed phrase of the cause: a problem's title.
func (c Cause) Title() string { return c.row().text }

// RIPTEvent is the event that carries this cause, before or after the answer.
func (c Cause) RIPTEvent(answered bool) string {
	if answered {
		return eventEnd
	}
	return c.row().event
}

// HTTPStatus is the status of a problem of this type.
func (c Cause) HTTPStatus() int { return c.row().http }

// CauseFromSIP maps a final response, or the Reason of a BYE or CANCEL, to a
// cause. status 0 means that there was only a Q.850 value, which may be 0 too.
// Both are carried along, so that a SIP peer at the far end sees what this one
// said.
func CauseFromSIP(status, q850 int) Cause {
	c := Cause{SIP: status, Q850: q850}
	switch row := rowBySIP[status]; {
	case status == 0 && rowByQ850[q850] != nil:
		c.Code = rowByQ850[q850].code
	case status == 0:
		c.Code = "normal"
	case row != nil && !credentials(row):
		c.Code = row.code
	case status >= 300 && status < 400:
		c.Code = "moved"
	case status == 401:
		c.Code = "auth-required"
	case status >= 600:
		c.Code = "declined"
	case status >= 500:
		c.Code = "peer-error"
	default:
		c.Code = "bad-request"
	}
	return c
}

// CauseFromRIPT maps an event that ends a call, or a problem, to a cause. code
// is `reason.code` of the event or the last path segment of the problem type;
// one we do not know is judged by the event's name, or by the HTTP status.
func CauseFromRIPT(event string, code Code, httpStatus, sip, q850 int) Cause {
	c := Cause{SIP: sip, Q850: q850}
	if rowByCode[code] != nil {
		c.Code = code
		return c
	}
	if sip >= 300 && sip <= 699 {
		return CauseFromSIP(sip, q850)
	}
	switch event {
	case eventEnd, "ended":
		c.Code = "normal"
	case eventDeclined:
		c.Code = "declined"
	case eventNoAnswer:
		c.Code = "no-answer"
	case eventFailed:
		c.Code = "peer-error"
	default:
		c.Code = codeOfHTTP(httpStatus)
	}
	return c
}

func codeOfHTTP(status int) Code {
	switch {
	case status == http.StatusUnauthorized:
		return "token-invalid"
	case status == http.StatusForbidden:
		return "forbidden"
	case status == http.StatusNotFound:
		return "not-found"
	case status == http.StatusTooManyRequests, status == http.StatusTooEarly, status == http.StatusServiceUnavailable:
		return "overloaded"
	case status == http.StatusGatewayTimeout, status == http.StatusRequestTimeout:
		return "peer-timeout"
	case status >= 500:
		return "peer-error"
	}
	return "bad-request"
}

// credentials tells the rows that only a RIPT peer can mean.
func credentials(r *causeRow) bool {
	switch r.code {
	case "call-ended", "handler-not-registered", "idempotency-key-reused", "session-unknown":
		return true
	}
	return false
}
