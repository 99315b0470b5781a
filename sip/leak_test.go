package sip

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// emiago/sipgo#349: nothing may be left of calls that are over. Not parallel:
// it counts the goroutines of the whole process.
func TestNothingLeftAfterCalls(t *testing.T) {
	const calls = 2000
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	p := newPeer(t)
	warm := p.caller(a)
	warm.do("OPTIONS", "")
	warm.status(200, "OPTIONS")          // the agent runs
	before := runtime.NumGoroutine() + 1 // its TCP listener may not yet
	for i := range calls {
		d := p.caller(a)
		d.invite(offerSDP(1, 40000))
		l := acc.next(t)
		switch i % 3 {
		case 0: // a whole call
			if err := l.Answer(ctx, bridge.Answer{Media: pcma}); err != nil {
				t.Fatal(err)
			}
			d.learn(d.status(200, "INVITE"))
			d.ack("")
			d.do("BYE", "")
			event(t, l, bridge.Ended)
			d.status(200, "BYE")
		case 1: // refused
			if err := l.End(ctx, bridge.CauseBusy); err != nil {
				t.Fatal(err)
			}
			d.ackRefusal(d.status(486, "INVITE"))
		case 2: // given up
			d.status(100, "INVITE")
			d.cancel()
			event(t, l, bridge.Ended)
			d.ackRefusal(d.status(487, "INVITE"))
		}
		closed(t, l)
	}
	nothingLeft(t, a, before)
	t.Logf("after %d calls: goroutines %d before, %d after; mailboxes %d, streams %d", calls, before, runtime.NumGoroutine(), a.mailboxes(), len(a.streams))
}

// nothingLeft waits until the agent has forgotten all calls: 64*T1 after the last
// one the last transaction is over.
func nothingLeft(t *testing.T, a *Agent, before int) {
	t.Helper()
	limit := time.Now().Add(64*sipgo.T1 + patience)
	for a.mailboxes() > 0 || runtime.NumGoroutine() > before {
		if time.Now().After(limit) {
			t.Fatalf("%d mailboxes, %d goroutines (%d before); one of them: %s", a.mailboxes(), runtime.NumGoroutine(), before, a.anyMailbox())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The same of calls that end in the middle of something: a provisional answer
// that nobody acknowledged, a change that waits for the record, a refresh that is
// not answered, a DTLS handshake. Not parallel either.
func TestNothingLeftOfWhatWasInterrupted(t *testing.T) {
	const calls = 1000
	acc := newAcceptor()
	a := startAgent(t, acc, Trunk{})
	p := newPeer(t)
	warm := p.caller(a)
	warm.do("OPTIONS", "")
	warm.status(200, "OPTIONS")
	before := runtime.NumGoroutine() + 1
	for i := range calls {
		d := p.caller(a)
		switch i % 5 {
		case 0: // cancelled while a provisional answer is unacknowledged
			d.invite(offerSDP(1, 40000), "Require: 100rel")
			l := acc.next(t)
			progress(t, l, bridge.Progress{Early: &pcma})
			d.reliable(183)
			d.cancel()
			event(t, l, bridge.Ended)
			d.ackRefusal(d.answer(487, "INVITE"))
			closed(t, l)
		case 1: // cancelled while an offer in a PRACK waits for the record
			d.invite(offerSDP(1, 40000), "Require: 100rel")
			l := acc.next(t)
			progress(t, l, bridge.Progress{Early: &pcma})
			_, rseq := d.reliable(183)
			d.prack(rseq, muLaw(2))
			unstored(t, l, bridge.MediaChanged)
			d.seq--
			d.cancel()
			event(t, l, bridge.Ended)
			d.ackRefusal(d.answer(487, "INVITE"))
			closed(t, l)
		case 2: // we hang up while a re-INVITE waits for it
			l := establish(t, acc, d)
			d.do("INVITE", offerSDP(2, 40010))
			branch := d.last
			unstored(t, l, bridge.MediaChanged)
			if err := l.End(ctx, bridge.CauseNormal); err != nil {
				t.Fatal(err)
			}
			d.branch = branch
			d.ackRefusal(d.answer(487, "INVITE"))
			d.respond(d.request("BYE"), 200, "OK", "", "")
			closed(t, l)
		case 3: // the peer hangs up during our refresh
			d.invite(offerSDP(1, 40000), "Supported: timer", "Session-Expires: 90;refresher=uas", "Allow: UPDATE")
			l := acc.next(t)
			answer(t, l)
			d.learn(d.answer(200, "INVITE"))
			d.ack("")
			d.do("OPTIONS", "")
			d.answer(200, "OPTIONS") // behind the ACK
			leg := l.(*Leg)
			if !leg.box.post(leg.refresh) {
				t.Fatal("the call is over")
			}
			refresh := d.request("UPDATE")
			d.do("BYE", "")
			event(t, l, bridge.Ended)
			d.answer(200, "BYE")
			d.respond(refresh, 481, "Gone", "", "")
			closed(t, l)
		case 4: // the peer hangs up during a handshake
			d.invite(dtlsSDP)
			l := acc.next(t)
			answer(t, l)
			d.learn(d.answer(200, "INVITE"))
			d.ack("")
			d.do("BYE", "")
			event(t, l, bridge.Ended)
			d.answer(200, "BYE")
			closed(t, l)
		}
	}
	nothingLeft(t, a, before)
}

// anyMailbox describes one that is left.
func (a *Agent) anyMailbox() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.boxes {
		var what string
		for _, s := range m.server {
			what += fmt.Sprintf(" %s answered %d;", s.req.Method, s.status)
		}
		for _, c := range m.client {
			what += fmt.Sprintf(" our %s answered %d;", c.req.Method, c.final)
		}
		return fmt.Sprintf("%d legs, running %v, %d tasks;%s", len(m.legs), m.running, len(m.queue), what)
	}
	return "none"
}
