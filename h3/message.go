package h3

import (
	"strings"
	"time"
	"unicode"

	"riptide/bridge"
	"riptide/policy"
)

// Paths below an authority. Everything else is learnt from documents.
const (
	wellKnownRIPT  = "/.well-known/ript"       // redirects to the root, or is it
	wellKnownOAuth = "/.well-known/ript-oauth" // redirects to the authorisation server's metadata
	wellKnownAS    = "/.well-known/oauth-authorization-server"
	pathTGs        = "/v1/providertgs" // below the root
	pathProblems   = "/problems/"      // type URIs of problems, relative to any authority
)

// Scopes of access tokens.
const scopeCall = "ript.call"

// Profile is the version of our resolutions of the drafts' open points. It is
// a member of TG documents and part of the WebTransport sub-protocol name.
const Profile = 1

// TGList is the document at {root}/v1/providertgs.
type TGList struct {
	TGs []TGEntry `json:"tgs"`
}

// TGEntry names one TG. Name and Description are for people.
type TGEntry struct {
	URI         string `json:"uri"`
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
}

// TG is the document of a terminal group. Durations are milliseconds.
type TG struct {
	URI          string   `json:"uri"`
	Name         string   `json:"name,omitempty"`
	Outbound     Outbound `json:"outbound"`
	RetryBackoff int      `json:"retry-backoff,omitempty"` // default 2000, at least that
	MediaTimeout int      `json:"media-timeout,omitempty"` // default 5000
	Keepalive    int      `json:"keepalive,omitempty"`     // of byways, default 5000
	ParkedGets   int      `json:"parked-gets,omitempty"`   // GETs a client may park, default 20
	Media        []string `json:"media,omitempty"`         // rungs of the media ladder, the best first
	Profile      int      `json:"profile,omitempty"`
}

// Outbound says what a TG takes.
type Outbound struct {
	// Origins is a PEM chain: an RFC 8226 certificate over the caller numbers
	// the server vouches for. Absent where the server is no authenticator.
	Origins string `json:"origins,omitempty"`
	// OriginNumbers says the same for people; the certificate wins.
	OriginNumbers []string `json:"originNumbers,omitempty"`
	// Destinations the TG accepts; absent means every one.
	Destinations *policy.NumberSet `json:"destinations,omitempty"`
}

// Handler is a handler description. Advertisement is of package h3/advert.
type Handler struct {
	URI           string   `json:"uri,omitempty"`
	HandlerID     string   `json:"handler-id"`
	Advertisement string   `json:"advertisement"`
	Media         []string `json:"media,omitempty"` // carriers the client can do, the best first
}

// CallRequest is the body of POST {tg}/calls.
type CallRequest struct {
	Handler     string        `json:"handler"`
	Destination policy.Number `json:"destination"`
	Passport    string        `json:"passport"`
	Hops        *int          `json:"hops,omitempty"` // how many more bridges; default 10
	Call        string        `json:"call,omitempty"` // the caller's id of the call, for logs

	// Passports are further ones that came with the call: of its diversions, of
	// its priority, of the caller's name. Those that do not hold are dropped.
	Passports []string     `json:"passports,omitempty"`
	Facts     bridge.Facts `json:"facts,omitzero"`

	Session string `json:"session,omitempty"` // trunk session that is to carry the media
}

// CallUpdate is the body of POST on a call: what to change.
type CallUpdate struct {
	Handler string `json:"handler,omitempty"` // the client's, at the same TG; needs If-Match
	Session string `json:"session,omitempty"` // trunk session that is to carry the media
}

// CallDescription is the document of a call, and the body of the 201.
type CallDescription struct {
	URI              string        `json:"uri"`
	Handler          string        `json:"handler"`
	Direction        string        `json:"direction"` // "outbound", as the client sees it
	From             policy.Number `json:"from"`
	To               policy.Number `json:"to"`
	State            string        `json:"state"` // the last state event: "proceeding" …, "ended"
	ClientDirectives string        `json:"clientDirectives"`
	ServerDirectives string        `json:"serverDirectives"`
	ETag             string        `json:"etag,omitempty"` // of handler and directives
	Created          time.Time     `json:"created"`
	Answered         time.Time     `json:"answered,omitzero"`
	EndedAt          time.Time     `json:"endedAt,omitzero"`
	EndedBy          bridge.Party  `json:"endedBy,omitempty"`
	Reason           *Reason       `json:"reason,omitempty"`
	CallTag          uint64        `json:"callTag,omitempty"` // on the trunk session that the request named
	Facts            bridge.Facts  `json:"facts,omitzero"`    // what the other side's network says: of an outbound call, once it is answered
}

// Directions of events.
const (
	clientToServer = "c2s"
	serverToClient = "s2c"
)

// Event types of the registry. On reading, "ended" is `end` and "moved" is
// `migrate`; others are ignored and counted.
const (
	eventProceeding = "proceeding"
	eventAlerting   = "alerting"
	eventAnswered   = "answered"
	eventDeclined   = "declined"
	eventFailed     = "failed"
	eventNoAnswer   = "noanswer"
	eventEnd        = "end"
	eventMigrate    = "migrate"
	eventPing       = "ping"
	eventPong       = "pong"
	eventMediaPanic = "media-panic"

	eventHandlerChanged = "handler-changed"

	eventTransfer        = "transfer-and-takeback"
	eventTransferDone    = "transfer-done"
	eventTransferRefused = "transfer-refused"
)

// maxEvent is the largest event on a byway, in bytes.
const maxEvent = 16 << 10

// Event is one object of an event stream.
type Event struct {
	Type      string    `json:"type"`
	Direction string    `json:"direction"`
	Timestamp time.Time `json:"timestamp"` // UTC, as the sender sees it
	Call      string    `json:"call"`      // URI
	Seq       uint64    `json:"seq"`       // per direction, from 1: several byways carry the same events
	Nonce     string    `json:"nonce,omitempty"`
	URI       string    `json:"uri,omitempty"`   // of migrate
	Media     bool      `json:"media,omitempty"` // of proceeding, alerting: early media flows
	Reason    *Reason   `json:"reason,omitempty"`

	EndedBy     bridge.Party  `json:"endedBy,omitempty"`     // of events that end a call
	Facts       bridge.Facts  `json:"facts,omitzero"`        // of answered
	Destination policy.Number `json:"destination,omitempty"` // of transfer-and-takeback

	// Of handler-changed: the agreement on media from now on. The state with which
	// an event stream begins says it too, if it has ever changed.
	Handler          string `json:"handler,omitempty"`
	ClientDirectives string `json:"clientDirectives,omitempty"`
	ServerDirectives string `json:"serverDirectives,omitempty"`
	ETag             string `json:"etag,omitempty"`
}

// Reason says why, in events that end a call and in problems.
type Reason struct {
	Code     bridge.Code  `json:"code,omitempty"`
	SIP      int          `json:"sip,omitempty"`
	Q850     int          `json:"q850,omitempty"`
	Location bridge.Place `json:"location,omitempty"` // of Q850: where in the network
	Text     string       `json:"text,omitempty"`
}

// Problem is an RFC 9457 problem. Type is pathProblems and a bridge.Code, or
// "about:blank" for what HTTP itself says well enough.
type Problem struct {
	Type     string  `json:"type"`
	Title    string  `json:"title"`
	Status   int     `json:"status"`
	Detail   string  `json:"detail,omitempty"`
	Instance string  `json:"instance,omitempty"`
	Reason   *Reason `json:"reason,omitempty"`
}

// reasonOf and causeOf translate between the domain's cause and the wire.
func reasonOf(c bridge.Cause) *Reason {
	sip, _ := c.SIPStatus()
	return &Reason{Code: c.Code, SIP: sip, Q850: c.Q850Cause(), Location: c.Location.Known(), Text: c.Text}
}

func causeOf(event string, r *Reason, httpStatus int) bridge.Cause {
	if r == nil {
		r = &Reason{}
	}
	c := bridge.CauseFromRIPT(event, r.Code, httpStatus, r.SIP, r.Q850)
	c.Text, c.Location = phrase(r.Text), r.Location.Known()
	return c
}

// endOf is the cause that an event which ends a call carries. otherwise is who
// ended it where the event does not say; a peer speaks for its own side and for
// itself only.
func endOf(ev Event, otherwise bridge.Party) bridge.Cause {
	c := causeOf(ev.Type, ev.Reason, 0)
	c.By = otherwise
	if ev.EndedBy == bridge.ByBridge {
		c.By = bridge.ByBridge
	}
	return c
}

// maxReasonText is how much of a peer's words is kept: they are stored, logged
// and handed on to SIP, for every call.
const maxReasonText = 512

// phrase makes one line of a peer's words.
func phrase(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxReasonText)], "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}

// maxNonce is the largest nonce of a ping that is answered: the pong must fit
// into an event, in whatever way its characters are escaped.
const maxNonce = 1 << 10

// knownParty is a party as a peer names it, or none.
func knownParty(p bridge.Party) bridge.Party {
	switch p {
	case bridge.ByCaller, bridge.ByCallee, bridge.ByBridge:
		return p
	}
	return ""
}

// problemOf is the problem with which a request is refused.
func problemOf(c bridge.Cause) Problem {
	return Problem{
		Type:   pathProblems + string(c.Code),
		Title:  c.Title(),
		Status: c.HTTPStatus(),
		Detail: c.Text,
		Reason: reasonOf(c),
	}
}

// parse limits of JSON bodies, in bytes.
const maxBody = 64 << 10
