package sip

import (
	"context"
	"fmt"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// replaces names a dialog, as the one who has it on the far end sees it (RFC
// 3891): toTag is that one's own.
type replaces struct {
	callID, toTag, fromTag string
	earlyOnly              bool
}

// parseReplaces reads a Replaces value.
func parseReplaces(s string) (replaces, error) {
	parts := splitOutside(s, ';')
	r := replaces{callID: parts[0]}
	for _, p := range parts[1:] {
		name, value, _ := strings.Cut(p, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "to-tag":
			r.toTag = value
		case "from-tag":
			r.fromTag = value
		case "early-only":
			r.earlyOnly = true
		}
	}
	for _, v := range []string{r.callID, r.toTag, r.fromTag} {
		if v == "" || len(v) > maxCallID || strings.ContainsAny(v, " \t\r\n\"<>;,") {
			return replaces{}, fmt.Errorf("Replaces %q: want call-id;to-tag=…;from-tag=…", clip(s, 128))
		}
	}
	return r, nil
}

func (r replaces) String() string {
	s := r.callID + ";to-tag=" + r.toTag + ";from-tag=" + r.fromTag
	if r.earlyOnly {
		s += ";early-only"
	}
	return s
}

// readReplaces reads what an INVITE wants to replace, nil if nothing (RFC 3891
// section 3).
func readReplaces(req *sipgo.Request) (*replaces, *refusal) {
	values := headerValues(req, "Replaces")
	if len(values) == 0 {
		return nil, nil
	}
	if len(values) > 1 || len(req.GetHeaders("Join")) > 0 {
		return nil, refuse(400, "One Replaces Header Wanted")
	}
	r, err := parseReplaces(values[0])
	if err != nil {
		return nil, refuse(400, "Bad Replaces Header")
	}
	return &r, nil
}

// toReplace finds the leg whose place an incoming one is to take, or says why it
// cannot. Only calls of the same trunk are there to be found. It must not be
// called from within a mailbox.
func (a *Agent) toReplace(ctx context.Context, r replaces, t *trunk) (*Leg, error) {
	found := make(chan *Leg, 1)
	var err error = bridge.Cause{Code: "call-ended"}.With("there is no call of trunk %q to take the place of", t.Name)
	a.find(r, t, func(l *Leg) {
		switch {
		case l == nil:
		case l.state >= ending:
			err = bridge.CauseDeclined.With("the call whose place was to be taken is over")
			l = nil
		case r.earlyOnly && l.state != inviting:
			err = bridge.CauseBusy.With("the call that was to be picked up is answered already")
			l = nil
		case l.incoming && l.state == inviting:
			l = nil // RFC 3891 section 3: an early dialog that is not ours
		}
		found <- l
	})
	select {
	case l := <-found:
		if l != nil {
			err = nil
		}
		return l, err
	case <-ctx.Done():
		return nil, bridge.CauseInternal.With("look for the call to be replaced: %v", ctx.Err())
	}
}
