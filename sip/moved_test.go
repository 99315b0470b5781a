package sip

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"

	"riptide/bridge"
	"riptide/sip/sdp"
)

// Where the ports are taken, or the call was another node's, the peer is told by a
// re-INVITE; one that will not follow is asked once more, and then the call ends.
func TestResumedElsewhere(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer []int // to the re-INVITEs
	}{
		{"followed", []int{200}},
		{"followed at the second try", []int{500, 200}},
		{"not followed", []int{500, 488}},
		{"gone", []int{481}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, port := mediaSocket(t)
			a, tr, d, l, body := callFor(t, "uas", port)
			was, err := sdp.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			rec := l.Record()
			crash(t, a)
			b := startAgent(t, newAcceptor(), tr)
			type outcome struct {
				leg bridge.Leg
				err error
			}
			done := make(chan outcome, 1)
			go func() {
				l, err := b.Resume(ctx, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered, Moved: true})
				done <- outcome{l, err}
			}()
			d.to = b.Addr()
			var inv *sipgo.Request
			for _, status := range tc.answer {
				inv = d.request("INVITE")
				now, err := sdp.Parse(inv.Body())
				if err != nil {
					t.Fatal(err)
				}
				if now.Origin.ID != was.Origin.ID || now.Origin.Version <= was.Origin.Version || inv.Contact().Address.Port != int(b.Addr().Port()) || mediaOf(t, inv.Body()) == mediaOf(t, body) {
					t.Errorf("%s", inv)
				}
				was = now
				answer := ""
				if status == 200 {
					answer = offerSDP(2, port)
				}
				d.peer.respond(inv, status, "Whatever", "", answer)
				d.request("ACK")
			}
			if tc.answer[len(tc.answer)-1] != 200 {
				d.peer.respond(d.request("BYE"), 200, "OK", "", "")
				o := <-done
				if hungUp := tc.name == "gone"; o.err == nil || hungUp != errors.Is(o.err, bridge.CauseNormal) || hungUp && bridge.CauseOf(o.err).By != bridge.ByCaller {
					t.Errorf("%v", o.err)
				}
				return
			}
			o := <-done
			if o.err != nil {
				t.Fatal(o.err)
			}
			speak(o.leg, 1)
			heard(t, c)
			event(t, o.leg, bridge.MediaChanged)
			d.uri = inv.Contact().Address.String()
			hangUp(t, d, o.leg)
		})
	}
}

// Another program has the RTP port: the call goes on, on another.
func TestResumedOnAnotherPort(t *testing.T) {
	t.Parallel()
	c, port := mediaSocket(t)
	a, tr, d, l, body := callFor(t, "uac", port)
	rec := l.Record()
	crash(t, a)
	other, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(mediaOf(t, body)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	b := startAgent(t, newAcceptor(), tr, func(c *Config) { c.Listen = []string{a.Addr().String()} })
	again, err := b.Resume(ctx, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered})
	if err != nil {
		t.Fatal(err)
	}
	inv := d.request("INVITE")
	if mediaOf(t, inv.Body()) == mediaOf(t, body) {
		t.Errorf("%s", inv.Body())
	}
	d.peer.respond(inv, 200, "OK", "", offerSDP(2, port))
	d.request("ACK")
	event(t, again, bridge.MediaChanged)
	speak(again, 1)
	heard(t, c)
	hangUp(t, d, again)
}

// A trunk whose dialogs stay where they are: the call is replaced by another one.
func TestResumedByReplaces(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 481} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			c, port := mediaSocket(t)
			a, tr, d, l, _ := callFor(t, "uas", port)
			rec := l.Record()
			crash(t, a)
			tr.Replaces = true
			b := startAgent(t, newAcceptor(), tr)
			d.to = b.Addr()
			type outcome struct {
				leg bridge.Leg
				err error
			}
			done := make(chan outcome, 1)
			go func() {
				l, err := b.Resume(ctx, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered, Moved: true})
				done <- outcome{l, err}
			}()
			inv := d.request("INVITE")
			_, theirs, _ := strings.Cut(d.local, "tag=")
			_, ours, _ := strings.Cut(d.remote, "tag=")
			if got := headerValues(inv, "Replaces"); len(got) != 1 || got[0] != rec.ID+";to-tag="+theirs+";from-tag="+ours || inv.To().Address.User != string(rec.From) {
				t.Errorf("%s", inv)
			}
			if status != 200 {
				d.peer.respond(inv, status, "No", "b", "")
				if o := <-done; !errors.Is(o.err, bridge.CauseNormal) || bridge.CauseOf(o.err).By != bridge.ByCaller {
					t.Errorf("%v", o.err)
				}
				return
			}
			d.peer.respond(inv, 200, "OK", "b", offerSDP(1, port))
			d.request("ACK")
			o := <-done
			if o.err != nil {
				t.Fatal(o.err)
			}
			speak(o.leg, 1)
			heard(t, c)
			again := calledBy(d.peer, inv)
			again.local = inv.To().Value() + ";tag=b"
			hangUp(t, again, o.leg)
		})
	}
}

// A call that was let go of comes back.
func TestAbandonedCallComesBack(t *testing.T) {
	t.Parallel()
	a, _, d, l, _ := callFor(t, "uas", 40000)
	rec := l.Record()
	l.(bridge.Abandoner).Abandon()
	closed(t, l)
	again, err := a.Resume(ctx, bridge.Resumption{LegRecord: rec, State: bridge.StateAnswered})
	if err != nil {
		t.Fatal(err)
	}
	hangUp(t, d, again)
}
