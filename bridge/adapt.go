package bridge

import (
	"context"
	"slices"
)

// When one leg's peer changes its media, the other leg is asked for the same, so
// that media passes through again; until it has agreed, and if it does not,
// media is converted. Changes travel one way only: what a leg makes of our wish
// is never handed back to the leg that caused it, so two peers that each insist
// on a codec of their own end in conversion, not in a quarrel.

// tuning is what is known about the media of one side besides its plan.
type tuning struct {
	can     MediaOffer // under the policy of its trunk
	wish    *MediaPlan // that its peer was asked to follow, and has not answered yet
	refused []Codec    // that its peer did not take when asked
}

// could tells whether the side's peer may be able to run on speech codec c.
func (t *tuning) could(c Codec) bool {
	return slices.Contains(t.can.Speech, c) && !slices.Contains(t.refused, c)
}

// answered takes the outcome of a wish. It is false if there was none: the
// change is the peer's own.
func (t *tuning) answered(plan MediaPlan) bool {
	if t.wish == nil {
		return false
	}
	if plan.Speech != t.wish.Speech && !slices.Contains(t.refused, t.wish.Speech) {
		t.refused = append(t.refused, t.wish.Speech)
	}
	if t.wish.Video != nil && plan.Video == nil {
		t.can.Video = nil
	}
	t.wish = nil
	return true
}

// knows takes what the peer of a side says it can do from now on.
func (t *tuning) knows(o MediaOffer, codecs []Codec) {
	t.can, t.refused = o.Restrict(codecs), nil
}

// wishFor is what a side that runs on now should be asked for, so that the media
// of the other, which runs on other, passes through. ok is false where nothing
// would be gained.
func (t *tuning) wishFor(now, other MediaPlan) (MediaOffer, bool) {
	if now.Sealed != other.Sealed {
		return MediaOffer{}, false
	}
	offer := t.can
	offer.Speech = []Codec{now.Speech}
	gain := false
	if other.Speech != now.Speech && t.could(other.Speech) {
		offer.Speech = []Codec{other.Speech, now.Speech}
		gain = true
	}
	for _, c := range t.can.Speech {
		if t.could(c) && !slices.Contains(offer.Speech, c) {
			offer.Speech = append(offer.Speech, c)
		}
	}
	offer.Video = nil
	if v := t.can.videoFor(other.Video); v != nil {
		offer.Video = []Format{*v}
	}
	// Video that nobody sees is stopped; video that could be seen is asked for.
	if (now.Video != nil) != (len(offer.Video) > 0) || now.Video != nil && now.Video.Codec != offer.Video[0].Codec {
		gain = true
	}
	return offer, gain
}

// settle brings the legs together after a change on the side from. It fails if
// no media can flow between them any more, and nothing can be done about it.
func (c *call) settle(ctx context.Context, from side, ev Event) error {
	here, there := c.planOf(from), c.planOf(from.other())
	if ev.Offer != nil {
		c.tuned[from].knows(*ev.Offer, c.codecsOf(from))
	}
	if here == nil || there == nil || c.rec.State != StateAnswered {
		return nil
	}
	ours := ev.Kind == MediaChanged && c.tuned[from].answered(*here)
	waits := c.tuned[from.other()].wish != nil
	if !ours && !waits {
		waits = c.wish(ctx, from.other(), *there, *here)
	}
	if !waits && !playable(*here, *there) {
		return CauseMediaIncompatible.With("the %s is on %v now, the %s on %v, and neither follows the other", from.party(), here.Speech, from.other().party(), there.Speech)
	}
	return nil
}

// wish asks a side for other media, if that is any use. It tells whether an
// answer is to be expected.
func (c *call) wish(ctx context.Context, s side, now, other MediaPlan) bool {
	t := &c.tuned[s]
	offer, gain := t.wishFor(now, other)
	leg, able := c.legOf(s).(Adapter)
	if !gain || !able || c.moving.replaces(s) {
		return false
	}
	if err := leg.Adapt(ctx, offer); err != nil {
		c.log.Debug("media not adapted", "leg", c.legOf(s).Info().ID, "error", err)
		return false
	}
	want := MediaPlan{Speech: offer.Speech[0]}
	if len(offer.Video) > 0 {
		want.Video = &offer.Video[0]
	}
	t.wish = &want
	return true
}

// playable tells whether speech can get from one leg to the other at all.
func playable(p, q MediaPlan) bool {
	return p.Sealed == q.Sealed && (p.Speech == q.Speech || p.Speech.Converts() && q.Speech.Converts())
}

// codecsOf is the policy of a side's trunk.
func (c *call) codecsOf(s side) []Codec {
	if s == sideA {
		return c.terms.CallerCodecs
	}
	return c.terms.CalledCodecs
}
