package h3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"riptide/bridge"
)

// hangUpLimit bounds the attempts to tell the peer that the call is over.
const hangUpLimit = 10 * time.Second

// hangUp tells the peer that the call is over, and does not rest before it has
// taken note, or a limit is reached.
func (l *clientLeg) hangUp(ctx context.Context, k *link, c bridge.Cause) outcome {
	ctx, cancel := context.WithTimeout(ctx, hangUpLimit)
	defer cancel()
	ev := l.event(eventEnd)
	ev.Reason, ev.EndedBy = reasonOf(c), c.By
	l.replyLast(k)
	if k != nil && l.endOnLink(ctx, k, ev) {
		return outcome{over: true}
	}
	if err := l.t.endCall(ctx, ev, l.tg.String(), l.jar); err != nil {
		l.endErr = fmt.Errorf("end call: %w", err)
	}
	return outcome{over: true}
}

// endOnLink tries the byway that is open. True: the peer has taken note, or
// has itself ended the call in the same moment.
func (l *clientLeg) endOnLink(ctx context.Context, k *link, ev Event) bool {
	if !k.post(ev) {
		return false
	}
	for {
		select {
		case err := <-k.ended:
			return err == nil
		case r := <-k.in:
			switch {
			case r.err != nil:
				if errors.Is(r.err, io.EOF) || gone(r.err) {
					return true
				}
				return false
			case r.event.Type == eventEnd, r.event.Type == eventDeclined, r.event.Type == eventFailed, r.event.Type == eventNoAnswer:
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// endCall sends `end` by itself until the peer has it.
func (t *trunk) endCall(ctx context.Context, ev Event, tg string, jar *cookieJar) error {
	for {
		err := t.putEvent(ctx, ev.Call+"/events", tg, jar, ev)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !pause(ctx, jittered(250*time.Millisecond)) {
			return err
		}
	}
}

// fate asks what became of a call whose byways the peer does not know any
// more: it can tell for a while after the end (20-protocol.md A.4-9).
func (l *clientLeg) fate(ctx context.Context) bridge.Cause {
	lost := bridge.CauseSignallingLost.With("trunk %q: the peer knows nothing of call %s any more", l.info.Trunk, l.info.ID).EndedBy(bridge.ByBridge)
	rep, err := l.t.Do(ctx, request{Method: http.MethodGet, URL: l.callURI(), Resource: l.tg.String(), Jar: l.jar})
	if err != nil {
		return lost
	}
	var d CallDescription
	if json.Unmarshal(rep.Body, &d) != nil || d.State != "ended" || d.Reason == nil {
		return lost
	}
	c := causeOf(eventEnd, d.Reason, 0)
	c.By = knownParty(d.EndedBy)
	return c
}
