package sip

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// establish places a call from the peer and takes it up to the ACK.
func establish(t *testing.T, acc *acceptor, d *dlg) bridge.Leg {
	t.Helper()
	d.invite(offerSDP(1, 40000))
	d.status(100, "INVITE")
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	d.learn(d.status(200, "INVITE"))
	d.ack("")
	return l
}

func TestCallFromPeer(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000), "P-Asserted-Identity: \"Alice\" <sip:+12025550111@peer.example>")
	d.status(100, "INVITE")
	l := acc.next(t)
	info := l.Info()
	if info.From != "+12025550111" || info.To != "+12025550199" || info.Trunk != "pbx" || info.Protocol != "sip" || info.Hops != bridge.DefaultHops {
		t.Errorf("info: %+v", info)
	}
	if len(info.Media.Speech) != 2 || info.Media.Speech[0] != bridge.PCMA || !info.Media.Digits || info.Media.ComfortNoise {
		t.Errorf("media offer: %+v", info.Media)
	}
	if err := l.Progress(ctx, bridge.Progress{Alerting: true}); err != nil {
		t.Fatal(err)
	}
	ringing := d.status(180, "INVITE")
	if len(ringing.Body()) != 0 || ringing.Contact() == nil {
		t.Errorf("180: %s", ringing)
	}
	if err := l.Progress(ctx, bridge.Progress{Early: &pcma}); err != nil {
		t.Fatal(err)
	}
	early := d.status(183, "INVITE")
	if !strings.Contains(string(early.Body()), "m=audio") {
		t.Errorf("183 without SDP: %s", early)
	}
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	ok := d.status(200, "INVITE")
	if string(ok.Body()) != string(early.Body()) {
		t.Errorf("the 200 must repeat the SDP of the 183:\n%s\n%s", early.Body(), ok.Body())
	}
	if toTag(ok) != toTag(early) || toTag(ok) != toTag(ringing) || toTag(ok) == "" {
		t.Errorf("tags differ: %q %q %q", toTag(ringing), toTag(early), toTag(ok))
	}
	d.learn(ok)
	d.ack("")
	d.do("BYE", "", `Reason: Q.850;cause=31;text="gone"`)
	select {
	case ev := <-l.Events():
		if ev.Kind != bridge.Ended || ev.Cause.Q850 != 31 || ev.Cause.By != bridge.ByCaller || ev.Cause.Text != "gone" {
			t.Errorf("ended with %+v", ev.Cause)
		}
		if n := d.count(func(m sipgo.Message) bool { return isStatus(m, 200, "BYE") }); n != 0 {
			t.Error("BYE was acknowledged before its record was written")
		}
		ev.Stored()
	case <-time.After(patience):
		t.Fatal("no event")
	}
	d.status(200, "BYE")
	closed(t, l)
}

func TestStoreThatHangsDelaysByeAtMost(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	l := establish(t, acc, d)
	d.do("BYE", "")
	ev := <-l.Events()
	if ev.Kind != bridge.Ended || ev.Cause.Code != "normal" {
		t.Errorf("%+v", ev)
	}
	d.status(200, "BYE") // without Stored
	closed(t, l)
}

func TestHangUpByUs(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	l := establish(t, acc, d)
	// An INFO behind the ACK makes sure that the ACK has arrived.
	d.do("INFO", "")
	d.status(200, "INFO")
	if err := l.End(ctx, bridge.CauseMediaLost.With("no RTP")); err != nil {
		t.Fatal(err)
	}
	bye := d.request("BYE")
	reasons := strings.Join(headerValues(bye, "Reason"), " | ")
	if !strings.Contains(reasons, "Q.850;cause=31") || !strings.Contains(reasons, "SIP;cause=480") {
		t.Errorf("Reason: %s", reasons)
	}
	if bye.Recipient.User != "peer" || bye.CSeq().SeqNo != 1 {
		t.Errorf("%s", bye)
	}
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Errorf("second End: %v", err)
	}
	d.respond(bye, 200, "OK", "", "")
	closed(t, l)
}

func TestHangUpBeforeAckWaitsForIt(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	d.learn(d.status(200, "INVITE"))
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	d.status(200, "INVITE") // repeated, since there was no ACK
	if n := d.count(func(m sipgo.Message) bool { return isRequest(m, "BYE") }); n != 0 {
		t.Error("BYE before the ACK (RFC 3261 section 15)")
	}
	d.ack("")
	d.respond(d.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		want   bridge.Code
	}{
		"plain":     {"X-None: 1", "cancelled"},
		"elsewhere": {`Reason: SIP;cause=200;text="Call completed elsewhere"`, "answered-elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acc := newAcceptor()
			a := startAgent(t, acc, Trunk{})
			d := newPeer(t).caller(a)
			d.invite(offerSDP(1, 40000))
			l := acc.next(t)
			if err := l.Progress(ctx, bridge.Progress{Alerting: true}); err != nil {
				t.Fatal(err)
			}
			d.status(180, "INVITE")
			d.cancel(tc.reason)
			d.status(200, "CANCEL")
			d.ackRefusal(d.status(487, "INVITE"))
			ev := event(t, l, bridge.Ended)
			if ev.Cause.Code != tc.want || ev.Cause.By != bridge.ByCaller {
				t.Errorf("cause %+v", ev.Cause)
			}
			closed(t, l)
			if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
				t.Errorf("answer after CANCEL: %v", err)
			}
		})
	}
}

func TestCancelThatOvertakesItsInvite(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.seq, d.branch = 1, newBranch()
	d.cancel()
	d.status(481, "CANCEL")
	d.send(d.make("INVITE", 1, d.branch, offerSDP(1, 40000)))
	d.ackRefusal(d.status(487, "INVITE"))
	if len(acc.legs) != 0 {
		t.Error("a call that nobody wants was accepted")
	}
}

func TestLateOffer(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "late-offer", "scripted")
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite("")
	l := acc.next(t)
	if err := l.Progress(ctx, bridge.Progress{Early: &pcma}); err != nil {
		t.Fatal(err)
	}
	if res := d.status(183, "INVITE"); len(res.Body()) != 0 {
		t.Errorf("an unreliable 183 carried an offer: %s", res.Body())
	}
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	ok := d.status(200, "INVITE")
	if !strings.Contains(string(ok.Body()), "RTP/AVP 8 0 111 101 110\r\n") {
		t.Errorf("want the plan's codec first, then those we can convert to: %s", ok.Body())
	}
	d.learn(ok)
	d.ack(offerSDP(1, 40002, "a=sendrecv"))
	ev := event(t, l, bridge.MediaChanged)
	if ev.Plan == nil || ev.Plan.Speech != bridge.PCMA || ev.Held {
		t.Errorf("%+v", ev)
	}
	d.do("BYE", "")
	event(t, l, bridge.Ended)
	closed(t, l)
}

// A telephone that leaves the offer to us, and knows only the codec that the
// far end did not choose: the call is converted, not ended.
func TestLateOfferAnsweredWithTheOtherCodec(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite("")
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	d.learn(d.status(200, "INVITE"))
	d.ack(onlyPCMU(offerSDP(1, 40002)))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan == nil || ev.Plan.Speech != bridge.PCMU {
		t.Errorf("%+v", ev)
	}
	d.do("BYE", "")
	event(t, l, bridge.Ended)
	closed(t, l)
}

// onlyPCMU leaves one speech codec in a description.
func onlyPCMU(sdp string) string {
	return strings.NewReplacer("RTP/AVP 8 0 101", "RTP/AVP 0 101", "a=rtpmap:8 PCMA/8000\r\n", "").Replace(sdp)
}

func TestLateOfferWithoutAnswer(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite("")
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	d.learn(d.status(200, "INVITE"))
	d.ack("")
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseMediaIncompatible.Code {
		t.Errorf("%+v", ev.Cause)
	}
	d.respond(d.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}

func TestRefusalByBridge(t *testing.T) {
	t.Parallel()
	busy := bridge.CauseOverloaded.With("too many")
	busy.RetryAfter = 7 * time.Second
	acc := &acceptor{err: busy}
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	res := d.status(503, "INVITE")
	if v := headerValues(res, "Retry-After"); len(v) != 1 || v[0] != "7" {
		t.Errorf("Retry-After: %v", v)
	}
	if v := strings.Join(headerValues(res, "Reason"), "|"); !strings.Contains(v, "Q.850;cause=42") || !strings.Contains(v, "too many") {
		t.Errorf("Reason: %v", v)
	}
	d.ackRefusal(res)
}

func TestRefusalByLeg(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	l := acc.next(t)
	if err := l.End(ctx, bridge.CauseBusy); err != nil {
		t.Fatal(err)
	}
	res := d.status(486, "INVITE")
	closed(t, l)
	// Without an ACK the refusal is repeated.
	d.status(486, "INVITE")
	d.ackRefusal(res)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "limits", "scripted")
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{}, func(c *Config) { c.MaxLegs = 1 })
	p := newPeer(t)
	first := p.caller(a)
	first.invite(offerSDP(1, 40000))
	l := acc.next(t)
	second := p.caller(a)
	second.invite(offerSDP(1, 40000))
	res := second.status(503, "INVITE")
	if len(headerValues(res, "Retry-After")) != 1 {
		t.Errorf("no Retry-After: %s", res)
	}
	second.ackRefusal(res)
	if err := l.End(ctx, bridge.CauseDeclined); err != nil {
		t.Fatal(err)
	}
	first.ackRefusal(first.status(603, "INVITE"))
	third := p.caller(a)
	third.invite(offerSDP(1, 40000))
	if err := acc.next(t).End(ctx, bridge.CauseDeclined); err != nil {
		t.Fatal(err)
	}
	third.ackRefusal(third.status(603, "INVITE"))
}

// A call whose session description is bad is refused, and the log says whose it
// was.
func TestRefusalNamesTheParties(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	a := startAgent(t, newAcceptor(), Trunk{}, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	d := newPeer(t).caller(a)
	d.invite("v=0\r\nrubbish\r\n")
	d.ackRefusal(d.status(400, "INVITE"))
	if err := a.Shutdown(ctx); err != nil { // nobody writes any more
		t.Fatal(err)
	}
	if line := log.String(); !strings.Contains(line, "from=+12025550100 to=+12025550199") {
		t.Errorf("%s", line)
	}
}
