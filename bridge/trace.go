package bridge

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// Trace is the call's W3C trace context. Its id is also the caller's half of
// SIP's Session-ID (RFC 7989): both are 128 bits.
type Trace struct {
	ID     string `json:"id,omitempty"`     // trace-id: 32 lower-case hex digits
	Parent string `json:"parent,omitempty"` // parent-id: 16 lower-case hex digits
	Flags  uint8  `json:"flags,omitempty"`
	State  string `json:"state,omitempty"` // tracestate, as it came
}

const (
	traceSampled  = 1   // the only flag of version 00
	maxTraceState = 512 // bytes; Trace Context section 3.3.1.5 wants at least so many
	maxTraceItems = 32
)

// ParseTrace reads the header fields traceparent and tracestate (W3C Trace
// Context, version 00; of later versions the part that is known). A traceparent
// that is none is an error: the call then begins a trace of its own. A
// tracestate that is none is dropped.
func ParseTrace(traceparent, tracestate string) (Trace, error) {
	p := strings.TrimSpace(traceparent)
	bad := func(why string) (Trace, error) { return Trace{}, fmt.Errorf("traceparent %.64q: %s", p, why) }
	if len(p) < 55 || p[2] != '-' || p[35] != '-' || p[52] != '-' {
		return bad("not version-traceid-parentid-flags")
	}
	version, id, parent, flags := p[:2], p[3:35], p[36:52], p[53:55]
	switch {
	case !isHex(version) || !isHex(flags):
		return bad("not hexadecimal")
	case version == "ff", version == "00" && len(p) != 55, len(p) > 55 && p[55] != '-':
		return bad("not of a version there is")
	case !hexID(id, 32), !hexID(parent, 16):
		return bad("an id is not hexadecimal, or zero")
	}
	bits, _ := hex.DecodeString(flags)
	return Trace{ID: id, Parent: parent, Flags: bits[0] & traceSampled, State: cleanTraceState(tracestate)}, nil
}

// cleanTraceState keeps the list if it could be one.
func cleanTraceState(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > maxTraceState || strings.Count(s, ",") >= maxTraceItems {
		return ""
	}
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] > '~' {
			return ""
		}
	}
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" && !strings.Contains(item, "=") {
			return ""
		}
	}
	return s
}

// NewTrace begins a trace.
func NewTrace() Trace {
	return Trace{ID: randomHex(16)}.Child()
}

// Continued is the trace of a call of a peer that says: a new one if it says
// nothing.
func (t Trace) Continued() Trace {
	if !hexID(t.ID, 32) {
		return NewTrace()
	}
	return t.Child()
}

// Child is the same trace with a parent-id of our own, for what we ask of
// others on behalf of the call.
func (t Trace) Child() Trace {
	t.Parent = randomHex(8)
	return t
}

// IsZero tells that there is no trace.
func (t Trace) IsZero() bool { return t.ID == "" }

// Traceparent is the header field's value, "" where there is no trace.
func (t Trace) Traceparent() string {
	if t.ID == "" || t.Parent == "" {
		return ""
	}
	return fmt.Sprintf("00-%s-%s-%02x", t.ID, t.Parent, t.Flags)
}

// TraceOfSession is the trace that a session id of SIP names (RFC 7989 section
// 4.1: 32 lower-case hexadecimal digits); the zero value if it names none.
func TraceOfSession(id string) Trace {
	if !hexID(id, 32) {
		return Trace{}
	}
	return Trace{ID: id}
}

// NewSessionID is one party's half of a Session-ID.
func NewSessionID() string { return randomHex(16) }

func randomHex(n int) string {
	b := make([]byte, n)
	for {
		_, _ = rand.Read(b) // never fails (crypto/rand)
		if s := hex.EncodeToString(b); strings.Trim(s, "0") != "" {
			return s
		}
	}
}

// hexID tells whether s is n lower-case hex digits that are not all zero.
func hexID(s string, n int) bool {
	return len(s) == n && isHex(s) && strings.Trim(s, "0") != ""
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
