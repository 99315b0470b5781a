package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// RFC 4028 section 9, table 2, and what the trunk's policy makes of it.
func TestAgreeTimer(t *testing.T) {
	t.Parallel()
	none := sessionTerms{}
	for _, tc := range []struct {
		policy string
		now    sessionTerms
		in     timerRequest
		want   sessionTerms
	}{
		{TimerAccept, none, timerRequest{supports: true}, none},
		{TimerAccept, none, timerRequest{1800, "", true}, sessionTerms{1800, false}},
		{TimerAccept, none, timerRequest{1800, "uac", true}, sessionTerms{1800, false}},
		{TimerAccept, none, timerRequest{1800, "uas", true}, sessionTerms{1800, true}},
		{TimerAccept, none, timerRequest{1800, "", false}, sessionTerms{1800, true}},
		{TimerAccept, none, timerRequest{1800, "uas", false}, sessionTerms{1800, true}},
		{TimerAccept, sessionTerms{1800, true}, timerRequest{}, sessionTerms{1800, true}},
		{TimerAccept, sessionTerms{1800, false}, timerRequest{}, none},
		{TimerRequire, none, timerRequest{}, sessionTerms{600, true}},
		{TimerRequire, none, timerRequest{supports: true}, sessionTerms{600, true}},
		{TimerRequire, none, timerRequest{1800, "", true}, sessionTerms{600, false}},
		{TimerRequire, none, timerRequest{120, "uas", true}, sessionTerms{120, true}},
		{TimerNever, none, timerRequest{1800, "", true}, none},
		{TimerNever, sessionTerms{1800, true}, timerRequest{1800, "uas", false}, none},
	} {
		if got := agreeTimer(tc.policy, 600, tc.now, tc.in); got != tc.want {
			t.Errorf("%s, %+v asked %+v: got %+v, want %+v", tc.policy, tc.now, tc.in, got, tc.want)
		}
	}
}

// What the response to our request makes of it (section 7.2).
func TestAnsweredTimer(t *testing.T) {
	t.Parallel()
	none := sessionTerms{}
	for _, tc := range []struct {
		policy string
		asked  sessionTerms
		header string
		want   sessionTerms
	}{
		{TimerAccept, none, "", none},
		{TimerAccept, none, "1800;refresher=uas", sessionTerms{1800, false}},
		{TimerAccept, none, "1800;refresher=uac", sessionTerms{1800, true}},
		{TimerAccept, none, "1800", sessionTerms{1800, true}},
		{TimerAccept, none, "nonsense", none},
		{TimerAccept, sessionTerms{1800, true}, "", sessionTerms{1800, true}},
		{TimerAccept, sessionTerms{1800, false}, "", none},
		{TimerRequire, sessionTerms{600, true}, "", sessionTerms{600, true}},
		{TimerRequire, sessionTerms{600, true}, "300;refresher=uas", sessionTerms{300, false}},
		{TimerRequire, sessionTerms{600, true}, "10;refresher=uac", sessionTerms{90, true}},
		{TimerNever, none, "1800;refresher=uac", none},
	} {
		res := sipgo.NewResponse(200, "OK")
		if tc.header != "" {
			res.AppendHeader(sipgo.NewHeader("Session-Expires", tc.header))
		}
		if got := answeredTimer(tc.policy, tc.asked, res); got != tc.want {
			t.Errorf("%s, asked %+v, answered %q: got %+v, want %+v", tc.policy, tc.asked, tc.header, got, tc.want)
		}
	}
}

// RFC 4028 section 10: BYE the lesser of 32 s and a third before the end.
func TestSessionTimesAreDue(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[int][2]int{90: {45, 60}, 96: {48, 64}, 99: {49, 67}, 1800: {900, 1768}} {
		if refresh, end := (sessionTerms{seconds: seconds}).due(); refresh != want[0] || end != want[1] {
			t.Errorf("%d s: refreshed after %d, over after %d, want %v", seconds, refresh, end, want)
		}
	}
}

func TestTooSmall(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]int{"1800": 1800, " 600 ;x=y": 600, "90": 0, "-1": 0, "999999999": 0, "x": 0, "": 0} {
		res := sipgo.NewResponse(422, "Session Interval Too Small")
		res.AppendHeader(sipgo.NewHeader("Min-SE", header))
		if got, ok := tooSmall(res, 90); ok != (want != 0) || ok && got != want {
			t.Errorf("Min-SE %q: %d %v, want %d", header, got, ok, want)
		}
	}
}

// Sessions of 90 "seconds" in tests: long enough to answer in on a busy machine.
const (
	shortSecond = 30 * time.Millisecond
	tinySecond  = 3 * time.Millisecond
)

// timed is a call from a peer over a trunk with short seconds.
func timed(t *testing.T, tr Trunk, headers ...string) (*dlg, bridge.Leg, *sipgo.Response) {
	t.Helper()
	acc := newAcceptor()
	a := startAgent(t, acc, tr)
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000), headers...)
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	res := d.status(200, "INVITE")
	d.learn(res)
	d.ack("")
	return d, l, res
}

func sessionHeader(t *testing.T, msg sipgo.Message, want string) {
	t.Helper()
	if v := headerValues(msg, "Session-Expires"); len(v) != 1 || v[0] != want {
		t.Errorf("Session-Expires %q, want %q", v, want)
	}
}

// livekit/sip#582: calls were torn down because nobody refreshed them. We do,
// by UPDATE where the peer takes it.
func TestLivekit582WeRefreshByUpdate(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "timers", "scripted")
	d, l, res := timed(t, Trunk{second: shortSecond}, "Supported: timer", "Allow: INVITE, ACK, BYE, UPDATE", "Session-Expires: 90;refresher=uas")
	sessionHeader(t, res, "90;refresher=uas")
	if !hasOption(res, "Require", "timer") {
		t.Errorf("%s", res)
	}
	for range 3 {
		update := d.request("UPDATE")
		sessionHeader(t, update, "90;refresher=uac")
		if len(update.Body()) != 0 || update.Contact() == nil || !offers(update, "timer") {
			t.Errorf("%s", update)
		}
		d.respond(update, 200, "OK", "", "", "Session-Expires: 90;refresher=uac")
	}
	hangUp(t, d, l)
}

// And by re-INVITE with the description as it was where it does not, or says so
// only when asked.
func TestLivekit582WeRefreshByReinvite(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "timers", "scripted")
	for name, allow := range map[string]string{"nothing said": "X-Y: z", "UPDATE refused": "Allow: INVITE, UPDATE"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, l, res := timed(t, Trunk{second: shortSecond}, "Supported: timer", allow, "Session-Expires: 90;refresher=uas")
			if strings.Contains(allow, "UPDATE") {
				d.respond(d.request("UPDATE"), 405, "Method Not Allowed", "", "")
			}
			for range 2 {
				inv := d.request("INVITE")
				sessionHeader(t, inv, "90;refresher=uac")
				if string(inv.Body()) != string(res.Body()) {
					t.Errorf("a refresh changed our description:\n%s\n%s", res.Body(), inv.Body())
				}
				d.respond(inv, 200, "OK", "", offerSDP(1, 40000), "Session-Expires: 90;refresher=uac", "Require: timer")
				d.request("ACK")
			}
			hangUp(t, d, l) // and no MediaChanged event before
		})
	}
}

// livekit/sip#582: a peer that refreshes keeps its call, and one that stops
// loses it, with a BYE.
func TestLivekit582PeerRefreshes(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "timers", "scripted")
	d, l, res := timed(t, Trunk{second: shortSecond}, "Supported: timer", "Session-Expires: 90")
	sessionHeader(t, res, "90;refresher=uac")
	for i := range 3 {
		time.Sleep(40 * shortSecond)
		if i%2 == 0 {
			d.do("UPDATE", "", "Supported: timer", "Session-Expires: 90;refresher=uac")
			sessionHeader(t, d.answer(200, "UPDATE"), "90;refresher=uac")
		} else {
			d.do("INVITE", offerSDP(1, 40000), "Supported: timer", "Session-Expires: 90;refresher=uac")
			sessionHeader(t, d.answer(200, "INVITE"), "90;refresher=uac")
			d.ack("")
		}
	}
	bye := d.request("BYE")
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != "signalling-lost" || !strings.Contains(ev.Cause.Text, "expired") {
		t.Errorf("ended by %v", ev.Cause)
	}
	d.respond(bye, 200, "OK", "", "")
	closed(t, l)
}

// A refresh that cannot be done now is done later; only a peer that knows of no
// call, or does not answer, ends it (RFC 4028 section 10).
func TestRefreshRefused(t *testing.T) {
	t.Parallel()
	for status, survives := range map[int]bool{491: true, 500: true, 503: true, 422: true, 481: false, 408: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			d, l, _ := timed(t, Trunk{second: 2 * shortSecond}, "Supported: timer", "Allow: UPDATE", "Session-Expires: 180;refresher=uas")
			d.respond(d.request("UPDATE"), status, "Whatever", "", "", "Min-SE: 200")
			if survives {
				again := d.request("UPDATE")
				want := "180;refresher=uac"
				if status == 422 {
					want = "200;refresher=uac"
					if v := headerValues(again, "Min-SE"); len(v) != 1 || v[0] != "200" {
						t.Errorf("Min-SE %v", v)
					}
				}
				sessionHeader(t, again, want)
				d.respond(again, 200, "OK", "", "", "Session-Expires: 3600;refresher=uas")
				hangUp(t, d, l)
				return
			}
			if ev := event(t, l, bridge.Ended); ev.Cause.Code != "signalling-lost" {
				t.Errorf("ended by %v", ev.Cause)
			}
			d.respond(d.request("BYE"), 200, "OK", "", "")
			closed(t, l)
		})
	}
}

// drachtio-server#474: whether there are timers is the trunk's to say.
func TestDrachtio474TimerPolicy(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "timers", "scripted")
	t.Run("never", func(t *testing.T) {
		t.Parallel()
		d, l, res := timed(t, Trunk{Timer: TimerNever, second: tinySecond}, "Supported: timer", "Session-Expires: 90;refresher=uas")
		if len(headerValues(res, "Session-Expires")) != 0 || offers(res, "timer") {
			t.Errorf("%s", res)
		}
		d.do("UPDATE", "", "Require: timer", "Session-Expires: 90")
		if v := headerValues(d.answer(420, "UPDATE"), "Unsupported"); len(v) != 1 || v[0] != "timer" {
			t.Errorf("Unsupported %v", v)
		}
		time.Sleep(100 * tinySecond)
		hangUp(t, d, l)
	})
	t.Run("require, with a peer that knows none", func(t *testing.T) {
		t.Parallel()
		d, l, res := timed(t, Trunk{Timer: TimerRequire, SessionInterval: 90 * time.Second, second: shortSecond}, "Allow: UPDATE")
		sessionHeader(t, res, "90;refresher=uas")
		if hasOption(res, "Require", "timer") {
			t.Errorf("%s", res)
		}
		for range 2 {
			d.respond(d.request("UPDATE"), 200, "OK", "", "")
		}
		hangUp(t, d, l)
	})
	t.Run("require, of calls we place", func(t *testing.T) {
		t.Parallel()
		_, p, l, inv := dialled(t, func(tr *Trunk) { tr.Timer, tr.SessionInterval, tr.second = TimerRequire, 90*time.Second, shortSecond })
		sessionHeader(t, inv, "90")
		if !offers(inv, "timer") {
			t.Errorf("%s", inv)
		}
		p.respond(inv, 200, "OK", "a", offerSDP(1, 41000), "Allow: UPDATE")
		event(t, l, bridge.Answered)
		update := p.request("UPDATE")
		sessionHeader(t, update, "90;refresher=uac")
		p.respond(update, 200, "OK", "", "")
		end(t, p, l)
	})
	t.Run("accept", func(t *testing.T) {
		t.Parallel()
		_, p, l, inv := dialled(t)
		if !offers(inv, "timer") || len(headerValues(inv, "Session-Expires")) != 0 {
			t.Errorf("%s", inv)
		}
		p.respond(inv, 486, "Busy Here", "a", "")
		event(t, l, bridge.Ended)
		closed(t, l)
	})
}

// A 422 to our INVITE is answered by another with the interval it demands.
func TestInviteAgainAfter422(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t, func(tr *Trunk) { tr.Timer, tr.SessionInterval = TimerRequire, 90*time.Second })
	p.respond(inv, 422, "Session Interval Too Small", "a", "", "Min-SE: 1200")
	p.request("ACK")
	again := p.request("INVITE")
	sessionHeader(t, again, "1200")
	if v := headerValues(again, "Min-SE"); len(v) != 1 || v[0] != "1200" {
		t.Errorf("Min-SE %v", v)
	}
	if again.CSeq().SeqNo != inv.CSeq().SeqNo+1 || toTagOf(again) != "" || again.CallID().Value() != inv.CallID().Value() || len(again.GetHeaders("Via")) != 1 {
		t.Errorf("%s", again)
	}
	p.respond(again, 422, "Session Interval Too Small", "b", "", "Min-SE: 600") // nonsense
	p.request("ACK")
	event(t, l, bridge.Ended)
	closed(t, l)
}

// The call is answered after a 422, and the other fork's tags are forgotten.
func TestAnsweredAfter422(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t, func(tr *Trunk) { tr.Timer, tr.second = TimerRequire, time.Second })
	p.respond(inv, 422, "Session Interval Too Small", "a", "", "Min-SE: 3600")
	p.request("ACK")
	again := p.request("INVITE")
	p.respond(again, 180, "Ringing", "c", "")
	event(t, l, bridge.Alerting)
	p.respond(again, 200, "OK", "c", offerSDP(1, 41000), "Session-Expires: 3600;refresher=uas", "Require: timer")
	if ack := p.request("ACK"); ack.CSeq().SeqNo != again.CSeq().SeqNo {
		t.Errorf("%s", ack)
	}
	event(t, l, bridge.Answered)
	if got := l.(*Leg).Record(); !strings.Contains(string(got.State), `"sessionExpires":3600`) {
		t.Errorf("on record: %s", got.State)
	}
	end(t, p, l)
}

// An interval that no clock can count is none: the call must not end at once.
func TestSessionIntervalBeyondAllBounds(t *testing.T) {
	t.Parallel()
	for _, seconds := range []string{"18446744074", "9223372036854775807"} {
		for _, who := range []string{"uas", "uac"} {
			t.Run(seconds+" "+who, func(t *testing.T) {
				t.Parallel()
				d, l, _ := timed(t, Trunk{}, "Supported: timer", "Session-Expires: "+seconds+";refresher="+who)
				d.do("OPTIONS", "")
				d.answer(200, "OPTIONS")
				time.Sleep(2 * sipgo.T1)
				if n := d.count(func(m sipgo.Message) bool { _, ok := m.(*sipgo.Request); return ok }); n != 0 {
					t.Errorf("%d requests of ours", n)
				}
				hangUp(t, d, l)
			})
		}
	}
}

// RFC 4028 section 9: an interval may be made shorter, but not than Min-SE.
func TestIntervalNotShorterThanThePeersMinimum(t *testing.T) {
	t.Parallel()
	d, l, res := timed(t, Trunk{Timer: TimerRequire, SessionInterval: 10 * time.Minute},
		"Supported: timer", "Session-Expires: 3600", "Min-SE: 1800")
	sessionHeader(t, res, "1800;refresher=uac")
	hangUp(t, d, l)
}
