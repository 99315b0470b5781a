package main_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"riptide/bridge/bridgetest"
	"riptide/sip/siptest"
)

// TestRestartedSBCIsHeard: the box between two telephones is killed and started
// again, twice. They go on hearing each other in the one call they have, under
// whatever protection they had agreed on; digits arrive, a held call comes back,
// and either end's hanging up ends it.
func TestRestartedSBCIsHeard(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "restart", "baresip")
	for _, c := range []struct{ name, pbx, carrier, caller, callee string }{
		{"in clear", "srtp: off", "srtp: off", "", ""},
		{"SDES", "srtp: required, srtp-keys: clear", "srtp: required, srtp-keys: clear", "srtp-mand", "srtp-mand"},
		{"DTLS", "srtp: optional", "srtp: dtls", "dtls_srtp", "dtls_srtp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startSBC(t, withKeys("pbx", c.pbx), withKeys("carrier", c.carrier))
			a := siptest.Baresip{Netns: s.pbx, Port: 5060, User: officeNumber, Hz: 620, SRTP: c.caller}.Start(t)
			b := siptest.Baresip{Netns: s.carrier, Port: 5060, User: outsideNumber, Hz: 1040, SRTP: c.callee}.Start(t)
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			s.connect(t, ctx, a, b)
			time.Sleep(2 * time.Second)
			for range 2 {
				s.crash(t)
				s.node.awaitLog(t, "call resumed")
				time.Sleep(3 * time.Second)
			}
			s.talk(t, ctx, a, b, "42")
			for phone, hz := range map[*siptest.BaresipRun]float64{a: 1040, b: 620} {
				samples, rate, err := phone.Recording()
				if err != nil {
					t.Fatal(err)
				}
				if tone := bridgetest.ToneLevel(samples[max(0, len(samples)-rate):], rate); !tone.Is(hz) {
					t.Errorf("%s heard %v at the end, want %.0f Hz", phone.URI, tone, hz)
				}
				files, err := phone.Recordings()
				if err != nil || len(files) != 1 {
					t.Errorf("%s had %d calls, %v", phone.URI, len(files), err)
				}
			}
			if log := s.node.logText(t); strings.Contains(log, "level=ERROR") || strings.Contains(log, "was lost") {
				t.Errorf("it complains:\n%s", log)
			}
		})
	}
}

// TestRestartOverConnections: calls whose connections die with the box go on over
// new ones, with kamailio in the route of their dialogs: the box's requests get
// there, and those of the other end get to the box, over TCP and TLS.
func TestRestartOverConnections(t *testing.T) {
	t.Parallel()
	siptest.Shows(t, "restart", "sipp", "kamailio")
	for _, hangs := range []struct {
		up       string
		uac, uas siptest.Scenario
		caller   siptest.Script
		callee   siptest.Script
	}{
		{"caller", siptest.UAC, siptest.UAS, siptest.Script{HoldMS: 9000}, siptest.Script{RingMS: 20}},
		{"callee", siptest.UACHearsBye, siptest.UASHangsUp, siptest.Script{}, siptest.Script{RingMS: 20, HoldMS: 9000}},
	} {
		t.Run(hangs.up+" hangs up", func(t *testing.T) {
			t.Parallel()
			const ways = 2 // TCP and TLS; sipp would refuse what WebSocket needs
			x := startTransports(t)
			uas := siptest.Sipp{Scenario: hangs.uas, Script: hangs.callee, Port: portOf(t, x.callee), Calls: ways}.Start(t)
			var uacs []*siptest.SippRun
			hangs.caller.From = officeNumber
			for digit := range ways {
				uacs = append(uacs, siptest.Sipp{Scenario: hangs.uac, Script: hangs.caller, Remote: x.node.sip, Service: fmt.Sprintf("+1202555019%d", digit+1)}.Start(t))
			}
			x.node.awaitLogged(t, "call started", ways)
			time.Sleep(2500 * time.Millisecond)
			x.kill()
			x.node.log += "-again"
			x.kill = serveNode(t, x.node)
			x.node.awaitReady(t, "")
			x.node.awaitLog(t, fmt.Sprintf("resumed=%d ended=0 lost=0", ways))
			for _, uac := range uacs {
				uac.Check(t, 1)
			}
			uas.Check(t, ways)
			x.node.settle(t)
		})
	}
}
