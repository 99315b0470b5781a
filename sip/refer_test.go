package sip

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

func TestParseReferTo(t *testing.T) {
	t.Parallel()
	rules := NumberRules{Domain: "pbx.example"}
	for in, want := range map[string]string{
		"<sip:+12025550177@pbx.example>":                                                              "+12025550177",
		"sip:+12025550177@pbx.example":                                                                "+12025550177",
		`"Bob" <sip:+12025550177@pbx.example;user=phone;method=INVITE>`:                               "+12025550177",
		"<sip:bob@pbx.example?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>":                            "bob@pbx.example a@b;to-tag=1;from-tag=2",
		"<sip:bob@pbx.example?X=y&replaces=a%40b%3Bfrom-tag%3D2%3Bto-tag%3D1%3Bearly-only&Require=z>": "bob@pbx.example a@b;to-tag=1;from-tag=2;early-only",
		"<sip:bob@pbx.example;method=BYE>":                                                            "",
		"<sip:bob@pbx.example?Replaces=nonsense>":                                                     "",
		"<sip:pbx.example>":                                                                           "",
		"<mailto:bob@pbx.example>":                                                                    "",
		"":                                                                                            "",
		"<sip:" + strings.Repeat("x", maxReferTo) + "@y>":                                             "",
	} {
		got, err := parseReferTo(in, rules)
		text := string(got.number)
		if got.replaces != nil {
			text += " " + got.replaces.String()
		}
		if err != nil {
			text = ""
		}
		if text != want {
			t.Errorf("%q: %q, %v; want %q", clip(in, 100), text, err, want)
		}
	}
}

func FuzzParseReferTo(f *testing.F) {
	f.Add("<sip:bob@pbx.example?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>")
	f.Add("sip:+1@x;method=INVITE")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := parseReferTo(in, NumberRules{Domain: "x"})
		if err == nil && got.replaces != nil && strings.ContainsAny(got.replaces.String(), "\r\n") {
			t.Fatalf("%q", got.replaces)
		}
	})
}

func FuzzParseReplaces(f *testing.F) {
	f.Add("a@b;to-tag=1;from-tag=2;early-only")
	f.Add(";;=;")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parseReplaces(in)
		if err != nil {
			return
		}
		if again, err := parseReplaces(r.String()); err != nil || again != r {
			t.Fatalf("%q becomes %+v, then %+v, %v", in, r, again, err)
		}
	})
}

// refer sends a REFER and returns what the bridge is asked.
func refer(t *testing.T, d *dlg, l bridge.Leg, headers ...string) bridge.Event {
	t.Helper()
	d.do("REFER", "", headers...)
	return event(t, l, bridge.Transfer)
}

// told waits for the next NOTIFY of the transfer and answers it. One that is sent
// again is answered again: the answer came late on a busy machine.
func told(t *testing.T, d *dlg, status int, state string) *sipgo.Request {
	t.Helper()
	n := d.request("NOTIFY")
	for ; n.CSeq().SeqNo <= d.told; n = d.request("NOTIFY") {
		d.respond(n, 200, "OK", "", "")
	}
	d.told = n.CSeq().SeqNo
	if body := string(n.Body()); !strings.HasPrefix(body, fmt.Sprintf("SIP/2.0 %d ", status)) {
		t.Errorf("told %q, want %d", body, status)
	}
	kind := headerValues(n, "Content-Type")
	if v := headerValues(n, "Subscription-State"); len(v) != 1 || !strings.HasPrefix(v[0], state) || len(kind) != 1 || !strings.HasPrefix(kind[0], "message/sipfrag") {
		t.Errorf("%s", n)
	}
	d.respond(n, 200, "OK", "", "")
	return n
}

// A blind transfer as the peer sees it (RFC 3515): 202, then what its own call
// would have been answered with.
func TestREFER(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "transfer", "scripted")
	_, d, l := running(t)
	ev := refer(t, d, l, "Refer-To: <sip:+12025550177@pbx.example>", "Referred-By: <sip:peer@pbx.example>")
	if ev.Target != "+12025550177" || ev.Instead != nil || ev.Replaces != "" {
		t.Errorf("%+v", ev)
	}
	ev.Moving(bridge.Proceeding)
	if res := d.answer(202, "REFER"); res.Contact() == nil {
		t.Errorf("%s", res)
	}
	n := told(t, d, 100, "active;expires=")
	if v := headerValues(n, "Event"); len(v) != 1 || v[0] != "refer" {
		t.Errorf("Event %v", v)
	}
	d.do("REFER", "", "Refer-To: <sip:+12025550178@pbx.example>")
	if res := d.answer(603, "REFER"); !strings.Contains(strings.Join(headerValues(res, "Reason"), ""), "already") {
		t.Errorf("%s", res)
	}
	ev.Moving(bridge.Alerting)
	told(t, d, 180, "active")
	d.do("SUBSCRIBE", "", "Event: refer", "Expires: 60")
	if v := headerValues(d.answer(200, "SUBSCRIBE"), "Expires"); len(v) != 1 || v[0] != "60" {
		t.Errorf("Expires %v", v)
	}
	busy := bridge.CauseTransferRefused.With("busy")
	busy.SIP = 486
	ev.Transferred(busy)
	told(t, d, 486, "terminated")
	ev.Transferred(nil) // once is enough

	// The next one of the call says which it is.
	ev = refer(t, d, l, "Refer-To: <sip:+12025550177@pbx.example>")
	ev.Transferred(nil)
	d.answer(202, "REFER")
	n = told(t, d, 100, "active")
	if v := headerValues(n, "Event"); len(v) != 1 || v[0] != fmt.Sprintf("refer;id=%d", d.seq) {
		t.Errorf("Event %v", v)
	}
	told(t, d, 200, "terminated")
	hangUp(t, d, l)
}

// A transfer that policy forbids is refused, with the reason in words.
func TestREFERRefused(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	refer(t, d, l, "Refer-To: <sip:+12025550177@pbx.example>").Transferred(bridge.CauseTransferRefused.With("trunk %q may not", "pbx"))
	res := d.answer(603, "REFER")
	if !strings.Contains(res.String(), "may not") || len(headerValues(res, "Warning")) != 1 {
		t.Errorf("%s", res)
	}
	for want, headers := range map[int][]string{
		400: nil,
		420: {"Refer-To: <sip:+12025550177@x>", "Require: tdialog"},
		603: {"Refer-To: <mailto:x@y>"},
	} {
		d.do("REFER", "", headers...)
		d.answer(want, "REFER")
	}
	d.do("SUBSCRIBE", "", "Event: presence")
	d.answer(489, "SUBSCRIBE")
	hangUp(t, d, l) // and no NOTIFY before
	if n := d.count(func(m sipgo.Message) bool { return isRequest(m, "NOTIFY") }); n != 0 {
		t.Errorf("%d NOTIFYs", n)
	}
}

// RFC 4488: a peer that wants to hear nothing hears nothing.
func TestREFERWithoutSubscription(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	ev := refer(t, d, l, "r: <sip:+12025550177@pbx.example>", "Refer-Sub: false", "Require: norefersub")
	ev.Moving(bridge.Proceeding)
	if v := headerValues(d.answer(202, "REFER"), "Refer-Sub"); len(v) != 1 || v[0] != "false" {
		t.Errorf("Refer-Sub %v", v)
	}
	ev.Transferred(nil)
	hangUp(t, d, l)
	if n := d.count(func(m sipgo.Message) bool { return isRequest(m, "NOTIFY") }); n != 0 {
		t.Errorf("%d NOTIFYs", n)
	}
}

// A bridge that takes its time does not keep the peer waiting, and one that
// hangs up on the transferor tells it first how it went.
func TestREFERAcceptedInTime(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	ev := refer(t, d, l, "Refer-To: <sip:+12025550177@pbx.example>")
	d.answer(202, "REFER")
	ev.Transferred(nil)
	if err := l.End(ctx, bridge.CauseNormal.With("transferred")); err != nil {
		t.Fatal(err)
	}
	told(t, d, 100, "active")
	told(t, d, 200, "terminated")
	d.respond(d.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}

// An attended transfer to another call of ours names that call; to one that is
// not, it says so in the peer's words.
func TestREFERWithReplaces(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	p := newPeer(t)
	first := p.caller(a)
	l := establish(t, acc, first)
	second := p.caller(a)
	l2 := establish(t, acc, second)
	tag := func(party string) string { _, tag, _ := strings.Cut(party, ";tag="); return tag }
	to := fmt.Sprintf("Refer-To: <%s?Replaces=%s%%3Bto-tag%%3D%s%%3Bfrom-tag%%3D%s>", second.uri, strings.Replace(second.callID, "@", "%40", 1), tag(second.remote), tag(second.local))
	ev := refer(t, first, l, to)
	if ev.Instead != l2 || ev.Replaces == "" {
		t.Errorf("instead of %v, replaces %q", ev.Instead, ev.Replaces)
	}
	ev.Transferred(errors.New("no"))
	first.answer(603, "REFER")
	ev = refer(t, first, l, "Refer-To: <sip:+12025550177@pbx.example?Replaces=else%40where%3Bto-tag%3D1%3Bfrom-tag%3D2>")
	if ev.Instead != nil || ev.Replaces != "else@where;to-tag=1;from-tag=2" {
		t.Errorf("instead of %v, replaces %q", ev.Instead, ev.Replaces)
	}
	ev.Transferred(errors.New("no"))
	first.answer(603, "REFER")

	// Of two at once the bridge hears of one, also while that call is looked for.
	first.do("REFER", "", to)
	first.do("REFER", "", to)
	ev = event(t, l, bridge.Transfer)
	first.answer(603, "REFER") // the second, while the first is under way
	ev.Transferred(errors.New("no"))
	hangUp(t, first, l)
	hangUp(t, second, l2)
}

// What the bridge dials for a transfer says who asked, and whose place it takes.
func TestDialForATransfer(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	a := startAgent(t, newAcceptor(), Trunk{Peer: p.addr().String()})
	p.to = a.Addr()
	in := intent
	in.ReferredBy, in.Replaces = "+12025550155", "a@b;to-tag=1;from-tag=2"
	l, err := a.Dial(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	if by, place := headerValues(inv, "Referred-By"), headerValues(inv, "Replaces"); len(by) != 1 || !strings.Contains(by[0], "+12025550155@") || len(place) != 1 || place[0] != in.Replaces {
		t.Errorf("Referred-By %v, Replaces %v", by, place)
	}
	p.respond(inv, 481, "Call/Transaction Does Not Exist", "a", "")
	event(t, l, bridge.Ended)
	closed(t, l)
}

// RFC 3891: an INVITE takes the place of a call of the same trunk, or is told
// why not.
func TestReplaces(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "transfer", "scripted")
	acc := newAcceptor()
	p, stranger := newPeer(t), newPeer(t)
	a := startAgent(t, acc, Trunk{Peer: p.addr().String(), Match: nil}, func(c *Config) {
		c.Trunks[0].Match = nil
		c.Trunks = append(c.Trunks, Trunk{Name: "other", Peer: stranger.addr().String()})
	})
	p.to = a.Addr()
	talking := p.caller(a)
	l := establish(t, acc, talking)
	talking.do("INFO", "")
	talking.answer(200, "INFO")
	waiting := p.caller(a)
	waiting.invite(offerSDP(1, 40000))
	waitingLeg := acc.next(t)
	progress(t, waitingLeg, bridge.Progress{Alerting: true})
	waiting.learn(waiting.status(180, "INVITE"))
	out, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	p.respond(inv, 180, "Ringing", "rings", "")
	event(t, out, bridge.Alerting)
	tag := func(party string) string { _, tag, _ := strings.Cut(party, ";tag="); return tag }
	outgoing := fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=rings", inv.CallID().Value(), tag(inv.From().Value()))
	confirmed := fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=%s", talking.callID, tag(talking.remote), tag(talking.local))
	for name, tc := range map[string]struct {
		by      *peer
		headers []string
		want    int // 0: accepted
		instead bridge.Leg
	}{
		"confirmed":            {p, []string{confirmed, "Require: replaces"}, 0, l},
		"early, of ours":       {p, []string{outgoing + ";early-only"}, 0, out},
		"early only, too late": {p, []string{confirmed + ";early-only"}, 486, nil},
		"early, of the peer":   {p, []string{fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=%s", waiting.callID, tag(waiting.remote), tag(waiting.local))}, 481, nil},
		"unknown":              {p, []string{"Replaces: a@b;to-tag=1;from-tag=2"}, 481, nil},
		"another trunk's":      {stranger, []string{confirmed}, 481, nil},
		"twice":                {p, []string{confirmed, outgoing}, 400, nil},
		"with Join":            {p, []string{confirmed, "Join: a@b;to-tag=1;from-tag=2"}, 400, nil},
		"nonsense":             {p, []string{"Replaces: a"}, 400, nil},
	} {
		d := tc.by.caller(a)
		d.invite(offerSDP(1, 40000), tc.headers...)
		if tc.want != 0 {
			d.ackRefusal(d.answer(tc.want, "INVITE"))
			continue
		}
		n := acc.next(t)
		if n.Info().Instead != tc.instead {
			t.Errorf("%s: instead of %v", name, n.Info().Instead)
		}
		if err := n.End(ctx, bridge.CauseBusy); err != nil {
			t.Fatal(err)
		}
		d.ackRefusal(d.answer(486, "INVITE"))
	}
	if err := out.End(ctx, bridge.CauseCancelled); err != nil {
		t.Fatal(err)
	}
	p.request("CANCEL")
	p.respond(inv, 487, "Request Terminated", "rings", "")
	closed(t, out)
	waiting.cancel()
	event(t, waitingLeg, bridge.Ended)
	closed(t, waitingLeg)
	hangUp(t, talking, l)
}
