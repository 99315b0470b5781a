package sip

import (
	"context"

	"riptide/bridge"
)

// replaceCall calls the peer of a recorded leg anew, to take the place of that
// call (RFC 3891), for peers whose dialogs cannot be moved to another address by a
// re-INVITE. The leg is another one, and so is its Call-ID; the peer ends the old
// dialog by itself.
func (a *Agent) replaceCall(ctx context.Context, t *trunk, rec *recorded, r bridge.Resumption) (bridge.Leg, error) {
	if r.Plan == nil {
		return nil, bridge.CauseMediaIncompatible.With("nothing was agreed on yet that could be moved")
	}
	in := bridge.Intent{
		Call: r.Call, Trunk: t.Name, From: r.From, To: r.To, Media: offerOf(*r.Plan), Hops: bridge.DefaultHops, Trace: r.Trace,
		Replaces: replaces{callID: rec.CallID, toTag: rec.RemoteTag, fromTag: rec.LocalTag}.String(),
	}
	if r.Incoming {
		in.From, in.To = r.To, r.From
	}
	l, err := a.placeCall(ctx, in, true)
	if err != nil {
		return nil, err
	}
	r.Hear(l.Media())
	for {
		select {
		case ev, ok := <-l.Events():
			switch {
			case !ok:
				return nil, bridge.CauseSignallingLost.With("the peer does not let the call be replaced")
			case ev.Kind == bridge.Answered:
				return l, nil
			case ev.Kind == bridge.Ended && ev.Cause.SIP == 481: // none such (RFC 3891 section 3)
				return nil, hungUpUnheard(t.Name, "an INVITE with Replaces", partyOf(r.Incoming))
			case ev.Kind == bridge.Ended:
				return nil, bridge.CauseSignallingLost.With("the peer does not let the call be replaced: %v", ev.Cause)
			}
		case <-ctx.Done():
			return nil, l.tooLate(ctx, "that the call is to be replaced")
		}
	}
}
