package sip

import (
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

var wanted = bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA}, Digits: true}

func adapt(t *testing.T, l bridge.Leg, o bridge.MediaOffer) {
	t.Helper()
	if err := l.(bridge.Adapter).Adapt(ctx, o); err != nil {
		t.Fatal(err)
	}
}

// requestAfter waits for a request of a method past a CSeq.
func (d *dlg) requestAfter(method string, seq uint32) *sipgo.Request {
	d.t.Helper()
	return d.await(method, func(m sipgo.Message) bool {
		return isRequest(m, method) && m.CSeq().SeqNo > seq
	}).(*sipgo.Request)
}

func muLaw(version int) string {
	return strings.Replace(offerSDP(version, 40010), "8 0 101", "0 101", 1)
}

// TestAdapt: the bridge wants another codec; the peer agrees, or the call goes
// on as it was.
func TestAdapt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		body   string
		want   bridge.Codec
	}{
		"taken":                 {200, muLaw(2), bridge.PCMU},
		"answered otherwise":    {200, offerSDP(2, 40000), bridge.PCMA},
		"refused":               {488, "", bridge.PCMA},
		"not understood":        {501, "", bridge.PCMA},
		"wants another address": {302, "", bridge.PCMA},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, d, l := running(t)
			before := l.Record()
			adapt(t, l, wanted)
			inv := d.request("INVITE")
			if body := string(inv.Body()); !strings.Contains(body, "RTP/AVP 0 8 101") || inv.Contact() == nil || inv.To().Params == nil {
				t.Errorf("re-INVITE %s", inv)
			}
			if err := l.(bridge.Adapter).Adapt(ctx, wanted); err == nil {
				t.Error("a second change began while the first is under way")
			}
			d.respond(inv, 100, "Trying", "", "")
			d.respond(inv, tc.status, "Whatever", "", tc.body)
			ack := d.request("ACK")
			if ack.CSeq().SeqNo != inv.CSeq().SeqNo {
				t.Errorf("ACK %s", ack)
			}
			if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != tc.want || ev.Held {
				t.Errorf("told %+v", ev.Plan)
			}
			if after := l.Record(); tc.status != 200 && !after.Plan.Equal(*before.Plan) {
				t.Errorf("plan %+v, before %+v", after.Plan, before.Plan)
			}
			// The next description has a version of its own, and the call can be held.
			d.do("INVITE", offerSDP(3, 40020, "a=sendonly"))
			if ev := event(t, l, bridge.MediaChanged); !ev.Held {
				t.Errorf("hold became %+v", ev)
			}
			if body := string(d.answer(200, "INVITE").Body()); !strings.Contains(body, " 3 IN IP4") {
				t.Errorf("%s", body)
			}
			d.ack("")
			hangUp(t, d, l)
		})
	}
}

// TestAdaptGlare: both sides re-INVITE at once; ours gives way and comes again
// (RFC 3261 section 14.1).
func TestAdaptGlare(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	adapt(t, l, wanted)
	inv := d.request("INVITE")
	d.do("INVITE", offerSDP(2, 40010))
	d.ackRefusal(d.answer(491, "INVITE"))
	d.respond(inv, 491, "Request Pending", "", "")
	again := d.requestAfter("INVITE", inv.CSeq().SeqNo)
	if !strings.Contains(string(again.Body()), "RTP/AVP 0 8 101") {
		t.Errorf("%s", again)
	}
	d.respond(again, 200, "OK", "", muLaw(3))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU {
		t.Errorf("told %+v", ev.Plan)
	}
	hangUp(t, d, l)
}

// TestAdaptPeerGone: a re-INVITE may show that nobody is there any more.
func TestAdaptPeerGone(t *testing.T) {
	t.Parallel()
	for name, respond := range map[string]func(*dlg, *sipgo.Request){
		"no such call": func(d *dlg, inv *sipgo.Request) {
			d.respond(inv, 481, "Call/Transaction Does Not Exist", "", "")
		},
		"silence": func(*dlg, *sipgo.Request) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, d, l := running(t)
			adapt(t, l, wanted)
			respond(d, d.request("INVITE"))
			if ev := event(t, l, bridge.Ended); ev.Cause.Code != "signalling-lost" {
				t.Errorf("ended by %v", ev.Cause)
			}
			d.respond(d.request("BYE"), 200, "OK", "", "")
			closed(t, l)
		})
	}
}

// TestAdaptNonsense: an answer that cannot be followed, after which the peer
// thinks otherwise than we do, ends the call.
func TestAdaptNonsense(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	adapt(t, l, wanted)
	d.respond(d.request("INVITE"), 200, "OK", "", strings.Replace(offerSDP(2, 40000), "8 0 101", "18", 1))
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != "media-incompatible" || ev.Cause.By != bridge.ByCaller {
		t.Errorf("ended by %v", ev.Cause)
	}
	d.respond(d.request("BYE"), 200, "OK", "", "")
	closed(t, l)
}

// TestAdaptBeforeTheACK: the wish waits until the peer has our answer.
func TestAdaptBeforeTheACK(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	d.status(100, "INVITE")
	l := acc.next(t)
	if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
		t.Fatal(err)
	}
	d.learn(d.status(200, "INVITE"))
	adapt(t, l, wanted)
	d.ack("")
	d.respond(d.request("INVITE"), 200, "OK", "", muLaw(2))
	if ev := event(t, l, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU {
		t.Errorf("told %+v", ev.Plan)
	}
	hangUp(t, d, l)
}

// TestAdaptAndHangUp: the peer hangs up while our re-INVITE is under way, and
// answers it all the same.
func TestAdaptAndHangUp(t *testing.T) {
	t.Parallel()
	_, d, l := running(t)
	adapt(t, l, wanted)
	inv := d.request("INVITE")
	d.do("BYE", "")
	event(t, l, bridge.Ended)
	d.answer(200, "BYE")
	closed(t, l)
	d.respond(inv, 487, "Request Terminated", "", "")
}

// TestAdaptPolicy: what the trunk does not speak is not asked for.
func TestAdaptPolicy(t *testing.T) {
	t.Parallel()
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{Codecs: []bridge.Codec{bridge.PCMA}})
	d := newPeer(t).caller(a)
	l := establish(t, acc, d)
	if err := l.(bridge.Adapter).Adapt(ctx, bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}}); err == nil {
		t.Error("asked for what the trunk does not speak")
	}
	// Nor is it taken of a re-INVITE.
	d.do("INVITE", strings.Replace(offerSDP(2, 40000), "8 0 101", "0 101", 1))
	d.ackRefusal(d.answer(488, "INVITE"))
	hangUp(t, d, l)
}
