package sip

import (
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
)

// probedTrunk is an agent that asks a scripted peer every few milliseconds.
func probedTrunk(t *testing.T) (*Agent, *peer) {
	t.Helper()
	p := newPeer(t)
	a := startAgent(t, newAcceptor(), Trunk{Peer: p.addr().String(), Probe: 20 * time.Millisecond})
	p.to = a.Addr()
	return a, p
}

func (p *peer) answerProbes(n, status int) {
	p.t.Helper()
	for range n {
		p.respond(p.request("OPTIONS"), status, "Whatever", "o", "")
	}
}

// TestProbed: any answer is a sign of life, but for 503 and 408; three bad ones
// in a row take the trunk down, and one good one brings it back.
func TestProbed(t *testing.T) {
	t.Parallel()
	a, p := probedTrunk(t)
	down := func() bool { return a.Trunks()[0].Err != nil }
	p.answerProbes(1, 404)
	p.answerProbes(downAfter-1, 503)
	p.answerProbes(1, 405)
	p.answerProbes(downAfter-1, 408)
	p.answerProbes(1, 200)
	if down() {
		t.Errorf("down after too few: %v", a.Trunks()[0].Err)
	}
	p.answerProbes(downAfter, 503)
	await(t, "down", down)
	_, err := a.Dial(ctx, intent)
	if c := bridge.CauseOf(err); c.Code != bridge.CauseUnreachable.Code || !strings.Contains(c.Text, "answers OPTIONS") {
		t.Errorf("dialled a trunk that is down: %v", err)
	}
	p.answerProbes(1, 483)
	await(t, "up again", func() bool { return !down() })
	l, err := a.Dial(ctx, intent)
	if err != nil {
		t.Fatal(err)
	}
	p.respond(p.request("INVITE"), 486, "Busy Here", "b", "")
	event(t, l, bridge.Ended)
	closed(t, l)
}

// TestProbedInSilence: no answer is as bad.
func TestProbedInSilence(t *testing.T) {
	t.Parallel()
	a, _ := probedTrunk(t)
	await(t, "down", func() bool { return a.Trunks()[0].Err != nil })
}

// TestProbedSpares: of several servers only the one that is down is passed
// over.
func TestProbedSpares(t *testing.T) {
	t.Parallel()
	one, two := target{over: overUDP}, target{over: overTCP}
	s := &standing{}
	for i := range downAfter {
		if got := s.probed(one, "silence"); (got == wentDown) != (i == downAfter-1) {
			t.Errorf("probe %d: %v", i, got)
		}
	}
	if got, err := s.order([]target{one, two}, dayOne); err != nil || len(got) != 1 || got[0] != two {
		t.Errorf("%v, %v", got, err)
	}
	if s.probed(one, "silence") != noChange || s.probed(one, "") != cameUp || s.probed(one, "") != noChange {
		t.Error("more than one line for one change")
	}
}

func follows(tr *Trunk) { tr.FollowRedirects = true }

// TestRedirected: to the trunk's own servers, for the number that was called,
// and not for ever.
func TestRedirected(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change  func(*Trunk)
		contact func(here string) string
		again   int
	}{
		"followed": {follows, func(here string) string { return "<sip:+12025550199;npdi;rn=+12025550000@" + here + ">" }, 1},
		"best first": {follows, func(here string) string {
			return "<sip:+12025550111@" + here + ">;q=1, <sip:+12025550199;x=2@" + here + ">;q=0.5"
		}, 1},
		"in circles":              {follows, func(here string) string { return "<sip:+12025550199@" + here + ">" }, maxRedirects},
		"not ours":                {follows, func(string) string { return "<sip:+12025550199@192.0.2.1>" }, 0},
		"another number":          {follows, func(here string) string { return "<sip:+19005550000@" + here + ">" }, 0},
		"nothing":                 {follows, func(string) string { return "" }, 0},
		"not followed":            {func(*Trunk) {}, func(here string) string { return "<sip:+12025550199@" + here + ">" }, 0},
		"secure, all of a sudden": {follows, func(here string) string { return "<sips:+12025550199@" + here + ">" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, p, l, inv := dialled(t, tc.change, func(tr *Trunk) { tr.Match = loopbacks })
			contact := tc.contact(p.addr().String())
			redirect := func() { p.respond(inv, 302, "Moved Temporarily", "r", "", "Contact: "+contact) }
			redirect()
			for range tc.again {
				before := inv
				inv = p.request("INVITE")
				if inv.Via().Value() == before.Via().Value() || inv.CallID().Value() != before.CallID().Value() || !strings.Contains(contact, inv.Recipient.String()) {
					t.Errorf("%s", inv)
				}
				if name == "in circles" {
					redirect()
				}
			}
			if tc.again == 1 {
				p.respond(inv, 486, "Busy Here", "b", "")
			}
			want := 302
			if tc.again == 1 {
				want = 486
			}
			if ev := event(t, l, bridge.Ended); ev.Cause.SIP != want {
				t.Errorf("%+v", ev.Cause)
			}
			closed(t, l)
			if n := p.count(func(m sipgo.Message) bool { return isRequest(m, "INVITE") }); n != tc.again+1 {
				t.Errorf("%d INVITEs", n)
			}
		})
	}
}
