package sip

import (
	"fmt"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// The crash came between our 200 and its ACK: the 200 is repeated until then.
// Where the ACK was lost in the crash and the peer says no more of it, the call
// goes on.
func TestResumedBeforeTheACK(t *testing.T) {
	t.Parallel()
	for _, acks := range []bool{true, false} {
		t.Run(fmt.Sprint("the peer acknowledges: ", acks), func(t *testing.T) {
			t.Parallel()
			p := newPeer(t)
			tr := Trunk{Peer: p.addr().String()}
			acc := newAcceptor()
			a := startAgent(t, acc, tr)
			d := p.caller(a)
			d.invite(offerSDP(1, 40000))
			l := acc.next(t)
			answer(t, l)
			first := d.status(200, "INVITE")
			d.learn(first)
			_, _, legs := reborn(t, a, tr, l.Record())
			res := d.status(200, "INVITE")
			if string(res.Body()) != string(first.Body()) || res.To().Value() != first.To().Value() || res.Via().Value() != first.Via().Value() {
				t.Errorf("%s\nis followed by\n%s", first, res)
			}
			if acks {
				d.ack("")
				d.do("OPTIONS", "")
				d.answer(200, "OPTIONS")
				n := p.count(func(m sipgo.Message) bool { return isStatus(m, 200, "INVITE") })
				time.Sleep(500 * time.Millisecond)
				if again := p.count(func(m sipgo.Message) bool { return isStatus(m, 200, "INVITE") }); again != n {
					t.Errorf("%d more after the ACK", again-n)
				}
			} else {
				time.Sleep(64*sipgo.T1 + 200*time.Millisecond)
			}
			hangUp(t, d, legs[0])
		})
	}
}

// A 2xx whose ACK was lost in the crash is acknowledged when it comes again.
func TestResumedWithAnAnswerOnItsWay(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	tr := Trunk{Peer: p.addr().String()}
	a := startAgent(t, newAcceptor(), tr)
	p.to = a.Addr()
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	inv := p.request("INVITE")
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	p.request("ACK")
	event(t, l, bridge.Answered)
	_, _, legs := reborn(t, a, tr, l.Record())
	p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
	if ack := p.request("ACK"); ack.CSeq().SeqNo != inv.CSeq().SeqNo {
		t.Errorf("%s", ack)
	}
	hangUp(t, calledBy(p, inv), legs[0])
}

// What was not answered is ended: an INVITE that we took with 503, one that we
// placed by CANCEL, and by BYE if its answer crosses that.
func TestResumedBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	cause := bridge.CauseShuttingDown.With("the process was lost")
	t.Run("taken", func(t *testing.T) {
		t.Parallel()
		acc := newAcceptor()
		a := startAgent(t, acc, Trunk{})
		d := newPeer(t).caller(a)
		d.invite(offerSDP(1, 40000), "Record-Route: <sip:127.0.0.1:9;lr>")
		l := acc.next(t)
		_, _, legs := reborn(t, a, Trunk{}, l.Record())
		if err := legs[0].End(ctx, cause); err != nil {
			t.Fatal(err)
		}
		d.ackRefusal(d.status(503, "INVITE"))
		closed(t, legs[0])
	})
	t.Run("taken, then given up", func(t *testing.T) {
		t.Parallel()
		acc := newAcceptor()
		a := startAgent(t, acc, Trunk{})
		d := newPeer(t).caller(a)
		d.invite(offerSDP(1, 40000))
		l := acc.next(t)
		_, _, legs := reborn(t, a, Trunk{}, l.Record())
		d.cancel()
		d.status(200, "CANCEL")
		d.ackRefusal(d.status(487, "INVITE"))
		event(t, legs[0], bridge.Ended)
		closed(t, legs[0])
	})
	for _, crosses := range []bool{false, true} {
		t.Run(fmt.Sprint("placed, the answer crosses the CANCEL: ", crosses), func(t *testing.T) {
			t.Parallel()
			p := newPeer(t)
			tr := Trunk{Peer: p.addr().String()}
			a := startAgent(t, newAcceptor(), tr)
			p.to = a.Addr()
			l, err := a.Dial(ctx, intent)
			if err != nil {
				t.Fatal(err)
			}
			inv := p.request("INVITE")
			p.respond(inv, 180, "Ringing", "a", "")
			event(t, l, bridge.Alerting)
			_, _, legs := reborn(t, a, tr, l.Record())
			if err := legs[0].End(ctx, cause); err != nil {
				t.Fatal(err)
			}
			c := p.request("CANCEL")
			if c.Via().Value() != inv.Via().Value() || c.CSeq().SeqNo != inv.CSeq().SeqNo || c.Recipient.String() != inv.Recipient.String() {
				t.Errorf("%s\nis cancelled by\n%s", inv, c)
			}
			p.respond(c, 200, "OK", "a", "")
			if !crosses {
				p.respond(inv, 487, "Request Terminated", "a", "")
				if ack := p.request("ACK"); ack.CSeq().SeqNo != inv.CSeq().SeqNo {
					t.Errorf("%s", ack)
				}
				closed(t, legs[0])
				return
			}
			p.respond(inv, 200, "OK", "a", offerSDP(1, 41000))
			p.request("ACK")
			p.respond(p.request("BYE"), 200, "OK", "a", "")
			closed(t, legs[0])
		})
	}
}

// The call is on record as answered, but not that our 200 is out: it is answered,
// under the keys that the peer may have heard of already.
func TestResumedBetweenTheRecordAndTheAnswer(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	tr := secureTrunk(SRTPRequired, true)
	tr.Peer = p.addr().String()
	acc := newAcceptor()
	a := startAgent(t, acc, tr)
	d := p.caller(a)
	d.invite(secureSDP(1, "RTP/SAVP", 'a'), "Supported: timer", "Session-Expires: 1800;refresher=uac")
	l := acc.next(t)
	rec := l.Record()
	rec.Plan = &pcma
	answer(t, l) // which nothing has on record
	first := d.status(200, "INVITE")
	d.learn(first)
	d.ack("")
	_, _, legs := reborn(t, a, tr, rec)
	again := d.status(200, "INVITE")
	if string(again.Body()) != string(first.Body()) || again.To().Value() != first.To().Value() || len(headerValues(again, "Session-Expires")) != 1 {
		t.Errorf("%s\nis followed by\n%s", first, again)
	}
	hangUp(t, d, legs[0])
}

// TestACrashIsNotTheTrunksFault: INVITEs of the process before get no final answer
// that anybody hears. However many they are, the trunk stays in service for new
// calls.
func TestACrashIsNotTheTrunksFault(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	tr := Trunk{Peer: p.addr().String()}
	a := startAgent(t, newAcceptor(), tr)
	p.to = a.Addr()
	var records []bridge.LegRecord
	for range breakerAfter + 1 {
		l, err := a.Dial(ctx, intent)
		if err != nil {
			t.Fatal(err)
		}
		p.request("INVITE")
		records = append(records, l.Record())
	}
	b, _, legs := reborn(t, a, tr, records...)
	for _, l := range legs {
		event(t, l, bridge.Ended) // nobody answers
		closed(t, l)
	}
	standing := &b.byName["pbx"].standing
	standing.mu.Lock()
	defer standing.mu.Unlock()
	if standing.broken > 0 || !standing.until.IsZero() {
		t.Errorf("%d failures are held against it, the last: %q", standing.broken, standing.why)
	}
}
