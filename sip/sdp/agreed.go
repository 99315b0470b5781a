package sdp

import (
	"fmt"
	"net/netip"
	"time"
)

// Agreed is what an offer and its answer came to, as seen from our side.
type Agreed struct {
	Audio Stream
	Video Stream // the zero value: there is none
}

// Stream is what was agreed on for the media of one section.
type Stream struct {
	Remote     netip.AddrPort // where the peer wants media; invalid = not said, or hold by address
	RemoteRTCP netip.AddrPort // where it wants reports; invalid as above
	RTCPMux    bool

	// Send holds the formats we may send under the peer's payload type numbers,
	// the one agreed on first. Receive holds what the peer may send under our
	// numbers. They differ only if an answer renumbers (RFC 3264 section 5.1).
	// The Feedback of both is what both ends know.
	Send, Receive []Format

	Ptime      time.Duration // of what we send; 0 = the peer did not say
	MaxPtime   time.Duration // of what we send, at most; 0 = the peer did not say
	Direction  Direction     // ours: Sends tells whether we send
	Protection Protection
}

// Agreed tells whether there is such a stream.
func (s Stream) Agreed() bool { return len(s.Send) > 0 }

// SameWay tells whether media goes between the same places in the same
// direction, under the same protection, as on o.
func (s Stream) SameWay(o Stream) bool {
	return s.Remote == o.Remote && s.Direction == o.Direction && s.Protection.Same(o.Protection)
}

// Answered is what our answer to the peer's offer came to.
func Answered(offer, answer Description) (Agreed, error) {
	return agree(answer, offer, answer, true)
}

// Accepted is what the peer's answer to our offer came to. An answer that
// refuses the audio, or takes no format of ours, is an error.
func Accepted(offer, answer Description) (Agreed, error) {
	return agree(offer, answer, answer, false)
}

// agree joins our description and the peer's. The order of the answer decides
// which format comes first.
func agree(local, remote, answer Description, answered bool) (Agreed, error) {
	ours, theirs, order, err := audioOf(local, remote, answer)
	if err != nil {
		return Agreed{}, err
	}
	a := Agreed{Audio: join(ours, theirs, order)}
	if a.Audio.Protection, err = protect(ours, theirs, order, answered); err != nil {
		return Agreed{}, err
	}
	if _, ok := Speech(a.Audio.Send); !ok {
		return Agreed{}, fmt.Errorf("we have %s, the peer %s: %w", list(ours.Formats), list(theirs.Formats), ErrNoFormat)
	}
	// Sections answer each other by their place (RFC 3264 section 6).
	at := answer.usable(videoType)
	ours, ok1 := local.at(at)
	theirs, ok2 := remote.at(at)
	if ok1 && ok2 && ours.live(videoType) && theirs.live(videoType) {
		order, _ = answer.at(at)
		s := join(ours, theirs, order)
		if s.Protection, err = protect(ours, theirs, order, answered); err == nil && s.Agreed() {
			a.Video = s
		}
	}
	return a, nil
}

// audioOf finds the audio of both: by the place it has in the answer, or, where
// a peer has lost count, the first of each.
func audioOf(local, remote, answer Description) (ours, theirs, order Media, err error) {
	at := answer.usable(audioType)
	ours, ok1 := local.at(at)
	theirs, ok2 := remote.at(at)
	if ok1 && ok2 && ours.live(audioType) && theirs.live(audioType) {
		order, _ = answer.at(at)
		return ours, theirs, order, nil
	}
	if ours, ok1 = local.Audio(); !ok1 {
		return Media{}, Media{}, Media{}, fmt.Errorf("our own description has %s: %w", local.sections(), ErrNoAudio)
	}
	if theirs, ok2 = remote.Audio(); !ok2 {
		return Media{}, Media{}, Media{}, fmt.Errorf("the peer's description has %s: %w", remote.sections(), ErrNoAudio)
	}
	order, _ = answer.Audio()
	return ours, theirs, order, nil
}

// live tells whether a section is in use, for a type.
func (m Media) live(kind string) bool { return m.Type == kind && m.rtp() && m.Port != 0 }

// join is what one section of ours and the peer's come to.
func join(ours, theirs, order Media) Stream {
	s := Stream{
		Remote:     theirs.Remote(),
		RemoteRTCP: theirs.RTCP,
		RTCPMux:    ours.RTCPMux && theirs.RTCPMux,
		Ptime:      theirs.PacketTime(),
		MaxPtime:   theirs.maxPacketTime(),
		Direction:  ours.Direction.And(theirs.Direction.Reverse()),
	}
	for _, f := range order.Formats {
		we, ok1 := find(ours.Formats, f)
		they, ok2 := find(theirs.Formats, f)
		if ok1 && ok2 {
			both := we.Feedback & they.Feedback
			we.Feedback, they.Feedback = both, both
			s.Send = append(s.Send, they)
			s.Receive = append(s.Receive, we)
		}
	}
	return s
}
