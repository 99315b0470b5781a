package sip

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

var intent = bridge.Intent{
	Call: "c1", Trunk: "pbx", From: "+12025550100", To: "+12025550199", Hops: 9,
	Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMA, bridge.PCMU}, Digits: true, ComfortNoise: true},
}

// dialled places a call to a scripted peer and returns its INVITE.
func dialled(t *testing.T, change ...func(*Trunk)) (*Agent, *peer, bridge.Leg, *sipgo.Request) {
	t.Helper()
	p := newPeer(t)
	tr := Trunk{Peer: p.addr().String()}
	for _, f := range change {
		f(&tr)
	}
	a := startAgent(t, newAcceptor(), tr)
	p.to = a.Addr()
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	return a, p, l, p.request("INVITE")
}

func TestCallToPeer(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "ringing", "scripted")
	a, p, l, inv := dialled(t)
	if got := inv.Recipient.String(); got != "sip:+12025550199@"+p.addr().String()+";user=phone" {
		t.Errorf("Request-URI %s", got)
	}
	if *inv.MaxForwards() != 9 || inv.From().Address.User != "+12025550100" || inv.Contact() == nil || !isSDP(inv) {
		t.Errorf("%s", inv)
	}
	if v := headerValues(inv, "P-Asserted-Identity"); len(v) != 1 || !strings.Contains(v[0], "+12025550100") {
		t.Errorf("PAI %v", v)
	}
	if via := inv.Via(); via.Port != int(a.Addr().Port()) || inv.Source() != "" && !strings.HasSuffix(inv.Source(), "") {
		t.Errorf("Via %s", via)
	}
	p.respond(inv, 100, "Trying", "", "")
	p.respond(inv, 180, "Ringing", "a", "")
	if ev := event(t, l, bridge.Alerting); ev.Plan != nil {
		t.Errorf("plan without SDP: %+v", ev.Plan)
	}
	p.respond(inv, 183, "Session Progress", "a", offerSDP(1, 41000))
	if ev := event(t, l, bridge.Proceeding); ev.Plan == nil || ev.Plan.Speech != bridge.PCMA {
		t.Errorf("early media: %+v", ev.Plan)
	}
	// signalwire/freeswitch#2596: mobile carriers ring again after an announcement.
	p.respond(inv, 180, "Ringing", "a", "")
	event(t, l, bridge.Alerting)
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000), "Record-Route: <sip:"+p.addr().String()+";lr;x=1>, <sip:10.9.9.9;lr>")
	if ev := event(t, l, bridge.Answered); ev.Plan == nil || ev.Plan.Speech != bridge.PCMA {
		t.Errorf("answered: %+v", ev.Plan)
	}
	ack := p.request("ACK")
	if ack.CSeq().SeqNo != inv.CSeq().SeqNo || ack.Recipient.User != "a" {
		t.Errorf("%s", ack)
	}
	// The route set of a response is used in reverse (RFC 3261 section 12.1.2).
	if routes := ack.GetHeaders("Route"); len(routes) != 2 || !strings.Contains(routes[0].Value(), "10.9.9.9") {
		t.Errorf("routes: %v", routes)
	}
	d := answeredBy(p, a, inv, "a")
	d.do("BYE", "", "Reason: SIP;cause=480")
	ev := event(t, l, bridge.Ended)
	if ev.Cause.SIP != 480 || ev.Cause.By != bridge.ByCallee {
		t.Errorf("%+v", ev.Cause)
	}
	p.status(200, "BYE")
	closed(t, l)
}

// answeredBy is the dialog of a peer that answered an INVITE of the agent.
func answeredBy(p *peer, a *Agent, inv *sipgo.Request, tag string) *dlg {
	return &dlg{
		peer: p, uri: inv.Contact().Address.String(), callID: inv.CallID().Value(), seq: 100,
		local: inv.To().Value() + ";tag=" + tag, remote: inv.From().Value(),
	}
}

func TestCauses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status  int
		headers []string
		want    bridge.Code
		sip     int
	}{
		{486, nil, "busy", 486},
		{603, nil, "declined", 603},
		{480, nil, "no-answer", 480},
		{404, []string{"Reason: Q.850;cause=1"}, "not-found", 404},
		{503, []string{"Retry-After: 12 (busy)"}, "unreachable", 503},
		{302, []string{"Contact: <sip:other@elsewhere.example>"}, "moved", 302},
		{401, []string{`WWW-Authenticate: Digest realm="x", nonce="y"`}, "auth-required", 0},
		{407, []string{`Proxy-Authenticate: Digest realm="x", nonce="y"`}, "auth-required", 0},
		{499, nil, "bad-request", 499},
	} {
		t.Run(string(tc.want), func(t *testing.T) {
			t.Parallel()
			_, p, l, inv := dialled(t)
			p.respond(inv, tc.status, "Nope", "a", "", tc.headers...)
			ev := event(t, l, bridge.Ended)
			if ev.Cause.Code != tc.want || ev.Cause.SIP != tc.sip || ev.Cause.By != bridge.ByCallee {
				t.Errorf("%d: %+v", tc.status, ev.Cause)
			}
			if tc.status == 503 && ev.Cause.RetryAfter != 12*time.Second {
				t.Errorf("Retry-After: %v", ev.Cause.RetryAfter)
			}
			p.request("ACK")
			closed(t, l)
			// A lost ACK: the refusal comes again and is acknowledged at once.
			p.respond(inv, tc.status, "Nope", "a", "", tc.headers...)
			p.request("ACK")
		})
	}
}

func TestNoResponse(t *testing.T) {
	t.Parallel()
	_, _, l, _ := dialled(t)
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseNoResponse.Code {
		t.Errorf("%+v", ev.Cause)
	}
	closed(t, l)
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	a := startAgent(t, newAcceptor(), Trunk{Peer: addr, Transport: "tcp"})
	_, err = a.Dial(ctx, intent)
	if !errors.Is(err, bridge.CauseUnreachable) {
		t.Errorf("error %v", err)
	}
	if a.Legs() != 0 {
		t.Error("leg left")
	}
}

func TestRingTimeout(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t, func(tr *Trunk) { tr.RingTimeout = 300 * time.Millisecond })
	p.respond(inv, 180, "Ringing", "a", "")
	event(t, l, bridge.Alerting)
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseNoAnswer.Code {
		t.Errorf("%+v", ev.Cause)
	}
	cancel := p.request("CANCEL")
	p.respond(cancel, 200, "OK", "a", "")
	p.respond(inv, 487, "Request Terminated", "a", "")
	p.request("ACK")
	closed(t, l)
}

func TestCancelWaitsForProvisional(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t)
	if err := l.End(ctx, bridge.CauseCancelled); err != nil {
		t.Fatal(err)
	}
	p.request("INVITE") // repeated
	if n := p.count(func(m sipgo.Message) bool { return isRequest(m, "CANCEL") }); n != 0 {
		t.Error("CANCEL before a provisional answer (RFC 3261 section 9.1)")
	}
	p.respond(inv, 100, "Trying", "", "")
	cancel := p.request("CANCEL")
	if a, b := cancel.Via().Value(), inv.Via().Value(); a != b {
		t.Errorf("Via of the CANCEL %q, of the INVITE %q", a, b)
	}
	p.respond(cancel, 200, "OK", "a", "")
	p.respond(inv, 487, "Request Terminated", "a", "")
	p.request("ACK")
	closed(t, l)
}

func TestDialGivenUp(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	a := startAgent(t, newAcceptor(), Trunk{Peer: p.addr().String()})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if l, err := a.Dial(gone, intent); err == nil {
		// The INVITE was faster than the context: then it is an ordinary leg.
		p.to = a.Addr()
		p.respond(p.request("INVITE"), 486, "Busy Here", "a", "")
		event(t, l, bridge.Ended)
	}
}

func TestDialUnknownTrunk(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	in := intent
	in.Trunk = "nobody"
	if _, err := a.Dial(ctx, in); !errors.Is(err, bridge.CauseInternal) {
		t.Errorf("%v", err)
	}
	if _, err := a.Dial(ctx, intent); !errors.Is(err, bridge.CauseUnreachable) {
		t.Errorf("a trunk without peer: %v", err)
	}
}

func TestAnswerWithoutCommonCodec(t *testing.T) {
	t.Parallel()
	_, p, l, inv := dialled(t)
	p.respond(inv, 200, "OK", "a", strings.Replace(offerSDP(1, 41000), "8 0 101", "18", 1))
	p.request("ACK")
	bye := p.request("BYE")
	p.respond(bye, 200, "OK", "", "")
	if ev := event(t, l, bridge.Ended); ev.Cause.Code != bridge.CauseMediaIncompatible.Code {
		t.Errorf("%+v", ev.Cause)
	}
	closed(t, l)
}

func TestRecordHoldsTheDialog(t *testing.T) {
	t.Parallel()
	a, p, l, inv := dialled(t)
	before := l.Record()
	if !strings.Contains(string(before.State), `"invite":"INVITE sip:`) {
		t.Errorf("an INVITE without answer must be known: %s", before.State)
	}
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	event(t, l, bridge.Answered)
	p.request("ACK")
	rec := l.Record()
	for _, want := range []string{`"v":2`, `"role":"uac"`, `"state":"confirmed"`, `"remoteTag":"a"`, `"inviteSeq":1`, `"ssrc":`, `"transport":"UDP"`, `"target":"sip:a@`, a.Addr().String()} {
		if !strings.Contains(string(rec.State), want) {
			t.Errorf("record has no %s:\n%s", want, rec.State)
		}
	}
	if rec.Incoming || rec.Protocol != "sip" || rec.Plan == nil || rec.ID != inv.CallID().Value() {
		t.Errorf("%+v", rec)
	}
	if err := l.End(ctx, bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	bye := p.request("BYE")
	if bye.CSeq().SeqNo != 2 {
		t.Errorf("CSeq of BYE %d", bye.CSeq().SeqNo)
	}
	p.respond(bye, 200, "OK", "", "")
	closed(t, l)
	rec = l.Record()
	if !strings.Contains(string(rec.State), `"state":"over"`) {
		t.Errorf("%s", rec.State)
	}
	if _, err := a.Resume(ctx, bridge.Resumption{LegRecord: rec}); bridge.CauseOf(err).Code != "call-ended" {
		t.Errorf("%v", err)
	}
}
