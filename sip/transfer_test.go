package sip

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/sip/siptest"
)

// network is a bridge between two SIP trunks, each of them one scripted peer:
// the agent with a real bridge behind it.
type network struct {
	agent        *Agent
	pbx, carrier *peer
	ended        chan bridge.Summary
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{pbx: newPeer(t), carrier: newPeer(t), ended: make(chan bridge.Summary, 16)}
	anybody, err := policy.ParseNumberSet([]string{"*"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := bridge.New(bridge.Config{
		Node: "test", Store: store.NewMemory(), Logger: slog.New(slog.DiscardHandler), OnEnd: func(s bridge.Summary) { n.ended <- s },
		Policy: &policy.Policy{
			Trunks: map[string]policy.Trunk{"pbx": {Name: "pbx", Callers: anybody, Transfer: true}, "carrier": {Name: "carrier", Callers: anybody}},
			Routes: []policy.Route{{From: "pbx", To: "*", Via: "carrier"}, {From: "carrier", To: "*", Via: "pbx"}},
		},
	})
	n.agent = startAgent(t, b, Trunk{Name: "pbx", Peer: n.pbx.addr().String(), Match: []netip.Prefix{}}, func(c *Config) {
		c.Trunks = append(c.Trunks, Trunk{Name: "carrier", Peer: n.carrier.addr().String()})
	})
	b.Use(map[string]bridge.Trunk{"pbx": {Dialer: n.agent}, "carrier": {Dialer: n.agent}})
	n.pbx.to, n.carrier.to = n.agent.Addr(), n.agent.Addr()
	return n
}

// call is an answered call from the PBX to the carrier: the two ends of it.
func (n *network) call(tag string) (near, far *dlg) {
	n.pbx.t.Helper()
	near = n.pbx.caller(n.agent)
	near.invite(offerSDP(1, 40000))
	inv := n.carrier.request("INVITE")
	n.carrier.respond(inv, 200, "OK", tag, offerSDP(1, 41000))
	n.carrier.request("ACK")
	res := near.answer(200, "INVITE")
	near.learn(res)
	near.ack("")
	return near, answeredBy(n.carrier, n.agent, inv, tag)
}

func (n *network) over(t *testing.T, calls int) {
	t.Helper()
	for range calls {
		select {
		case s := <-n.ended:
			if s.Cause.Code != "normal" {
				t.Errorf("a call ended with %v", s.Cause)
			}
		case <-time.After(patience):
			t.Fatal("a call did not end")
		}
	}
}

// dialogTag is the tag of a party as text.
func dialogTag(party string) string {
	_, tag, _ := strings.Cut(party, ";tag=")
	return tag
}

// referTo points at the far end of a dialog of ours.
func referTo(d *dlg) string {
	return fmt.Sprintf("Refer-To: <%s?Replaces=%s%%3Bto-tag%%3D%s%%3Bfrom-tag%%3D%s>", d.uri, strings.Replace(d.callID, "@", "%40", 1), dialogTag(d.remote), dialogTag(d.local))
}

// TestBlindTransfer: REFER, as both networks see it.
func TestBlindTransfer(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "transfer", "scripted")
	n := newNetwork(t)
	near, far := n.call("b")
	near.do("REFER", "", "Refer-To: <sip:+12025550177@pbx.example>")
	near.answer(202, "REFER")
	told(t, near, 100, "active")
	inv := n.carrier.request("INVITE")
	if inv.Recipient.User != "+12025550177" || inv.From().Address.User != "+12025550100" || len(headerValues(inv, "Referred-By")) != 1 {
		t.Errorf("%s", inv)
	}
	n.carrier.respond(inv, 180, "Ringing", "c", "")
	told(t, near, 180, "active")
	n.carrier.respond(inv, 200, "OK", "c", offerSDP(1, 42000))
	n.carrier.request("ACK")
	told(t, near, 200, "terminated")
	near.respond(near.request("BYE"), 200, "OK", "", "")
	// The two that stay are in one call: one hangs up, the other hears of it.
	far.do("BYE", "")
	bye := n.carrier.request("BYE")
	if toTagOf(bye) != "c" {
		t.Errorf("%s", bye)
	}
	n.carrier.respond(bye, 200, "OK", "", "")
	n.over(t, 1)
}

// TestTransferThatFails: the PBX is told, and the call goes on.
func TestTransferThatFails(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	near, far := n.call("b")
	near.do("REFER", "", "Refer-To: <sip:+12025550177@pbx.example>")
	near.answer(202, "REFER")
	told(t, near, 100, "active")
	inv := n.carrier.request("INVITE")
	n.carrier.respond(inv, 486, "Busy Here", "c", "")
	told(t, near, 486, "terminated")
	near.do("UPDATE", "")
	near.answer(200, "UPDATE")
	// The carrier may not transfer anybody.
	far.do("REFER", "", "Refer-To: <sip:+12025550177@pbx.example>")
	if res := far.answer(603, "REFER"); !strings.Contains(res.String(), "may not transfer") {
		t.Errorf("%s", res)
	}
	near.do("BYE", "")
	near.answer(200, "BYE")
	n.carrier.respond(n.carrier.request("BYE"), 200, "OK", "", "")
	n.over(t, 1)
}

// TestAttendedTransfer: the PBX has two calls and joins the others.
func TestAttendedTransfer(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "transfer", "scripted")
	n := newNetwork(t)
	first, b := n.call("b")
	second, _ := n.call("c")
	first.do("INVITE", offerSDP(2, 40000, "a=sendonly"))
	first.answer(200, "INVITE")
	first.ack("")
	first.do("REFER", "", referTo(second))
	first.answer(202, "REFER")
	told(t, first, 100, "active")
	told(t, first, 200, "terminated")
	for range 2 {
		n.pbx.respond(n.pbx.request("BYE"), 200, "OK", "", "")
	}
	b.do("BYE", "")
	bye := n.carrier.request("BYE")
	if toTagOf(bye) != "c" {
		t.Errorf("%s", bye)
	}
	n.carrier.respond(bye, 200, "OK", "", "")
	n.over(t, 2)
}

// TestCallIsTakenOver: a third telephone of the PBX takes a call over, by INVITE
// with Replaces.
func TestCallIsTakenOver(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "transfer", "scripted")
	n := newNetwork(t)
	near, _ := n.call("b")
	third := n.pbx.caller(n.agent)
	third.invite(offerSDP(1, 43000), fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=%s", near.callID, dialogTag(near.remote), dialogTag(near.local)), "Require: replaces")
	third.learn(third.answer(200, "INVITE"))
	third.ack("")
	bye := n.pbx.request("BYE")
	if bye.CallID().Value() != near.callID {
		t.Errorf("%s", bye)
	}
	n.pbx.respond(bye, 200, "OK", "", "")
	third.do("BYE", "")
	third.answer(200, "BYE")
	n.carrier.respond(n.carrier.request("BYE"), 200, "OK", "", "")
	n.over(t, 1)
}

// TestCallIsPickedUp: the same while it rings.
func TestCallIsPickedUp(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	caller := n.carrier.caller(n.agent)
	caller.invite(offerSDP(1, 40000))
	inv := n.pbx.request("INVITE")
	n.pbx.respond(inv, 180, "Ringing", "rings", "")
	caller.answer(180, "INVITE")
	third := n.pbx.caller(n.agent)
	third.invite(offerSDP(1, 43000), fmt.Sprintf("Replaces: %s;to-tag=%s;from-tag=rings;early-only", inv.CallID().Value(), dialogTag(inv.From().Value())))
	third.learn(third.answer(200, "INVITE"))
	third.ack("")
	caller.learn(caller.answer(200, "INVITE"))
	caller.ack("")
	cancel := n.pbx.request("CANCEL")
	if !strings.Contains(strings.Join(headerValues(cancel, "Reason"), ""), "cause=26") {
		t.Errorf("%s", cancel)
	}
	n.pbx.respond(cancel, 200, "OK", "rings", "")
	n.pbx.respond(inv, 487, "Request Terminated", "rings", "")
	caller.do("BYE", "")
	caller.answer(200, "BYE")
	n.pbx.respond(n.pbx.request("BYE"), 200, "OK", "", "")
	n.over(t, 1)
}
