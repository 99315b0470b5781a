package h3

import (
	"testing"
	"time"

	"riptide/bridge"
)

// TestHoldBeginsWithTheLoss: a call whose byway has carried nothing but pings for
// longer than it may be without one finds that its media are not acknowledged. It
// looks for another way, and does not count the quiet time as time without a byway.
func TestHoldBeginsWithTheLoss(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	clock := &testClock{}
	cfg := p.config()
	cfg.Now = clock.Now
	c := runClient(t, cfg)
	awaitReady(t, c)
	dialled := mustDial(t, c, testIntent()).(*clientLeg)
	expect(t, dialled, bridge.Proceeding, false)
	// A leg in the same call, which no goroutine of its own moves on.
	l := &clientLeg{
		t: dialled.t, tg: dialled.tg, jar: newCookieJar(bridge.Trace{}), uri: dialled.callURI(), media: dialled.media,
		info: dialled.info, lastGood: clock.Now(), ending: make(chan bridge.Cause),
	}
	for end := time.Now().Add(30 * time.Second); l.media.Stats().Sent < ackPackets || l.media.Quiet().Acked.IsZero(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no media are acknowledged")
		}
		l.media.Push(&bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)})
	}
	l.acks = ackWatch{acked: l.media.Quiet().Acked, wait: time.Second}
	clock.Advance(holdLimit + time.Minute)
	k := &link{t: l.t, opened: clock.Now()} // a pong
	out := l.overdue(t.Context(), k, true, time.Minute)
	for out == nil { // the last acknowledgements may be coming in still
		l.acks = ackWatch{acked: l.media.Quiet().Acked, wait: time.Second}
		out = l.overdue(t.Context(), k, true, time.Minute)
	}
	if !out.silent {
		t.Fatalf("%+v, want a search for another way", *out)
	}
	if out := l.betweenLinks(t.Context(), *out); out.over {
		t.Errorf("the call ended: %v", out.cause)
	}
}
