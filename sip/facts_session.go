package sip

import (
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// sessionID is a call's Session-ID as one leg writes it (RFC 7989): the half of
// whom we stand for, and the half of the peer. Each is 32 hexadecimal digits,
// "" is not known. A leg without a local half writes none.
type sessionID struct{ local, remote string }

// nilSession stands for a half that is not known yet (RFC 7989 section 5).
const nilSession = "00000000000000000000000000000000"

// sessionOf reads the sender's half of a message; "" if there is none that we
// could use. RFC 7989 writes small letters, older systems did not.
func sessionOf(msg sipgo.Message) string {
	for _, v := range headerValues(msg, "Session-ID") {
		half, _, _ := strings.Cut(v, ";")
		half = strings.ToLower(strings.TrimSpace(half))
		if !bridge.TraceOfSession(half).IsZero() {
			return half
		}
	}
	return ""
}

// headers are those of a message of the leg.
func (s sessionID) headers() []sipgo.Header {
	if s.local == "" {
		return nil
	}
	remote := s.remote
	if remote == "" {
		remote = nilSession
	}
	return []sipgo.Header{sipgo.NewHeader("Session-ID", s.local+";remote="+remote)}
}
