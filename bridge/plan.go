package bridge

import (
	"slices"
	"time"
)

// MediaOffer is what one leg's peer is able to send and receive, best first.
// It is a capability, not a choice.
type MediaOffer struct {
	Speech       []Codec       // in the peer's order of preference
	Digits       bool          // RFC 4733 telephone-event at 8000 Hz
	ComfortNoise bool          // RFC 3389
	Ptime        time.Duration // packet time the peer prefers; 0 = not said
	Video        []Format      // in the peer's order of preference; empty = none
	Sealed       bool          // the ends encrypt between themselves: clear media is not acceptable
}

// MediaPlan is what two edges do with one call: the value from which SDP,
// directives and the pump are all made, so that they cannot disagree.
type MediaPlan struct {
	Speech       Codec         `json:"speech"` // both directions on this leg
	Digits       bool          `json:"digits"`
	ComfortNoise bool          `json:"comfortNoise"`
	Ptime        time.Duration `json:"ptime"` // of what we send; default 20 ms
	Video        *Format       `json:"video,omitempty"`
	Sealed       bool          `json:"sealed,omitempty"` // frames are end-to-end encrypted (Frame.Sealed)
}

// DefaultPtime is the packet time used when nobody asks for another.
const DefaultPtime = 20 * time.Millisecond

// PlanFor chooses the plan of a leg that offered offer, when the other leg of
// the call already runs on other. Pass-through comes first: the other leg's
// codec wins if it was offered at all, whatever its rank; otherwise the first
// offered codec we can convert to. A leg that shares no codec with us gets
// CauseMediaIncompatible.
func PlanFor(offer MediaOffer, other MediaPlan) (MediaPlan, error) {
	plan := MediaPlan{
		Digits:       offer.Digits,
		ComfortNoise: offer.ComfortNoise,
		Ptime:        offer.Ptime,
	}
	if plan.Ptime == 0 {
		plan.Ptime = other.Ptime
	}
	if plan.Ptime == 0 {
		plan.Ptime = DefaultPtime
	}
	if slices.Contains(offer.Speech, other.Speech) {
		plan.Speech = other.Speech
		return plan, nil
	}
	for _, c := range offer.Speech {
		if c.Converts() {
			plan.Speech = c
			return plan, nil
		}
	}
	return MediaPlan{}, CauseMediaIncompatible.With("no speech codec in common: offered %v, we have PCMU and PCMA", offer.Speech)
}

// Offered turns what one leg can do into what we offer on the other: its own
// codecs first, so that media can pass through, then those we can convert to
// and from.
func (o MediaOffer) Offered() MediaOffer {
	out := MediaOffer{Digits: true, ComfortNoise: true, Ptime: o.Ptime}
	for _, c := range append(slices.Clone(o.Speech), PCMU, PCMA) {
		if c.Speech() && !slices.Contains(out.Speech, c) {
			out.Speech = append(out.Speech, c)
		}
	}
	return out
}
