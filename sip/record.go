package sip

import (
	"context"
	"encoding/json"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/rtp"
)

// stateVersion is the version of dialogState that this release writes. It reads
// every version up to this one: 1 has neither keys nor who answered whom.
const stateVersion = 2

// dialogState is what another process needs to continue a leg (RFC 3261
// section 12): the dialog, the way to the peer, what was agreed on and the
// numbering of media. It holds keys.
type dialogState struct {
	Version int    `json:"v"`
	Role    string `json:"role"`  // "uas" or "uac": who sent the first INVITE
	State   string `json:"state"` // "inviting", "answered", "confirmed", "ending", "over"

	CallID    string   `json:"callId"`
	LocalTag  string   `json:"localTag"`
	RemoteTag string   `json:"remoteTag,omitempty"`
	LocalURI  string   `json:"localUri"`
	RemoteURI string   `json:"remoteUri"`
	LocalSeq  uint32   `json:"localSeq"`
	RemoteSeq uint32   `json:"remoteSeq"`
	InviteSeq uint32   `json:"inviteSeq"` // of the INVITE that made the dialog, for its ACK or CANCEL
	Target    string   `json:"target"`
	Routes    []string `json:"routes,omitempty"`
	Secure    bool     `json:"secure,omitempty"` // the peer called us by sips

	Transport string `json:"transport"`           // "UDP", "TCP", "TLS", "WS" or "WSS"
	Peer      string `json:"peer"`                // address the peer's messages come from
	Listen    string `json:"listen"`              // our address, to bind again
	Invite    string `json:"invite,omitempty"`    // the INVITE without its body, as long as it is not acknowledged
	Session   uint64 `json:"session"`             // o= session id
	SDP       uint64 `json:"sdp"`                 // o= version last sent: the next one is higher
	SessionID string `json:"sessionId,omitempty"` // our half of Session-ID (RFC 7989)
	PeerID    string `json:"peerSessionId,omitempty"`
	Interval  int    `json:"sessionExpires,omitempty"` // of the session timer, in seconds; 0 = there is none
	Refresher bool   `json:"refresher,omitempty"`      // we refresh
	Refreshed int64  `json:"refreshed,omitempty"`      // when that was last done, in Unix seconds
	MinSE     int    `json:"minSE,omitempty"`          // the shortest interval that the peer's network takes
	Updates   bool   `json:"updates,omitempty"`        // the peer takes UPDATE
	Informs   bool   `json:"informs,omitempty"`        // it sends digits by INFO
	Deaf      bool   `json:"deaf,omitempty"`           // it takes none by INFO
	Local     string `json:"local,omitempty"`          // our description, as agreed on
	Remote    string `json:"remote,omitempty"`         // the peer's
	Answered  bool   `json:"answered,omitempty"`       // ours is the answer
	// Keys are ours of SRTP, in the order of the suites, before a description has them.
	Keys []rtp.Material `json:"keys,omitempty"`
	// Untold says that the call has moved here, and that the peer was not told yet.
	Untold bool `json:"untold,omitempty"`

	Media rtp.State  `json:"media"`
	Video *rtp.State `json:"video,omitempty"`
}

var stateNames = [...]string{inviting: "inviting", answered: "answered", confirmed: "confirmed", ending: "ending", over: "over"}

// Record implements bridge.Leg.
func (l *Leg) Record() bridge.LegRecord { return l.record(func() {}) }

// record makes the record, and then does something in the same moment.
func (l *Leg) record(then func()) bridge.LegRecord {
	rec := bridge.LegRecord{
		Protocol: "sip", Trunk: l.info.Trunk, ID: l.info.ID, From: l.info.From, To: l.info.To, Incoming: l.incoming,
	}
	fill := func() {
		rec.Plan = l.media.planCopy()
		rec.State, _ = json.Marshal(l.snapshot()) // strings and numbers: cannot fail
		then()
	}
	if l.box.do(context.Background(), fill) != nil {
		fill() // the mailbox is gone, so nobody changes the leg any more
	}
	return rec
}

func (l *Leg) snapshot() dialogState {
	s := dialogState{
		Version: stateVersion, Role: "uas", State: stateNames[l.state], CallID: l.info.ID,
		Transport: l.flow.transport().String(), Peer: l.flow.remote().String(), Listen: l.flow.LocalAddr().String(),
		SessionID: l.session.local, PeerID: l.session.remote, Session: l.media.id, SDP: l.media.version, Media: l.media.port.State(),
		MinSE: l.minSE, Updates: l.updates, Informs: l.media.informs, Deaf: l.media.deaf, Answered: l.media.answered, Untold: l.media.untold,
	}
	if l.state >= answered {
		s.Interval, s.Refresher = l.terms.seconds, l.terms.ours
		if !l.refreshedAt.IsZero() {
			s.Refreshed = l.refreshedAt.Unix()
		}
	}
	// An offer of ours that has no answer yet is not recorded: what was agreed on
	// before it counts.
	switch m := l.media; {
	case m.agreed != nil:
		s.Local, s.Remote = string(m.settled.Bytes()), string(m.remote.Bytes())
	case l.state == inviting && l.incoming && len(m.remote.Media) > 0:
		s.Remote, s.Keys = string(m.remote.Bytes()), m.sec.keysOnRecord()
	case l.state == answered && len(m.local.Media) > 0:
		s.Local = string(m.local.Bytes()) // the ACK brings its answer
	}
	if video, ok := l.media.port.VideoState(); ok {
		s.Video = &video
	}
	l.snapshotDialog(&s)
	return s
}

// snapshotDialog fills in what belongs to the dialog, and the INVITE that it came
// of as long as somebody may ask for that again.
func (l *Leg) snapshotDialog(s *dialogState) {
	d, invite := l.dlg, l.placed()
	if l.incoming && l.invite != nil {
		invite = l.invite.req
	}
	if !l.incoming {
		s.Role = "uac"
	}
	if d == nil { // nobody has answered yet
		d = dialogOfResponse(invite, sipgo.NewResponse(100, ""))
	}
	s.InviteSeq = l.inviteSeq
	if invite != nil {
		s.InviteSeq = invite.CSeq().SeqNo
		if (l.state == inviting || l.state == answered) && invite.Via() != nil {
			s.Invite = headOf(invite)
		}
	}
	s.LocalTag, s.RemoteTag, s.Secure = d.localTag, d.remoteTag, d.secure
	s.LocalURI, s.RemoteURI, s.Target = d.local.String(), d.remote.String(), d.target.String()
	s.LocalSeq, s.RemoteSeq = d.localSeq, d.remoteSeq
	for _, r := range d.routes {
		s.Routes = append(s.Routes, r.String())
	}
}

// headOf is an INVITE as far as its answers, its CANCEL and its ACK need it.
func headOf(invite *sipgo.Request) string {
	var b strings.Builder
	b.WriteString(invite.StartLine() + "\r\n")
	for _, name := range []string{"Via", "Record-Route", "Route", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Supported", "k", "Session-Expires", "x", "Min-SE"} {
		for _, h := range invite.GetHeaders(name) {
			b.WriteString(h.Name() + ": " + h.Value() + "\r\n")
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	return b.String()
}

var _ bridge.Dialer = (*Agent)(nil)
