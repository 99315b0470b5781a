package h3

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"riptide/bridge"
)

// TestCallLife is a whole call over each version of HTTP: ringing, early media,
// answer, pings, and the caller's end.
func TestCallLife(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, c := range map[string]*http.Client{"h3": r.h3, "h2": r.h2, "h1": r.h1} {
		t.Run(name, func(t *testing.T) {
			token := r.token(testTG)
			d, leg := r.place(c, token)
			in := r.listen(c, d.URI, token)
			if ev := in.next(eventProceeding); ev.Media || ev.Seq != 1 {
				t.Errorf("first event %+v", ev)
			}
			out := r.command(c, d.URI, token)
			out.send(Event{Type: eventPing, Seq: 1, Nonce: "n-1"})
			if ev := in.next(eventPong); ev.Nonce != "n-1" {
				t.Errorf("pong %+v", ev)
			}
			plan := &bridge.MediaPlan{Speech: bridge.PCMA}
			must(t, leg.Progress(t.Context(), bridge.Progress{})) // known already
			must(t, leg.Progress(t.Context(), bridge.Progress{Alerting: true}))
			in.next(eventAlerting)
			must(t, leg.Progress(t.Context(), bridge.Progress{Early: plan})) // 183 after 180
			if ev := in.next(eventAlerting); !ev.Media {
				t.Errorf("early media is not announced: %+v", ev)
			}
			must(t, leg.Answer(t.Context(), bridge.Answer{Media: *plan}))
			answered := in.next(eventAnswered)
			must(t, leg.Progress(t.Context(), bridge.Progress{Alerting: true})) // too late
			late := r.listen(c, d.URI, token)
			if ev := late.next(eventAnswered); ev.Seq != answered.Seq {
				t.Errorf("the state has number %d, was %d", ev.Seq, answered.Seq)
			}
			var now CallDescription
			_, body := r.do(c, exchange{method: "GET", url: d.URI, token: token})
			must(t, json.Unmarshal(body, &now))
			if now.State != eventAnswered || now.Answered.IsZero() || now.ClientDirectives != d.ClientDirectives {
				t.Errorf("description %+v", now)
			}

			out.send(Event{Type: eventEnd, Seq: 2, Reason: &Reason{Code: "normal", Q850: 16}})
			ev, ok := nextOf(t, leg)
			if !ok || ev.Kind != bridge.Ended || ev.Cause.Code != "normal" || ev.Cause.By != bridge.ByCaller || ev.Stored == nil {
				t.Fatalf("leg event %+v", ev)
			}
			select {
			case <-out.done:
				t.Error("the end was acknowledged before it was stored")
			case <-time.After(50 * time.Millisecond):
			}
			ev.Stored()
			if status := out.status(); status != 200 {
				t.Errorf("PUT ended with %d", status)
			}
			for _, s := range []*stream{in, late} {
				if ev := s.next(eventEnd); ev.Reason == nil || ev.Reason.Code != "normal" {
					t.Errorf("end %+v", ev)
				}
				s.ends()
			}
			expectLegOver(t, leg)
			must(t, leg.End(t.Context(), bridge.CauseNormal)) // the bridge's own, afterwards
			r.expectEnded(d.URI, token, "normal", bridge.ByCaller)
		})
	}
}

// expectEnded checks what an ended call leaves behind.
func (r *rig) expectEnded(call, token string, code bridge.Code, by bridge.Party) {
	r.t.Helper()
	var d CallDescription
	resp, body := r.do(r.h3, exchange{method: "GET", url: call, token: token})
	must(r.t, json.Unmarshal(body, &d))
	if resp.StatusCode != 200 || d.State != "ended" || d.EndedAt.IsZero() || d.Reason == nil || d.Reason.Code != code || d.EndedBy != by {
		r.t.Errorf("ended call: %d %s", resp.StatusCode, body)
	}
	for _, x := range []exchange{
		{method: "GET", url: call + "/events"}, {method: "PUT", url: call + "/events", body: "[]"},
		{method: "GET", url: call + "/media"}, {method: "PUT", url: call + "/media", body: "x"},
	} {
		x.token = token
		resp, body := r.do(r.h3, x)
		expectProblem(r.t, resp, body, 404, "/problems/call-ended")
	}
}

// TestCalledSideEnds turns every way in which the called side ends a call into
// its event.
func TestCalledSideEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	tests := []struct {
		cause    bridge.Cause
		answered bool
		event    string
	}{
		{bridge.CauseBusy, false, eventDeclined},
		{bridge.CauseDeclined, false, eventDeclined},
		{bridge.CauseNoAnswer, false, eventNoAnswer},
		{bridge.CauseNotFound, false, eventFailed},
		{bridge.CauseUnreachable, false, eventFailed},
		{bridge.CauseFromSIP(499, 0), false, eventFailed},
		{bridge.CauseNormal, true, eventEnd},
		{bridge.CauseMediaLost, true, eventEnd},
	}
	for _, tc := range tests {
		d, leg := r.place(r.h3, token)
		in := r.listen(r.h3, d.URI, token)
		in.next(eventProceeding)
		out := r.command(r.h3, d.URI, token)
		out.send(Event{Type: eventPing, Seq: 1})
		in.next(eventPong)
		if tc.answered {
			must(t, leg.Answer(t.Context(), bridge.Answer{Media: answerPCMA}))
			in.next(eventAnswered)
		}
		must(t, leg.End(t.Context(), tc.cause.EndedBy(bridge.ByCallee)))
		ev := in.next(tc.event)
		sip, _ := tc.cause.SIPStatus()
		if ev.Reason == nil || ev.Reason.Code != tc.cause.Code || ev.Reason.SIP != sip || ev.Reason.Q850 != tc.cause.Q850Cause() {
			t.Errorf("%s: reason %+v", tc.cause.Code, ev.Reason)
		}
		in.ends()
		if status := out.status(); status != 200 {
			t.Errorf("%s: PUT ended with %d", tc.cause.Code, status)
		}
		expectLegOver(t, leg)
		must(t, leg.End(t.Context(), bridge.CauseNormal)) // twice does no harm
		if err := leg.Answer(t.Context(), bridge.Answer{Media: answerPCMA}); !errors.Is(err, bridge.CauseCancelled) {
			t.Errorf("answer of an ended call: %v", err)
		}
		r.expectEnded(d.URI, token, tc.cause.Code, bridge.ByCallee)
	}
}

// TestCallerGivesUp is an `end` before the answer, as a PUT of one event.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	d, leg := r.place(r.h3, token)
	in := r.listen(r.h2, d.URI, token)
	in.next(eventProceeding)
	go func() {
		ev, _ := nextOf(t, leg)
		if ev.Cause.Code != "cancelled" {
			t.Errorf("cause %v", ev.Cause)
		}
		ev.Stored()
	}()
	resp, body := r.do(r.h3, exchange{method: "PUT", url: d.URI + "/events", token: token, body: []Event{{Type: "ended"}}})
	if resp.StatusCode != 204 {
		t.Errorf("PUT of one event: %d %s", resp.StatusCode, body)
	}
	in.next(eventEnd)
	in.ends()
	resp, body = r.do(r.h3, exchange{method: "PUT", url: d.URI + "/events", token: token, body: []Event{{Type: eventEnd}}})
	expectProblem(t, resp, body, 404, "/problems/call-ended")
}

// TestSeveralByways sends all events to all, and handles each command once.
func TestSeveralByways(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	d, _ := r.place(r.h3, token)
	ins := []*stream{r.listen(r.h3, d.URI, token), r.listen(r.h2, d.URI, token), r.listen(r.h3, d.URI, token)}
	for _, in := range ins {
		in.next(eventProceeding)
	}
	one, two := r.command(r.h3, d.URI, token), r.command(r.h2, d.URI, token)
	one.send(Event{Type: eventPing, Seq: 1, Nonce: "a"})
	for _, in := range ins {
		in.next(eventPong)
	}
	two.send(Event{Type: eventPing, Seq: 1, Nonce: "again"})
	two.send(Event{Type: "no-such-event", Seq: 2})
	two.send(Event{Type: eventPing, Seq: 3, Nonce: "b"})
	for _, in := range ins {
		if ev := in.next(eventPong); ev.Nonce != "b" {
			t.Errorf("a repeated command was handled: %+v", ev)
		}
	}
	must(t, one.out.Close())
	must(t, one.pipe.Close())
	if status := one.status(); status != 200 {
		t.Errorf("closed PUT: %d", status)
	}
	must(t, two.out.Close())
	must(t, two.pipe.Close())
	two.status()
	if st := r.server.State(); st.UnknownEvents != 1 || st.Calls != 1 || st.Placed != 1 || st.CutByways != 0 {
		t.Errorf("state %+v", st)
	}
}

// TestRubbishByways refuses what is no event stream, and hurts nobody else.
func TestRubbishByways(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	d, leg := r.place(r.h3, token)
	in := r.listen(r.h3, d.URI, token)
	in.next(eventProceeding)
	for body, status := range map[string]int{
		"":                               400,
		"x":                              400,
		`{"type":"end"}`:                 400,
		`[{"type":"end"`:                 400,
		`[{"type":1}]`:                   400,
		`[{"type":"ping"},}`:             400,
		`[` + strings.Repeat(" ", 99999): 400,
		`[{"type":"ping","nonce":"` + strings.Repeat("x", maxEvent): 413,
	} {
		resp, text := r.do(r.h3, exchange{method: "PUT", url: d.URI + "/events", token: token, body: body})
		typ := "/problems/bad-request"
		if status == 413 {
			typ = "about:blank"
		}
		expectProblem(t, resp, text, status, typ)
	}
	// In a stream the response has begun: it is reset.
	for _, c := range []*http.Client{r.h3, r.h2, r.h1} {
		f := r.command(c, d.URI, token)
		_, err := f.pipe.Write([]byte(`{"type":}`))
		must(t, err)
		if status := f.status(); status != 0 {
			t.Errorf("rubbish in a stream: %d, want a reset", status)
		}
	}
	f := r.command(r.h3, d.URI, token)
	f.send(Event{Type: eventPing, Seq: 9, Nonce: "still there"})
	for {
		if ev := in.next(eventPong); ev.Nonce == "still there" {
			break
		}
	}
	must(t, leg.Answer(t.Context(), bridge.Answer{Media: answerPCMA}))
	in.next(eventAnswered)
}

// TestBywayLimit refuses more byways than a call may have.
func TestBywayLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.Limits.Byways = 2 })
	token := r.token(testTG)
	d, _ := r.place(r.h3, token)
	r.listen(r.h3, d.URI, token)
	last := r.listen(r.h3, d.URI, token)
	resp, body := r.do(r.h3, exchange{method: "GET", url: d.URI + "/events", token: token})
	expectProblem(t, resp, body, 429, "/problems/rate-limited")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
	last.close()
	for range 1000 { // until the server has noticed
		if resp, _ = r.do(r.h3, exchange{method: "PUT", url: d.URI + "/events", token: token, body: "[]"}); resp.StatusCode == 204 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("after a byway was closed: %d", resp.StatusCode)
}

// TestCallMethods: a call cannot be deleted, and others do not see it.
func TestCallMethods(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	d, _ := r.place(r.h3, token)
	resp, body := r.do(r.h3, exchange{method: "DELETE", url: d.URI, token: token})
	expectProblem(t, resp, body, 405, "about:blank")
	if allow := resp.Header.Get("Allow"); !strings.Contains(allow, "GET") || strings.Contains(allow, "DELETE") {
		t.Errorf("Allow %q", allow)
	}
	resp, body = r.do(r.h3, exchange{method: "POST", url: d.URI + "/events", token: token, body: "[]"})
	expectProblem(t, resp, body, 405, "about:blank")
	moved := strings.Replace(d.URI, testTG, testTG+"-2", 1)
	resp, body = r.do(r.h3, exchange{method: "GET", url: moved, token: r.token(testTG + "-2")})
	expectProblem(t, resp, body, 404, "/problems/call-ended")
}
