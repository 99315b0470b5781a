package h3

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"riptide/bridge"
)

// TestAnswersOutOfOrder: a peer that answers at once, twice, goes back, and
// speaks on after the end gives the bridge one answer and one end.
func TestAnswersOutOfOrder(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	leg := mustDial(t, p.client(t), testIntent())
	expect(t, leg, bridge.Proceeding, false)
	call := p.Call("0")
	for _, ev := range []Event{
		{Type: eventAnswered}, {Type: eventAnswered}, {Type: eventProceeding}, {Type: eventAlerting, Media: true},
		{Type: eventDeclined, Reason: &Reason{Code: "busy"}}, {Type: eventAnswered}, {Type: eventEnd}, {Type: eventMigrate, URI: "https://evil.example/"},
	} {
		call.Say(ev)
	}
	expect(t, leg, bridge.Answered, true)
	if ev := expect(t, leg, bridge.Ended, false); ev.Cause.Code != "busy" {
		t.Errorf("cause %v", ev.Cause)
	}
	expectClosed(t, leg)
}

// TestCallsLedAstray: no Location, however it is spelt, takes our token to
// another origin, and the call fails with a cause.
func TestCallsLedAstray(t *testing.T) {
	t.Parallel()
	stranger := newFakePeer(t)
	asked := func() int { stranger.mu.Lock(); defer stranger.mu.Unlock(); return stranger.posts + stranger.issued }
	p := newFakePeer(t)
	var location atomic.Value
	p.onPost = func(w http.ResponseWriter, _ *http.Request, _ CallRequest) bool {
		where, _ := location.Load().(string)
		w.Header().Set("Location", where)
		writeJSON(w, http.StatusCreated, CallDescription{URI: where, ClientDirectives: "1 to 1: PCMU;"})
		return true
	}
	c := p.client(t)
	for _, where := range []string{
		stranger.base() + "/calls/1", "//" + stranger.Addr + "/calls/1", "http://" + p.Addr + "/calls/1",
		fmt.Sprintf("https://user@%s/calls/1", p.Addr), fmt.Sprintf("https://%s#/calls/1", p.Addr), "https://" + p.Addr + "@" + stranger.Addr + "/1",
		"javascript:alert(1)", "https:///calls/1", "", "\x7f", `\\` + stranger.Addr + `\calls`,
	} {
		location.Store(where)
		leg, err := c.Dial(t.Context(), testIntent())
		if err == nil {
			t.Errorf("Location %q was followed to %s", where, leg.Info().ID)
			continue
		}
		if code := bridge.CauseOf(err).Code; code != "peer-error" && code != "unreachable" {
			t.Errorf("Location %q: %v", where, err)
		}
	}
	if n := asked(); n > 0 {
		t.Errorf("the stranger was asked %d times", n)
	}
}

// TestRefusalsOfEveryStatus: each is a cause that a SIP caller can be told.
func TestRefusalsOfEveryStatus(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var answer atomic.Int64
	p.onPost = func(w http.ResponseWriter, _ *http.Request, _ CallRequest) bool {
		w.Header().Set("Retry-After", "99999999999")
		w.Header().Set("Location", "https://evil.example/")
		w.WriteHeader(int(answer.Load()))
		return true
	}
	c := p.client(t)
	for _, status := range []int{204, 301, 302, 307, 308, 400, 403, 404, 418, 429, 500, 503, 599, 799} {
		answer.Store(int64(status))
		_, err := c.Dial(t.Context(), testIntent())
		if err == nil {
			t.Errorf("%d made a call", status)
			continue
		}
		cause := bridge.CauseOf(err)
		if sip, _ := cause.SIPStatus(); sip < 300 || sip > 699 || cause.RetryAfter > maxRetryAfter {
			t.Errorf("%d: SIP %d, retry after %v: %v", status, sip, cause.RetryAfter, err)
		}
	}
}
