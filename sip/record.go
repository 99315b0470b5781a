package sip

import (
	"context"
	"encoding/json"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/rtp"
)

// stateVersion is the version of dialogState that this release writes.
const stateVersion = 1

// dialogState is what another process needs to continue a leg (RFC 3261
// section 12): the dialog, the way to the peer, and the numbering of media.
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

	Transport string `json:"transport"`           // "UDP" or "TCP"
	Peer      string `json:"peer"`                // address the peer's messages come from
	Listen    string `json:"listen"`              // our address, to bind again
	Via       string `json:"via,omitempty"`       // top Via of an INVITE of ours that has no answer
	Session   uint64 `json:"session"`             // o= session id
	SDP       uint64 `json:"sdp"`                 // o= version last sent: the next one is higher
	SessionID string `json:"sessionId,omitempty"` // our half of Session-ID (RFC 7989)
	PeerID    string `json:"peerSessionId,omitempty"`
	Interval  int    `json:"sessionExpires,omitempty"` // of the session timer, in seconds; 0 = there is none
	Refresher bool   `json:"refresher,omitempty"`      // we refresh
	Updates   bool   `json:"updates,omitempty"`        // the peer takes UPDATE
	Local     string `json:"local,omitempty"`          // our description
	Remote    string `json:"remote,omitempty"`

	Media rtp.State  `json:"media"`
	Video *rtp.State `json:"video,omitempty"`
}

var stateNames = [...]string{inviting: "inviting", answered: "answered", confirmed: "confirmed", ending: "ending", over: "over"}

// Record implements bridge.Leg.
func (l *Leg) Record() bridge.LegRecord {
	rec := bridge.LegRecord{
		Protocol: "sip", Trunk: l.info.Trunk, ID: l.info.ID, From: l.info.From, To: l.info.To, Incoming: l.incoming,
	}
	fill := func() {
		rec.Plan = l.media.planCopy()
		rec.State, _ = json.Marshal(l.snapshot()) // strings and numbers: cannot fail
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
	}
	if l.state >= answered {
		s.Interval, s.Refresher = l.terms.seconds, l.terms.ours
	}
	s.Updates = l.updates
	if len(l.media.local.Media) > 0 {
		s.Local = string(l.media.local.Keyless().Bytes())
	}
	if len(l.media.remote.Media) > 0 {
		s.Remote = string(l.media.remote.Keyless().Bytes())
	}
	if video, ok := l.media.port.VideoState(); ok {
		s.Video = &video
	}
	d := l.dlg
	if l.incoming {
		s.InviteSeq = l.invite.req.CSeq().SeqNo
	} else {
		s.Role, s.InviteSeq = "uac", l.out.invite.CSeq().SeqNo
		if l.state == inviting && l.out.invite.Via() != nil {
			s.Via = l.out.invite.Via().Value()
		}
		if d == nil { // nobody has answered yet
			d = dialogOfResponse(l.out.invite, sipgo.NewResponse(100, ""))
		}
	}
	s.LocalTag, s.RemoteTag = d.localTag, d.remoteTag
	s.LocalURI, s.RemoteURI, s.Target = d.local.String(), d.remote.String(), d.target.String()
	s.LocalSeq, s.RemoteSeq = d.localSeq, d.remoteSeq
	for _, r := range d.routes {
		s.Routes = append(s.Routes, r.String())
	}
	return s
}

// Resume implements bridge.Resumer.
func (a *Agent) Resume(_ context.Context, r bridge.Resumption) (bridge.Leg, error) {
	return nil, bridge.CauseNotImplemented.With("call %s of trunk %q cannot be continued: this release records calls, but does not take them over", r.ID, r.Trunk)
}

var (
	_ bridge.Dialer  = (*Agent)(nil)
	_ bridge.Resumer = (*Agent)(nil)
)
