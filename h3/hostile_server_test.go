package h3

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// TestMigrateLongAfterTheCallBegan: the hold counts from when the byway last
// worked, and on a migration that is now.
func TestMigrateLongAfterTheCallBegan(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	cfg := p.config()
	var ahead atomic.Int64
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	c := runClient(t, cfg)
	awaitReady(t, c)
	leg := mustDial(t, c, testIntent())
	expect(t, leg, bridge.Proceeding, false)
	call := p.Call("0")
	for range 4 { // in steps that are no silence
		ahead.Add(int64(10 * time.Second))
		call.Say(Event{Type: eventPing, Nonce: "x"})
		call.Await(t, eventPong)
	}
	p.onlyCookieless(call)
	call.Say(Event{Type: eventMigrate})
	call.Say(Event{Type: eventAnswered})
	expect(t, leg, bridge.Answered, true)
}

// TestRubbishEventsDoNotMakeUsHammer: a peer whose byways break as soon as
// they are open is not asked again at once, for as long as the call lasts.
func TestRubbishEventsDoNotMakeUsHammer(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var gets atomic.Int64
	p.onGet = func(w http.ResponseWriter, _ *http.Request, _ *fakeCall) bool {
		gets.Add(1)
		_, _ = io.WriteString(w, "[ rubbish")
		return true
	}
	leg := mustDial(t, p.client(t), testIntent())
	time.Sleep(3 * time.Second)
	if n := gets.Load(); n > 12 {
		t.Errorf("GET events %d times within three seconds", n)
	}
	_ = leg.End(t.Context(), bridge.CauseNormal)
}

// TestHugeReasonIsCut: what a peer says about an end goes into logs, records
// and SIP messages; a sentence is enough.
func TestHugeReasonIsCut(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	leg := mustDial(t, p.client(t), testIntent())
	expect(t, leg, bridge.Proceeding, false)
	p.Call("0").Say(Event{Type: eventFailed, Reason: &Reason{Code: "busy", Text: strings.Repeat("<é\r\nVia: x", 500)}})
	ev := expect(t, leg, bridge.Ended, false)
	if n := len(ev.Cause.Text); n > maxReasonText || n == 0 {
		t.Errorf("the text has %d bytes", n)
	}
	if strings.ContainsAny(ev.Cause.Text, "\r\n") {
		t.Errorf("the text holds a line break: %q", ev.Cause.Text)
	}
}

// TestHugeProblemIsCut is the same for the detail of a refusal.
func TestHugeProblemIsCut(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	p.onPost = func(w http.ResponseWriter, _ *http.Request, _ CallRequest) bool {
		p.refuse(w, bridge.CauseDeclined.With("%s", strings.Repeat("no\r\n", 12000)))
		return true
	}
	_, err := p.client(t).Dial(t.Context(), testIntent())
	if err == nil || len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("the error has %d bytes, or line breaks", len(err.Error()))
	}
}

// TestBackoffOfHostileDocuments: no number in a TG document makes a trunk wait
// for years, or not at all.
func TestBackoffOfHostileDocuments(t *testing.T) {
	t.Parallel()
	for _, ms := range []int{-1 << 63, -1, 0, 1, 2000, 1e9, 1e12, 9.2e12, 1<<63 - 1} {
		for _, failures := range []int{0, 1, 5, 11, 1 << 30} {
			if d := (TG{RetryBackoff: ms}).backoff(failures); d < minBackoff || d > maxRetryAfter {
				t.Errorf("retry-backoff %d, failure %d: %v", ms, failures, d)
			}
		}
	}
}
