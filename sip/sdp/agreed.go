package sdp

import (
	"fmt"
	"net/netip"
	"time"
)

// Agreed is what an offer and its answer came to, as seen from our side.
type Agreed struct {
	Remote     netip.AddrPort // where the peer wants media; invalid = not said, or hold by address
	RemoteRTCP netip.AddrPort // where it wants reports; invalid as above
	RTCPMux    bool

	// Send holds the formats we may send under the peer's payload type numbers,
	// the agreed speech format first. Receive holds what the peer may send
	// under our numbers. They differ only if an answer renumbers (RFC 3264
	// section 5.1).
	Send, Receive []Format

	Ptime     time.Duration // of what we send; 0 = the peer did not say
	Direction Direction     // ours: Sends tells whether we send
}

// Answered is what our answer to the peer's offer came to.
func Answered(offer, answer Description) (Agreed, error) {
	return agree(answer, offer, answer)
}

// Accepted is what the peer's answer to our offer came to. An answer that
// refuses the audio, or takes no format of ours, is an error.
func Accepted(offer, answer Description) (Agreed, error) {
	return agree(offer, answer, answer)
}

// agree joins our description and the peer's. The order of the answer decides
// which format comes first.
func agree(local, remote, answer Description) (Agreed, error) {
	ours, ok := local.Audio()
	if !ok {
		return Agreed{}, fmt.Errorf("our own description has %s: %w", local.sections(), ErrNoAudio)
	}
	theirs, ok := remote.Audio()
	if !ok {
		return Agreed{}, fmt.Errorf("the peer's description has %s: %w", remote.sections(), ErrNoAudio)
	}
	a := Agreed{
		Remote:     theirs.Remote(),
		RemoteRTCP: theirs.RTCP,
		RTCPMux:    ours.RTCPMux && theirs.RTCPMux,
		Ptime:      theirs.PacketTime(),
		Direction:  ours.Direction.And(theirs.Direction.Reverse()),
	}
	order, _ := answer.Audio()
	for _, f := range order.Formats {
		we, ok1 := find(ours.Formats, f)
		they, ok2 := find(theirs.Formats, f)
		if ok1 && ok2 {
			a.Send = append(a.Send, they)
			a.Receive = append(a.Receive, we)
		}
	}
	if _, ok := Speech(a.Send); ok {
		return a, nil
	}
	return Agreed{}, fmt.Errorf("we have %s, the peer %s: %w", list(ours.Formats), list(theirs.Formats), ErrNoFormat)
}
