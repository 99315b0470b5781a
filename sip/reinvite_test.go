package sip

import (
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// running is a call from a peer that both sides know.
func running(t *testing.T) (*acceptor, *dlg, bridge.Leg) {
	t.Helper()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	return acc, d, establish(t, acc, d)
}

func hangUp(t *testing.T, d *dlg, l bridge.Leg) {
	t.Helper()
	d.do("BYE", "")
	event(t, l, bridge.Ended)
	d.answer(200, "BYE")
	closed(t, l)
}

// livekit/sip#96: a hold re-INVITE ended the call.
func TestHold(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "hold", "scripted")
	for name, tc := range map[string]struct{ body, answer string }{
		"sendonly": {offerSDP(2, 40000, "a=sendonly"), "a=recvonly"},
		"inactive": {offerSDP(2, 40000, "a=inactive"), "a=inactive"},
		"0.0.0.0":  {strings.Replace(offerSDP(2, 40000), "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1), ""},
	} {
		for _, method := range []string{"INVITE", "UPDATE"} {
			t.Run(name+" by "+method, func(t *testing.T) {
				t.Parallel()
				_, d, l := running(t)
				d.do(method, tc.body)
				ev := event(t, l, bridge.MediaChanged)
				if !ev.Held || ev.Plan == nil || ev.Plan.Speech != bridge.PCMA {
					t.Errorf("%+v", ev)
				}
				res := d.answer(200, method)
				if !strings.Contains(string(res.Body()), tc.answer) || res.Contact() == nil {
					t.Errorf("%s", res)
				}
				if method == "INVITE" {
					d.ack("")
				}
				d.do(method, offerSDP(3, 40000, "a=sendrecv"))
				if ev := event(t, l, bridge.MediaChanged); ev.Held {
					t.Errorf("%+v", ev)
				}
				d.answer(200, method)
				if method == "INVITE" {
					d.ack("")
				}
				hangUp(t, d, l)
			})
		}
	}
}

// jambonz/sbc-inbound#84: calls died when a re-INVITE offered other codecs.
func TestReinviteKeepsTheCodec(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "reinvite", "scripted")
	_, d, l := running(t)
	d.do("INVITE", strings.Replace(offerSDP(2, 40010), "8 0 101", "18 0 8 101", 1))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMA || ev.Held {
		t.Errorf("%+v", ev.Plan)
	}
	if body := string(d.answer(200, "INVITE").Body()); !strings.Contains(body, "RTP/AVP 8") {
		t.Errorf("%s", body)
	}
	d.ack("")
	d.do("INVITE", strings.Replace(offerSDP(3, 40010), "8 0 101", "0", 1))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU || !ev.Plan.Digits { // as tones, from here on
		t.Errorf("%+v", ev.Plan)
	}
	d.answer(200, "INVITE")
	d.ack("")
	hangUp(t, d, l)
}

// OpenSIPS#2177, asterisk#1880: T.38 must be refused, and the call go on.
func TestReinviteThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "fax", "scripted")
	_, d, l := running(t)
	before := l.Record()
	d.do("INVITE", "v=0\r\no=pbx 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=image 40000 udptl t38\r\n")
	res := d.answer(488, "INVITE")
	if len(headerValues(res, "Warning")) != 1 {
		t.Errorf("no Warning: %s", res)
	}
	d.branch = ""
	d.send(d.make("ACK", d.seq, lastBranch(d), ""))
	d.do("INVITE", "this is no SDP")
	d.answer(488, "INVITE")
	d.send(d.make("ACK", d.seq, lastBranch(d), ""))
	after := l.Record()
	if !before.Plan.Equal(*after.Plan) {
		t.Errorf("plan changed from %+v to %+v", before.Plan, after.Plan)
	}
	d.do("INFO", "")
	d.answer(200, "INFO")
	hangUp(t, d, l)
}

// OpenSIPS#2177, asterisk#1880: T.38 beside audio is refused in its place, and
// the call stays on G.711.
func TestFaxBesideAudio_asterisk1880(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "fax", "scripted")
	_, d, l := running(t)
	before := l.Record()
	d.do("INVITE", offerSDP(2, 40010)+"m=image 40020 udptl t38\r\na=T38FaxVersion:0\r\n")
	event(t, l, bridge.MediaChanged)
	body := string(d.answer(200, "INVITE").Body())
	if !strings.Contains(body, "RTP/AVP 8") || !strings.Contains(body, "m=image 0 udptl t38\r\n") {
		t.Errorf("%s", body)
	}
	d.ack("")
	if after := l.Record(); !before.Plan.Equal(*after.Plan) {
		t.Errorf("plan changed from %+v to %+v", before.Plan, after.Plan)
	}
	hangUp(t, d, l)
}

// lastBranch is the branch of the last request the peer sent.
func lastBranch(d *dlg) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	branch, _ := d.all[len(d.all)-1].Via().Params.Get("branch")
	return branch
}

// livekit/sip#582: session refreshes were not answered.
func TestSessionRefresh(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	d.do("UPDATE", "", "Supported: timer", "Session-Expires: 1800;refresher=uac")
	res := d.answer(200, "UPDATE")
	if v := headerValues(res, "Session-Expires"); len(v) != 1 || v[0] != "1800;refresher=uac" || !hasOption(res, "Require", "timer") {
		t.Errorf("%s", res)
	}
	d.do("INVITE", offerSDP(1, 40000), "Supported: timer", "Session-Expires: 90")
	first := d.answer(200, "INVITE")
	d.ack("")
	d.do("INVITE", offerSDP(1, 40000), "Session-Expires: 1800;refresher=uas")
	second := d.answer(200, "INVITE")
	d.ack("")
	if string(first.Body()) != string(second.Body()) || len(first.Body()) == 0 {
		t.Errorf("a refresh changed our description:\n%s\n%s", first.Body(), second.Body())
	}
	if v := headerValues(second, "Session-Expires"); len(v) != 1 || v[0] != "1800;refresher=uas" || offers(second, "timer") && hasOption(second, "Require", "timer") {
		t.Errorf("a peer without timers that a proxy wants refreshed was told %v", v)
	}
	d.do("UPDATE", "", "Session-Expires: 60")
	if res := d.answer(422, "UPDATE"); len(headerValues(res, "Min-SE")) != 1 {
		t.Errorf("%s", res)
	}
	hangUp(t, d, l) // and no MediaChanged event before
}

// sipwise/rtpengine#1703: late-offer re-INVITE.
func TestReinviteWithoutOffer(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	d.do("INVITE", "")
	if body := string(d.answer(200, "INVITE").Body()); !strings.Contains(body, "PCMA") {
		t.Errorf("no offer: %s", body)
	}
	d.ack(offerSDP(2, 40020))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMA {
		t.Errorf("%+v", ev.Plan)
	}
	hangUp(t, d, l)
}

// The same where a transfer has brought in a telephone with another codec.
func TestReinviteWithoutOfferChangesCodec(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	d.do("INVITE", "")
	d.answer(200, "INVITE")
	d.ack(onlyPCMU(offerSDP(2, 40020)))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU {
		t.Errorf("%+v", ev.Plan)
	}
	hangUp(t, d, l)
}

func TestGlare(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "glare", "scripted")
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	l := establish(t, acc, d)
	d.do("INVITE", offerSDP(2, 40000, "a=inactive"))
	ev := <-l.Events() // not stored yet
	d.do("UPDATE", offerSDP(3, 40000))
	if res := d.answer(500, "UPDATE"); len(headerValues(res, "Retry-After")) != 1 {
		t.Errorf("%s", res)
	}
	ev.Stored()
	d.await("200 to INVITE", func(m sipgo.Message) bool { return isStatus(m, 200, "INVITE") })
	d.seq--
	d.ack("")
	d.seq++
	hangUp(t, d, l)
}

func TestGlareWithOurOffer(t *testing.T) {
	t.Parallel()
	a, p, l, inv := dialled(t)
	p.respond(inv, 180, "Ringing", "a", "")
	event(t, l, bridge.Alerting)
	d := answeredBy(p, a, inv, "a")
	d.do("UPDATE", offerSDP(1, 41000))
	p.status(491, "UPDATE")
	d.do("UPDATE", "")
	p.status(200, "UPDATE")
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	end(t, p, l)
}

func TestInDialogRequests(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	for _, tc := range []struct {
		method, body string
		want         int
		headers      []string
	}{
		{"INFO", "", 200, nil},
		{"INFO", "Signal=1\r\n", 415, nil},
		{"OPTIONS", "", 200, nil},
		{"SUBSCRIBE", "", 489, []string{"Event: dialog"}},
		{"MESSAGE", "hi", 405, nil},
		{"PRACK", "", 481, []string{"RAck: 1 1 INVITE"}},
		{"UPDATE", "", 420, []string{"Require: precondition"}},
		{"WHATEVER", "", 501, nil},
	} {
		d.do(tc.method, tc.body, tc.headers...)
		d.answer(tc.want, tc.method)
	}
	d.seq -= 2
	d.do("INFO", "")
	d.answer(500, "INFO") // a number that was used before
	d.seq += 2
	hangUp(t, d, l)
	// livekit/sip#280: afterwards there is no such dialog, said once for each
	// request.
	d.seq++
	again := d.make("BYE", d.seq, newBranch(), "")
	d.send(again)
	d.answer(481, "BYE")
}

// A BYE before the ACK says that the answer arrived.
func TestByeBeforeAck(t *testing.T) {
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
	d.do("BYE", "")
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != "normal" {
		t.Errorf("%+v", ev.Cause)
	}
	d.answer(200, "BYE")
	closed(t, l)
	d.seq--
	d.ack("") // late: means nothing
}

// OpenSIPS#2177, asterisk#1880: fax and other media beside the speech are refused
// in their place, and the speech goes on; without speech the whole offer is.
func TestOtherMediaAreRefused(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "fax", "scripted")
	const (
		fax     = "m=image 40002 udptl t38\r\na=T38FaxVersion:0\r\n"
		noAudio = "m=audio 0 RTP/AVP 8\r\n"
		text    = "m=message 40004 TCP/MSRP *\r\na=path:msrp://x\r\n"
		head    = "v=0\r\no=pbx 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
	)
	for name, tc := range map[string]struct {
		body string
		want int
		says []string
	}{
		"fax instead of speech":      {head + fax, 488, nil},
		"fax, and speech turned off": {head + noAudio + fax, 488, nil},
		"fax beside speech":          {offerSDP(2, 40000) + fax, 200, []string{"m=audio", "m=image 0 udptl t38"}},
		"messages beside speech":     {offerSDP(2, 40000) + text, 200, []string{"m=message 0 TCP/MSRP"}},
		"unknown beside speech":      {offerSDP(2, 40000) + "m=hologram 40006 X/Y 1 2 3\r\n", 200, []string{"m=hologram 0 X/Y"}},
	} {
		for _, method := range []string{"INVITE", "UPDATE"} {
			t.Run(name+" by "+method, func(t *testing.T) {
				t.Parallel()
				_, d, l := running(t)
				before := l.Record()
				d.do(method, tc.body)
				if tc.want == 200 {
					select {
					case ev := <-l.Events():
						ev.Stored()
					case <-time.After(patience):
						t.Fatal("the bridge was not told")
					}
				}
				res := d.answer(tc.want, method)
				for _, text := range tc.says {
					if !strings.Contains(string(res.Body()), text) {
						t.Errorf("want %q in\n%s", text, res.Body())
					}
				}
				switch {
				case method == "UPDATE":
				case tc.want == 200:
					d.ack("")
				default:
					d.send(d.make("ACK", d.seq, lastBranch(d), ""))
				}
				if after := l.Record(); !before.Plan.Equal(*after.Plan) {
					t.Errorf("plan changed from %+v to %+v", before.Plan, after.Plan)
				}
				hangUp(t, d, l)
			})
		}
	}
}
