package sip

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/sip/sdp"
)

// Limits of what is read of a record. Whoever can write records can do worse, but
// a store that is damaged must not take us with it.
const (
	maxState   = 256 << 10
	maxURI     = 2048
	maxSeq     = 1<<31 - 1 // RFC 3261 section 8.1.1.5
	maxExpires = maxSessionExpires
)

// recorded is a dialogState that was read, with its parts made into what they
// stand for.
type recorded struct {
	dialogState
	state  legState
	dlg    *dialog
	over   transport
	peer   netip.AddrPort
	listen netip.AddrPort
	invite *sipgo.Request // nil: acknowledged, or of an older release
	local  sdp.Description
	remote sdp.Description
}

// parseState reads what Record has written, of this release or an older one.
func parseState(b []byte) (recorded, error) {
	if len(b) > maxState {
		return recorded{}, fmt.Errorf("it has %d bytes, the limit is %d", len(b), maxState)
	}
	var r recorded
	if err := json.Unmarshal(b, &r.dialogState); err != nil {
		return recorded{}, fmt.Errorf("decode it: %w", err)
	}
	if r.Version < 1 || r.Version > stateVersion {
		return recorded{}, fmt.Errorf("it has version %d, this release reads up to %d", r.Version, stateVersion)
	}
	at := slices.Index(stateNames[:], r.State)
	if at < 0 {
		return recorded{}, fmt.Errorf("state %q is not known", clip(r.State, 32))
	}
	r.state = legState(at)
	if r.Role != "uas" && r.Role != "uac" {
		return recorded{}, fmt.Errorf("role %q is neither uas nor uac", clip(r.Role, 32))
	}
	for _, read := range []func() error{r.readWay, r.readDialog, r.readInvite, r.readMedia} {
		if err := read(); err != nil {
			return recorded{}, err
		}
	}
	return r, nil
}

// readWay reads how the peer was reached.
func (r *recorded) readWay() error {
	var err error
	if r.over, err = parseTransport(strings.ToLower(r.Transport)); err != nil {
		return err
	}
	if r.peer, err = netip.ParseAddrPort(r.Peer); err != nil {
		return fmt.Errorf("peer: %w", err)
	}
	if r.listen, err = netip.ParseAddrPort(r.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	r.peer, r.listen = netip.AddrPortFrom(r.peer.Addr().Unmap(), r.peer.Port()), netip.AddrPortFrom(r.listen.Addr().Unmap(), r.listen.Port())
	switch {
	case r.Interval != 0 && r.Interval < minSessionExpires, r.Interval > maxExpires, r.MinSE < 0, r.MinSE > maxExpires:
		return fmt.Errorf("session interval %d with at least %d: not between %d and %d s", r.Interval, r.MinSE, minSessionExpires, maxExpires)
	case r.SessionID != "" && !isSessionID(r.SessionID), r.PeerID != "" && !isSessionID(r.PeerID):
		return errors.New("Session-ID: want 32 hexadecimal digits")
	}
	return nil
}

func isSessionID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// readDialog reads the dialog.
func (r *recorded) readDialog() error {
	if !plainWord(r.CallID) || !plainWord(r.LocalTag) || r.RemoteTag != "" && !plainWord(r.RemoteTag) {
		return errors.New("Call-ID and tags: want words without spaces")
	}
	if r.RemoteTag == "" && r.state > inviting && r.state < over {
		return errors.New("an answered call without the peer's tag")
	}
	if r.LocalSeq > maxSeq || r.RemoteSeq > maxSeq || r.InviteSeq > maxSeq {
		return errors.New("CSeq is larger than 2^31-1")
	}
	if len(r.Routes) > maxRoutes {
		return fmt.Errorf("a route set of %d, the limit is %d", len(r.Routes), maxRoutes)
	}
	d := &dialog{
		callID: r.CallID, localTag: r.LocalTag, remoteTag: r.RemoteTag,
		localSeq: r.LocalSeq, remoteSeq: r.RemoteSeq, secure: r.Secure,
	}
	for text, uri := range map[*string]*sipgo.Uri{&r.LocalURI: &d.local, &r.RemoteURI: &d.remote, &r.Target: &d.target} {
		if err := readURI(*text, uri); err != nil {
			return err
		}
	}
	for _, text := range r.Routes {
		var uri sipgo.Uri
		if err := readURI(text, &uri); err != nil {
			return err
		}
		d.routes = append(d.routes, uri)
	}
	r.dlg = d
	return nil
}

// plainWord tells what can stand in a header field and means nothing there.
func plainWord(s string) bool {
	return s != "" && len(s) <= maxCallID && strings.IndexFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == ';' }) < 0
}

func readURI(text string, uri *sipgo.Uri) (err error) {
	defer func() {
		if p := recover(); p != nil { // a parser of others
			err = fmt.Errorf("address: parser failed: %v", p)
		}
	}()
	if len(text) > maxURI || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == '<' || c == '>' }) {
		return errors.New("address: too long, or with characters that no address has")
	}
	if err := sipgo.ParseUri(text, uri); err != nil {
		return fmt.Errorf("address %q: %w", clip(text, 128), err)
	}
	if uri.Wildcard || uri.Scheme != "tel" && uri.Host == "" {
		return fmt.Errorf("address %q has no host", clip(text, 128))
	}
	return nil
}

// readInvite reads the INVITE. It will be answered or cancelled with header
// fields that are written anew, so these have to say the same.
func (r *recorded) readInvite() error {
	if r.Invite == "" {
		return nil
	}
	req, err := r.inviteOf(r.Invite)
	if err == nil {
		_, err = r.inviteOf(headOf(req))
	}
	if err != nil {
		return fmt.Errorf("INVITE: %w", err)
	}
	r.invite = req
	return nil
}

// inviteOf reads an INVITE of this call.
func (r *recorded) inviteOf(text string) (*sipgo.Request, error) {
	msg, err := parse([]byte(text))
	if err != nil {
		return nil, err
	}
	req, ok := msg.(*sipgo.Request)
	if !ok || req.Method != sipgo.INVITE || req.Via() == nil || req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil ||
		checkSyntax(req, nil) != nil || req.CallID().Value() != r.CallID || req.CSeq().SeqNo != r.InviteSeq || len(req.Body()) > 0 {
		return nil, errors.New("not one of this call")
	}
	return req, nil
}

// readMedia reads the two descriptions.
func (r *recorded) readMedia() error {
	var err error
	if r.Local != "" {
		if r.local, err = sdp.Parse([]byte(r.Local)); err != nil {
			return fmt.Errorf("our description: %w", err)
		}
	}
	if r.Remote != "" {
		if r.remote, err = sdp.Parse([]byte(r.Remote)); err != nil {
			return fmt.Errorf("the peer's description: %w", err)
		}
	}
	if !r.Media.Local.IsValid() || r.Media.Local.Port() == 0 || r.Media.Local.Port() == 65535 {
		return errors.New("media: no port")
	}
	if v := r.Video; v != nil && (!v.Local.IsValid() || v.Local.Port() == 0 || v.Local.Port() == 65535) {
		return errors.New("video: no port")
	}
	return nil
}

// agreed is what the two descriptions came to; nil if there was no agreement.
// Records of version 1 do not say who answered: the order of the formats tells.
func (r *recorded) agreed(speech func(sdp.Agreed) bool) (*sdp.Agreed, bool, error) {
	if r.Local == "" || r.Remote == "" {
		return nil, false, nil
	}
	tries := []bool{r.Answered}
	if r.Version < 2 {
		tries = []bool{r.Role == "uas", r.Role != "uas"}
	}
	var err error
	for _, answered := range tries {
		var a sdp.Agreed
		if answered {
			a, err = sdp.Answered(r.remote, r.local)
		} else {
			a, err = sdp.Accepted(r.local, r.remote)
		}
		if err == nil && speech(a) {
			return &a, answered, nil
		}
		if err == nil {
			err = errors.New("what was agreed on is not what is spoken")
		}
	}
	return nil, false, err
}
