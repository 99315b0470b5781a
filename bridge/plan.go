package bridge

import (
	"slices"
	"time"

	"riptide/bridge/format"
)

// MediaOffer is what one leg's peer is able to send and receive, best first.
// It is a capability, not a choice.
type MediaOffer struct {
	Speech       []Codec       // in the peer's order of preference
	Limits       []Format      // of speech codecs that have any: "br", "ch"
	Digits       bool          // RFC 4733 telephone-event at 8000 Hz
	ComfortNoise bool          // RFC 3389
	Ptime        time.Duration // packet time the peer prefers; 0 = not said
	Video        []Format      // in the peer's order of preference; empty = none
	Sealed       bool          // the ends encrypt between themselves: clear media is not acceptable
}

// MediaPlan is what two edges do with one call: the value from which SDP,
// directives and the pump are all made, so that they cannot disagree.
type MediaPlan struct {
	Speech       Codec         `json:"speech"`           // both directions on this leg
	Limits       []Param       `json:"limits,omitempty"` // of Speech, both directions: "br", "ch"
	Digits       bool          `json:"digits"`
	ComfortNoise bool          `json:"comfortNoise"`
	Ptime        time.Duration `json:"ptime"` // of what we send; default 20 ms
	Video        *Format       `json:"video,omitempty"`
	Sealed       bool          `json:"sealed,omitempty"` // frames are end-to-end encrypted (Frame.Sealed)
}

// DefaultPtime is the packet time used when nobody asks for another.
const DefaultPtime = 20 * time.Millisecond

// Equal tells whether both say the same.
func (p MediaPlan) Equal(q MediaPlan) bool {
	video := (p.Video == nil) == (q.Video == nil)
	if p.Video != nil && q.Video != nil {
		video = p.Video.Codec == q.Video.Codec && format.Equal(p.Video.Params, q.Video.Params)
	}
	return video && p.Speech == q.Speech && format.Equal(p.Limits, q.Limits) && p.Digits == q.Digits &&
		p.ComfortNoise == q.ComfortNoise && p.Ptime == q.Ptime && p.Sealed == q.Sealed
}

// Offer is the capability of a leg that runs on p, as far as p tells.
func (p MediaPlan) Offer() MediaOffer {
	o := MediaOffer{
		Speech: []Codec{p.Speech}, Digits: p.Digits, ComfortNoise: p.ComfortNoise, Ptime: p.Ptime, Sealed: p.Sealed,
	}
	if len(p.Limits) > 0 {
		o.Limits = []Format{{Codec: p.Speech, Params: p.Limits}}
	}
	if p.Video != nil {
		o.Video = []Format{*p.Video}
	}
	return o
}

// Limit is a speech codec of the offer with the limits it has there.
func (o MediaOffer) Limit(c Codec) Format {
	for _, f := range o.Limits {
		if f.Codec == c {
			return f
		}
	}
	return Format{Codec: c}
}

// Restrict is the offer as a trunk's policy lets it be: those of codecs only,
// and in their order. No codecs means no restriction.
func (o MediaOffer) Restrict(codecs []Codec) MediaOffer {
	if len(codecs) == 0 {
		return o
	}
	speech, video := o.Speech, o.Video
	o.Speech, o.Video = nil, nil
	for _, c := range codecs {
		if slices.Contains(speech, c) {
			o.Speech = append(o.Speech, c)
		}
		for _, f := range video {
			if f.Codec == c {
				o.Video = append(o.Video, f)
			}
		}
	}
	return o
}

// Negotiation is all that decides the codecs of a call.
type Negotiation struct {
	Caller MediaOffer // what the calling leg's peer can do

	// Called is what the called leg agreed to; nil: it was not asked yet.
	Called *MediaPlan

	// CallerCodecs and CalledCodecs are the policies of the two trunks: what may
	// be spoken there, best first. Empty means everything.
	CallerCodecs, CalledCodecs []Codec

	// Clear says that the called trunk cannot carry media that is sealed.
	Clear bool

	// Convert are the speech codecs that we can turn into each other, the
	// cheapest first.
	Convert []Codec
}

// Agreement is what a negotiation comes to.
type Agreement struct {
	Offer    MediaOffer // what the called leg is offered
	Plan     MediaPlan  // of the calling leg; only if the called leg has agreed
	Converts bool       // speech does not pass through: it must be converted
}

// Negotiate decides the codecs of a call. Media passes through wherever any
// codec of the caller's allows it; conversion is the last resort. Video is a
// bonus: a call whose legs share no video goes on without. Sealed media is
// never converted, and never joined to clear media.
func Negotiate(n Negotiation) (Agreement, error) {
	caller := n.Caller.Restrict(n.CallerCodecs)
	if len(caller.Speech) == 0 {
		return Agreement{}, CauseMediaIncompatible.With("no speech codec that may be used: the caller offers %v, its trunk allows %v", n.Caller.Speech, n.CallerCodecs)
	}
	if caller.Sealed && n.Clear {
		return Agreement{}, CauseMediaSealed.With("the call is encrypted end to end, which the called side cannot carry")
	}
	a := Agreement{Offer: caller.passedOn(n.CalledCodecs, n.Convert)}
	if len(a.Offer.Speech) == 0 {
		return Agreement{}, CauseMediaIncompatible.With("no speech codec to offer: the caller can do %v, the called trunk allows %v (key codecs)", caller.Speech, n.CalledCodecs)
	}
	if n.Called == nil {
		return a, nil
	}
	plan, err := caller.plan(*n.Called, n.Convert)
	if err != nil {
		return Agreement{}, err
	}
	a.Plan, a.Converts = plan, plan.Speech != n.Called.Speech
	return a, nil
}

// passedOn is what the other leg is offered: the codecs that pass through, then
// those we can convert to and from, each group in the order of the other
// trunk's policy if it has one.
func (o MediaOffer) passedOn(codecs, convert []Codec) MediaOffer {
	out := o.Restrict(codecs)
	if o.Sealed {
		return out // nobody here can open it, render its noise or hear its digits
	}
	out.Digits, out.ComfortNoise = true, true
	if !slices.ContainsFunc(o.Speech, func(c Codec) bool { return slices.Contains(convert, c) }) {
		return out
	}
	more := MediaOffer{Speech: convert}.Restrict(codecs)
	out.Speech = slices.Clone(out.Speech)
	for _, c := range more.Speech {
		if !slices.Contains(out.Speech, c) {
			out.Speech = append(out.Speech, c)
		}
	}
	return out
}

// plan chooses the plan of a leg when the other leg of the call runs on other.
func (o MediaOffer) plan(other MediaPlan, convert []Codec) (MediaPlan, error) {
	if o.Sealed != other.Sealed {
		return MediaPlan{}, CauseMediaSealed.With("one side of the call encrypts end to end, and the other does not: give this end the keys (trunks.NAME.ript.e2e-keys)")
	}
	if o.Sealed {
		convert = nil // nobody here can open it
	}
	plan := MediaPlan{Digits: o.Digits, ComfortNoise: o.ComfortNoise, Ptime: o.Ptime, Sealed: o.Sealed}
	if plan.Ptime == 0 {
		plan.Ptime = other.Ptime
	}
	if plan.Ptime == 0 {
		plan.Ptime = DefaultPtime
	}
	var ok bool
	if plan.Speech, ok = o.speechFor(other.Speech, convert); !ok {
		return MediaPlan{}, CauseMediaIncompatible.With("no speech codec in common: offered %v, the other side has %v, and we convert between %v", o.Speech, other.Speech, convert)
	}
	limits := o.Limit(plan.Speech)
	if plan.Speech == other.Speech {
		limits, _ = limits.Common(Format{Codec: plan.Speech, Params: other.Limits})
	}
	plan.Limits = limits.Params
	plan.Video = o.videoFor(other.Video)
	return plan, nil
}

// speechFor is the other leg's codec if it was offered at all, whatever its
// rank, else the first offered one that we can convert.
func (o MediaOffer) speechFor(other Codec, convert []Codec) (Codec, bool) {
	if slices.Contains(o.Speech, other) {
		return other, true
	}
	if !slices.Contains(convert, other) {
		return 0, false
	}
	for _, c := range o.Speech {
		if slices.Contains(convert, c) {
			return c, true
		}
	}
	return 0, false
}

// videoFor is the video that passes through to a leg that runs on other.
func (o MediaOffer) videoFor(other *Format) *Format {
	if other == nil {
		return nil
	}
	for _, f := range o.Video {
		if common, ok := f.Common(*other); ok {
			return &common
		}
	}
	return nil
}

// PlanFor chooses the plan of a leg that offered offer, when the other leg of
// the call, or this one until now, runs on other. It is Negotiate for edges that
// answer their peer by themselves. A leg that shares no codec with us gets
// CauseMediaIncompatible.
func PlanFor(offer MediaOffer, other MediaPlan) (MediaPlan, error) {
	return offer.plan(other, Convertible())
}

// Offered is what a leg is offered when the other one can do o.
func (o MediaOffer) Offered() MediaOffer { return o.passedOn(nil, Convertible()) }

// Convertible are the speech codecs that package transcode has, the cheapest
// first.
func Convertible() []Codec {
	var out []Codec
	for _, c := range Codecs() {
		if c.Converts() {
			out = append(out, c)
		}
	}
	return out
}
