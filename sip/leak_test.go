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
	calls := 2000
	if testing.Short() {
		calls = 200
	}
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
	// 64*T1 after the last call the last transaction is over.
	limit := time.Now().Add(64*sipgo.T1 + patience)
	for a.mailboxes() > 0 || runtime.NumGoroutine() > before {
		if time.Now().After(limit) {
			t.Fatalf("%d mailboxes, %d goroutines (%d before); one of them: %s", a.mailboxes(), runtime.NumGoroutine(), before, a.anyMailbox())
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("after %d calls: goroutines %d before, %d after; mailboxes %d, streams %d", calls, before, runtime.NumGoroutine(), a.mailboxes(), len(a.streams))
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
