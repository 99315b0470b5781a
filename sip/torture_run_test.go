package sip

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/siptest"
)

// tortured is a message with the right answer of a user agent that hands calls
// on: one that knows nobody, so that a call it takes is refused with 404.
type tortured struct {
	name, section string
	text          string
	why           string
	want          int    // status; 0 = nothing is to be said
	header        string // in the answer
	call          bool   // the bridge is asked

	tcp    int  // status over a stream, where it differs; silent = none
	closes bool // a stream cannot be followed behind it
}

const silent = -1

// nobody refuses every call, and counts them.
type nobody struct{ asked atomic.Int32 }

func (n *nobody) Accept(context.Context, bridge.Leg) error {
	n.asked.Add(1)
	return bridge.CauseNoRoute.With("nobody is known here")
}

// TestTortureRFC4475: every message of RFC 4475 with the right answer, over UDP
// and TCP.
func TestTortureRFC4475(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "bad-input", "scripted")
	torture(t, validMessages)
	torture(t, invalidMessages)
}

// TestTortureRFC5118: the same for IPv6.
func TestTortureRFC5118(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "bad-input", "scripted")
	torture(t, ipv6Messages)
}

// TestTortureIsWhole: no message of the two RFCs is left out.
func TestTortureIsWhole(t *testing.T) {
	t.Parallel()
	const names = `wsinv intmeth esc01 escnull esc02 lwsdisp longreq dblreq semiuri transports mpart01 unreason noreason
		badinv01 clerr ncl scalar02 scalarlg quotbal ltgtruri lwsruri lwsstart trws escruri baddate regbadct badaspec baddn
		badvers mismatch01 mismatch02 bigcode badbranch insuf unkscm novelsc unksm2 bext01 invut regaut01 multi01 mcl01
		bcast zeromf cparam01 cparam02 regescrt sdp01 inv2543
		ipv6-good ipv6-bad port-ambiguous port-unambiguous via-received-param-with-delim via-received-param-no-delim
		ipv6-in-sdp mult-ip-in-header mult-ip-in-sdp ipv4-mapped-ipv6 ipv6-bug-abnf-3-colons ipv6-correct-abnf-2-colons`
	have := map[string]bool{}
	for _, tc := range slices.Concat(validMessages, invalidMessages, ipv6Messages) {
		have[tc.name] = true
	}
	for name := range strings.FieldsSeq(names) {
		if !have[name] {
			t.Errorf("%s is not tried", name)
		}
	}
}

func torture(t *testing.T, all []tortured) {
	for _, tc := range all {
		t.Run(tc.name+" over UDP", func(t *testing.T) {
			t.Parallel()
			acc := &nobody{}
			a := startAgent(t, acc, Trunk{Numbers: NumberRules{Domain: "example.com"}})
			p := newPeer(t)
			p.to = a.Addr()
			tc := tc
			tc.closes = false
			tc.over(t, a, p, acc)
		})
		t.Run(tc.name+" over TCP", func(t *testing.T) {
			t.Parallel()
			acc := &nobody{}
			a := startAgent(t, acc, Trunk{Numbers: NumberRules{Domain: "example.com"}})
			conn, err := net.Dial("tcp", a.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			tc := tc
			if tc.tcp != 0 {
				tc.want, tc.call = tc.tcp, tc.tcp == 404
			}
			tc.over(t, a, newTCPPeer(t, conn), acc)
		})
	}
}

// over sends the message, and a good one behind it: whatever came before, that
// is served.
func (tc tortured) over(t *testing.T, a *Agent, p *peer, acc *nobody) {
	p.send(strings.Replace(tc.text, "HERE", p.addr().String(), 1))
	if tc.want == silent { // the rest of the message is waited for
		time.Sleep(100 * time.Millisecond)
		if n := p.count(func(sipgo.Message) bool { return true }); n != 0 {
			t.Errorf("%d answers to half a message", n)
		}
		return
	}
	got := tc.answer(t, a, p)
	switch {
	case got == nil && tc.want != 0:
		t.Fatalf("no answer, want %d: %s", tc.want, tc.why)
	case got != nil && tc.want == 0:
		t.Fatalf("answered %s, want nothing: %s", got.StartLine(), tc.why)
	case got == nil:
		return
	}
	if got.StatusCode != tc.want || got.SipVersion != "SIP/2.0" {
		t.Errorf("answered %s, want %d: %s", got.StartLine(), tc.want, tc.why)
	}
	if tc.header != "" && len(got.GetHeaders(tc.header)) == 0 {
		t.Errorf("no %s in %s", tc.header, got)
	}
	if asked := acc.asked.Load() > 0; asked != tc.call {
		t.Errorf("the bridge was asked: %v, want %v", asked, tc.call)
	}
}

// answer is the final answer to the message, nil if none came: where there are
// several, the one that is wanted.
func (tc tortured) answer(t *testing.T, a *Agent, p *peer) (got *sipgo.Response) {
	behind := ""
	if !tc.closes {
		d := p.caller(a)
		d.seq, behind = 1, d.callID
		d.send(d.make("OPTIONS", 1, newBranch(), ""))
	}
	served := tc.closes
	limit := time.After(patience)
	for !served || tc.want != 0 && (got == nil || got.StatusCode != tc.want) || tc.closes {
		select {
		case m, open := <-p.inbox:
			if !open {
				return got
			}
			res, ok := m.(*sipgo.Response)
			switch {
			case !ok:
				t.Fatalf("the agent asks: %s", startLine(m))
			case res.CallID() != nil && res.CallID().Value() == behind:
				served = true
				if res.StatusCode != 200 {
					t.Errorf("the message behind is answered %s", res.StartLine())
				}
			case res.StatusCode != 100 && (got == nil || got.StatusCode != tc.want):
				got = res // of two requests in one text either may be answered first
			}
			if served && got != nil && tc.tcp == 0 && !tc.closes {
				return got
			}
		case <-limit:
			if !served {
				t.Error("the message behind is not served")
			}
			if tc.closes {
				t.Error("the stream goes on")
			}
			return got
		}
	}
	return got
}

// TestTortureBadBranch: two requests with nothing behind the magic cookie are
// two requests, whatever their branch (RFC 4475 section 3.2.1).
func TestTortureBadBranch(t *testing.T) {
	t.Parallel()
	a := startAgent(t, newAcceptor(), Trunk{})
	p := newPeer(t)
	d := p.caller(a)
	for seq := 1; seq <= 2; seq++ {
		d.seq = seq
		d.send(d.make("OPTIONS", seq, "z9hG4bK", ""))
		d.answer(200, "OPTIONS")
	}
}
