package sip

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

func TestParseRAck(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]rack{
		"776656 1 INVITE":      {776656, 1, "INVITE"},
		" 1\t4294967295  X ":   {1, 4294967295, "X"},
		"":                     {},
		"1 INVITE":             {},
		"-1 1 INVITE":          {},
		"1 x INVITE":           {},
		"4294967296 1 INVITE":  {},
		"1 1 INVITE ;tag=more": {},
	} {
		got, err := parseRAck(in)
		if got != want || (err == nil) != (want != rack{}) {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
}

func FuzzParseRAck(f *testing.F) {
	f.Add("776656 1 INVITE")
	f.Add("1 2 3 4")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := parseRAck(in)
		if err != nil {
			return
		}
		if again, err := parseRAck(fmt.Sprintf("%d %d %s", got.rseq, got.seq, got.method)); err != nil || again != got {
			t.Fatalf("%q becomes %+v, then %+v, %v", in, got, again, err)
		}
	})
}

// ringing is a call from a peer that has not been answered.
func ringing(t *testing.T, tr Trunk, body string, headers ...string) (*dlg, bridge.Leg) {
	t.Helper()
	acc := newAcceptor()
	a := startAgent(t, acc, tr)
	d := newPeer(t).caller(a)
	d.invite(body, headers...)
	return d, acc.next(t)
}

// reliable waits for a reliable provisional answer and returns its number.
func (d *dlg) reliable(status int) (*sipgo.Response, uint32) {
	d.t.Helper()
	res := d.status(status, "INVITE")
	rseq, ok := rseqOf(res)
	if !ok {
		d.t.Fatalf("not reliable: %s", res)
	}
	d.learn(res)
	return res, rseq
}

func (d *dlg) prack(rseq uint32, body string) {
	d.do("PRACK", body, fmt.Sprintf("RAck: %d 1 INVITE", rseq))
}

func progress(t *testing.T, l bridge.Leg, p bridge.Progress) {
	t.Helper()
	if err := l.Progress(ctx, p); err != nil {
		t.Fatal(err)
	}
}

func answer(t *testing.T, l bridge.Leg) {
	t.Helper()
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
}

// ackLast acknowledges the INVITE, whatever the peer has sent since.
func (d *dlg) ackLast(seq int) {
	now := d.seq
	d.seq = seq
	d.ack("")
	d.seq = now
}

// freeswitch#2401: 100rel that does what carriers insist on.
func TestFreeswitch2401ReliableProvisionals(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "prack", "scripted")
	d, l := ringing(t, Trunk{}, offerSDP(1, 40000), "Require: 100rel")
	progress(t, l, bridge.Progress{Alerting: true})
	progress(t, l, bridge.Progress{Early: &pcma})
	_, first := d.reliable(180)
	again, _ := d.reliable(180) // it is repeated, and the next one waits
	if len(again.Body()) != 0 {
		t.Errorf("%s", again)
	}
	d.do("PRACK", "", "RAck: "+strconv.Itoa(int(first)+1)+" 1 INVITE")
	d.answer(481, "PRACK")
	d.do("PRACK", "", "RAck: "+strconv.Itoa(int(first))+" 2 INVITE")
	d.answer(481, "PRACK")
	d.do("PRACK", "", "RAck: nonsense")
	d.answer(400, "PRACK")
	d.prack(first, "")
	d.answer(200, "PRACK")
	early, second := d.reliable(183)
	if second != first+1 || !strings.Contains(string(early.Body()), "m=audio") {
		t.Errorf("after %d: %s", first, early)
	}
	d.prack(first, "") // a stray
	d.answer(481, "PRACK")
	answer(t, l) // the 200 has to wait for the PRACK of the SDP
	d.do("OPTIONS", "")
	d.answer(200, "OPTIONS")
	if d.count(func(m sipgo.Message) bool { return isStatus(m, 200, "INVITE") }) != 0 {
		t.Error("the 200 was sent while the SDP in the 183 was unacknowledged")
	}
	d.prack(second, "")
	ok := d.status(200, "INVITE")
	if len(ok.Body()) != 0 {
		t.Errorf("SDP is said again after it was acknowledged: %s", ok)
	}
	d.ackLast(1)
	hangUp(t, d, l)
}

// Where the peer only supports it, early media goes out reliably, and all else
// as ever.
func TestReliableWhereSupported(t *testing.T) {
	t.Parallel()
	d, l := ringing(t, Trunk{}, offerSDP(1, 40000), "Supported: timer, 100rel")
	progress(t, l, bridge.Progress{Alerting: true})
	if _, ok := rseqOf(d.status(180, "INVITE")); ok {
		t.Error("a 180 without SDP is reliable")
	}
	progress(t, l, bridge.Progress{Early: &pcma})
	_, rseq := d.reliable(183)
	d.prack(rseq, "")
	d.answer(200, "PRACK")
	progress(t, l, bridge.Progress{Alerting: true, Early: &pcma})
	if res, next := d.reliable(180); next != rseq+1 || len(res.Body()) != 0 {
		t.Errorf("%s", res)
	}
	answer(t, l) // overtakes a 180 that nobody acknowledged: there is no SDP in it
	d.status(200, "INVITE")
	d.ackLast(1)
	hangUp(t, d, l)
}

// freeswitch#2401: off, support and require are the trunk's to choose.
func TestFreeswitch2401Policy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		policy, header string
		want           int
		says           string
	}{
		"off, required":        {ReliableOff, "Require: 100rel", 420, "Unsupported: 100rel"},
		"require, not known":   {ReliableRequire, "Supported: timer", 421, "Require: 100rel"},
		"support, unknown one": {ReliableSupport, "Require: 100rel, precondition", 420, "Unsupported: precondition"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startAgent(t, newAcceptor(), Trunk{Reliable: tc.policy})
			d := newPeer(t).caller(a)
			d.invite(offerSDP(1, 40000), tc.header)
			res := d.status(tc.want, "INVITE")
			if !strings.Contains(res.String(), tc.says) {
				t.Errorf("%s", res)
			}
			d.ackRefusal(res)
		})
	}
	t.Run("off, supported", func(t *testing.T) {
		t.Parallel()
		d, l := ringing(t, Trunk{Reliable: ReliableOff}, offerSDP(1, 40000), "Supported: 100rel")
		progress(t, l, bridge.Progress{Early: &pcma})
		if res := d.status(183, "INVITE"); len(headerValues(res, "RSeq")) != 0 || offers(res, rel100) {
			t.Errorf("%s", res)
		}
		if err := l.End(ctx, bridge.CauseBusy); err != nil {
			t.Fatal(err)
		}
		d.ackRefusal(d.status(486, "INVITE"))
	})
	t.Run("require, of calls we place", func(t *testing.T) {
		t.Parallel()
		_, p, l, inv := dialled(t, func(tr *Trunk) { tr.Reliable = ReliableRequire })
		if !hasOption(inv, "Require", rel100) || !hasOption(inv, "Allow", "PRACK") {
			t.Errorf("%s", inv)
		}
		p.respond(inv, 486, "Busy Here", "a", "")
		event(t, l, bridge.Ended)
		closed(t, l)
	})
}

// A caller that does not acknowledge what it required gets no call (RFC 3262
// section 3).
func TestReliableNeverAcknowledged(t *testing.T) {
	t.Parallel()
	d, l := ringing(t, Trunk{}, offerSDP(1, 40000), "Require: 100rel")
	progress(t, l, bridge.Progress{Alerting: true})
	d.ackRefusal(d.status(504, "INVITE"))
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseNoACK.Code {
		t.Errorf("ended by %v", ev.Cause)
	}
	closed(t, l)
	// 0, 1, 3, 7, 15, 31, 63 T1: doubling without the limit of T2.
	if n := d.count(func(m sipgo.Message) bool { return isStatus(m, 180, "INVITE") }); n < 5 || n > 7 {
		t.Errorf("the 180 was sent %d times, want 7", n)
	}
}

// A late offer: ours goes out in the reliable 18x, the PRACK answers it, and
// what it came to is told to the bridge.
func TestOfferInReliableProvisional(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "prack", "scripted")
	siptest.Shows(t, "late-offer", "scripted")
	d, l := ringing(t, Trunk{}, "", "Require: 100rel")
	progress(t, l, bridge.Progress{Alerting: true})
	res, rseq := d.reliable(180)
	if !strings.Contains(string(res.Body()), "PCMU") || !strings.Contains(string(res.Body()), "PCMA") {
		t.Errorf("no offer: %s", res)
	}
	d.prack(rseq, "")
	d.answer(400, "PRACK") // without the answer
	answer(t, l)
	d.prack(rseq, muLaw(1))
	d.answer(200, "PRACK")
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU || ev.Offer == nil || len(ev.Offer.Speech) != 1 {
		t.Errorf("told %+v, %+v", ev.Plan, ev.Offer)
	}
	if ok := d.status(200, "INVITE"); len(ok.Body()) != 0 {
		t.Errorf("another offer in the 200: %s", ok)
	}
	d.ackLast(1)
	hangUp(t, d, l)
}

// Once offer and answer are done, the caller may make another offer: in a
// PRACK, or by UPDATE before the answer (RFC 3311 section 5.1).
func TestOfferInPRACKAndEarlyUpdate(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "prack", "scripted")
	siptest.Shows(t, "reinvite", "scripted")
	d, l := ringing(t, Trunk{}, offerSDP(1, 40000), "Require: 100rel")
	d.status(100, "INVITE")
	progress(t, l, bridge.Progress{Early: &pcma})
	_, rseq := d.reliable(183)
	d.do("UPDATE", offerSDP(2, 40000))
	d.answer(500, "UPDATE") // not yet: the answer may not have arrived
	d.prack(rseq, muLaw(2))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU {
		t.Errorf("told %+v", ev.Plan)
	}
	if res := d.answer(200, "PRACK"); !strings.Contains(string(res.Body()), "RTP/AVP 0") || len(headerValues(res, "Session-Expires")) != 0 {
		t.Errorf("%s", res)
	}
	d.do("UPDATE", offerSDP(3, 40020))
	event(t, l, bridge.MediaChanged)
	if res := d.answer(200, "UPDATE"); len(res.Body()) == 0 || res.Contact() == nil {
		t.Errorf("%s", res)
	}
	answer(t, l)
	if ok := d.status(200, "INVITE"); len(ok.Body()) != 0 {
		t.Errorf("the 200 repeats what is out of date: %s", ok)
	}
	d.ackLast(1)
	hangUp(t, d, l)
}

// Fault 2, and emiago/sipgo#355: after a PRACK the ACK has still the number of
// its INVITE. Reliable responses are acknowledged once, in order, for each fork.
func TestFault02AckAfterPRACK(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "prack", "scripted")
	_, p, l, inv := dialled(t)
	if !hasOption(inv, "Supported", rel100) {
		t.Errorf("%s", inv)
	}
	reliably := func(status int, tag, body string, rseq int) {
		p.respond(inv, status, "Ringing", tag, body, "Require: 100rel", fmt.Sprintf("RSeq: %d", rseq))
	}
	acked := func(want string, seq uint32) {
		t.Helper()
		prack := p.request("PRACK")
		if v := headerValues(prack, "RAck"); len(v) != 1 || v[0] != want || prack.CSeq().SeqNo != seq {
			t.Errorf("RAck %q, CSeq %d, want %s, %d", v, prack.CSeq().SeqNo, want, seq)
		}
		p.respond(prack, 200, "OK", "", "")
	}
	reliably(180, "a", "", 7)
	acked("7 1 INVITE", 2)
	event(t, l, bridge.Alerting)
	reliably(180, "a", "", 7) // repeated: our PRACK is under way
	reliably(183, "a", offerSDP(1, 41000), 9)
	reliably(183, "a", offerSDP(1, 41000), 8)
	acked("8 1 INVITE", 3)
	event(t, l, bridge.Proceeding)
	reliably(180, "b", "", 1)
	acked("1 1 INVITE", 2)
	event(t, l, bridge.Alerting)
	p.respond(inv, 200, "OK", "a", "")
	if ack := p.request("ACK"); ack.CSeq().SeqNo != 1 {
		t.Errorf("INVITE 1, ACK %d", ack.CSeq().SeqNo)
	}
	event(t, l, bridge.Answered)
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	bye := p.request("BYE")
	if bye.CSeq().SeqNo != 4 {
		t.Errorf("BYE %d", bye.CSeq().SeqNo)
	}
	p.respond(bye, 200, "OK", "", "")
	closed(t, l)
	if n := p.count(func(m sipgo.Message) bool { return isRequest(m, "PRACK") }); n != 3 {
		t.Errorf("%d PRACKs, want 3", n)
	}
}

// After a reliable answer the callee may change media by UPDATE before it picks
// up, and what its 200 says then is out of date. Forks that are not heard may
// not.
func TestEarlyUpdateFromCallee(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "reinvite", "scripted")
	siptest.Shows(t, "early-media", "scripted")
	a, p, l, inv := dialled(t)
	p.respond(inv, 180, "Ringing", "b", "")
	event(t, l, bridge.Alerting)
	p.respond(inv, 183, "Session Progress", "a", offerSDP(1, 41000), "Require: 100rel", "RSeq: 1")
	p.respond(p.request("PRACK"), 200, "OK", "", "")
	event(t, l, bridge.Proceeding)
	other := answeredBy(p, a, inv, "b")
	other.do("UPDATE", offerSDP(2, 41002))
	p.status(488, "UPDATE")
	other.do("UPDATE", "")
	p.status(200, "UPDATE")
	d := answeredBy(p, a, inv, "a")
	d.do("UPDATE", muLaw(2))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU {
		t.Errorf("told %+v", ev.Plan)
	}
	p.status(200, "UPDATE")
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	if ev := event(t, l, bridge.Answered); ev.Plan.Speech != bridge.PCMU {
		t.Errorf("answered with %+v", ev.Plan)
	}
	p.request("ACK")
	end(t, p, l)
}

// A proxy that waits for a sign of life gets one, also reliably.
func TestRingingReliablyGoesOn(t *testing.T) {
	t.Parallel()
	d, l := ringing(t, Trunk{}, offerSDP(1, 40000), "Require: 100rel")
	progress(t, l, bridge.Progress{Alerting: true})
	_, rseq := d.reliable(180)
	d.prack(rseq, "")
	d.answer(200, "PRACK")
	leg := l.(*Leg)
	if !leg.box.post(func() { leg.last18() }) {
		t.Fatal("the call is over")
	}
	if _, next := d.reliable(180); next != rseq+1 {
		t.Errorf("%d after %d", next, rseq)
	}
	d.cancel()
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != "cancelled" {
		t.Errorf("ended by %v", ev.Cause)
	}
	closed(t, l)
	time.Sleep(4 * sipgo.T1)
	before := d.count(func(m sipgo.Message) bool { return isStatus(m, 180, "INVITE") })
	time.Sleep(8 * sipgo.T1)
	if now := d.count(func(m sipgo.Message) bool { return isStatus(m, 180, "INVITE") }); now != before {
		t.Error("a call that is over rings on")
	}
}
