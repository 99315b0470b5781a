package sip

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// elsewhere is an agent that knows no call, and may have none, beside the one that
// has them: its node is being emptied. lose says of how much of what they send each
// other to lose.
type elsewhere struct {
	*Agent
	mu   sync.Mutex
	lose int
	sent atomic.Int32
}

func (e *elsewhere) lost() bool {
	e.sent.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lose == 0 {
		return false
	}
	e.lose--
	return true
}

// startElsewhere starts both: the owner with the leg of a record, which was moved to
// it, and the other.
func startElsewhere(t *testing.T, tr Trunk, d *dlg, rec bridge.LegRecord) (e *elsewhere, owner *Agent, leg bridge.Leg) {
	t.Helper()
	e = &elsewhere{}
	ready := make(chan struct{})
	owner = startAgent(t, newAcceptor(), tr, func(c *Config) {
		c.Forward = func(callID, node string, data []byte) bool {
			<-ready
			if node != "emptied" {
				return false
			}
			if !e.lost() {
				e.Forwarded(callID, "owner", bytes.Clone(data))
			}
			return true
		}
	})
	e.Agent = startAgent(t, newAcceptor(), tr, func(c *Config) {
		c.Claim = func(context.Context, string) (bool, error) { return true, errors.New("this node is going down") }
		c.Forward = func(callID, node string, data []byte) bool {
			<-ready
			if node != "" {
				t.Errorf("a request is sent to %q", node)
			}
			if !e.lost() {
				owner.Forwarded(callID, "emptied", bytes.Clone(data))
			}
			return true
		}
	})
	close(ready)
	resumed := make(chan bridge.Leg, 1)
	go func() {
		l, err := owner.Resume(ctx, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered, Moved: true})
		if err != nil {
			t.Error(err)
		}
		resumed <- l
	}()
	d.to = owner.Addr()
	re := d.request("INVITE")
	d.peer.respond(re, 200, "OK", "", offerSDP(2, 40000))
	d.request("ACK")
	leg = <-resumed
	if leg == nil {
		t.FailNow()
	}
	event(t, leg, bridge.MediaChanged) // the peer has followed
	return e, owner, leg
}

// TestRequestAtANodeThatIsBeingEmptied: a peer that has not followed its call yet asks
// the node that gave it away. The owner answers, by that node, and the answer leads
// the peer to it.
func TestRequestAtANodeThatIsBeingEmptied(t *testing.T) {
	t.Parallel()
	a, tr, d, l, _ := callFor(t, "uas", 40000)
	rec := l.Record()
	crash(t, a)
	e, owner, leg := startElsewhere(t, tr, d, rec)
	d.to = e.Addr()

	d.do("INFO", "")
	d.answer(200, "INFO")
	d.do("UPDATE", "")
	if c := d.answer(200, "UPDATE").Contact(); c == nil || c.Address.Port != int(owner.Addr().Port()) {
		t.Errorf("the peer is led to %v", c)
	}
	d.do("INVITE", offerSDP(3, 40000, "a=sendonly"))
	if ev := event(t, leg, bridge.MediaChanged); !ev.Held {
		t.Errorf("%+v", ev)
	}
	res := d.answer(200, "INVITE")
	if c := res.Contact(); c == nil || c.Address.Port != int(owner.Addr().Port()) {
		t.Errorf("the peer is led to %v", c)
	}
	d.ack("") // still to where it asked
	eventually(t, "the ACK reaches the owner", func() bool {
		confirmed := false
		ours := leg.(*Leg)
		_ = ours.box.do(ctx, func() { confirmed = ours.pending == nil })
		return confirmed
	})
	d.do("INVITE", "this is no SDP")
	d.answer(488, "INVITE")
	d.send(d.make("ACK", d.seq, lastBranch(d), ""))

	other := d.peer.caller(e.Agent) // of a dialog that the owner does not know either
	other.callID, other.remote = d.callID, other.remote+";tag=unknown"
	other.do("INFO", "")
	other.answer(481, "INFO")
	hangUp(t, d, leg)
}

// TestForwardedRequestIsLost: what the peer repeats is sent again, and the owner
// answers once more what it has answered.
func TestForwardedRequestIsLost(t *testing.T) {
	t.Parallel()
	a, tr, d, l, _ := callFor(t, "uas", 40000)
	rec := l.Record()
	crash(t, a)
	e, _, leg := startElsewhere(t, tr, d, rec)
	d.to = e.Addr()
	for _, lose := range []int{1, 2} { // the request, and then two of the three messages that follow
		e.mu.Lock()
		e.lose = lose
		e.mu.Unlock()
		before := e.sent.Load()
		d.do("INFO", "")
		again := d.make("INFO", d.seq, d.last, "")
		for n := before + 1; n <= before+int32(lose); n++ {
			eventually(t, "it is sent on", func() bool { return e.sent.Load() >= n })
			d.send(again)
		}
		d.answer(200, "INFO")
	}
	hangUp(t, d, leg)
}

func FuzzForwarded(f *testing.F) {
	f.Add(forwarded{forwardedRequest, overUDP, netip.MustParseAddrPort("192.0.2.1:5060"), "core", []byte("BYE sip:x SIP/2.0\r\n\r\n")}.append(nil))
	f.Add(forwarded{forwardedResponse, overWSS, netip.MustParseAddrPort("[2001:db8::1]:443"), "", nil}.append(nil))
	f.Add([]byte{forwardedVersion, 1, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseForwarded(b)
		if err != nil {
			return
		}
		if again := got.append(nil); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}
