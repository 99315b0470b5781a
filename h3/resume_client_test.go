package h3

import (
	"testing"
	"time"

	"riptide/bridge"
)

// A client is killed and started again: it attaches to the call, which lived on
// at the server, on whatever carrier, and everything that a call can do it can
// still do.
func TestClientKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	for rung, name := range map[string]string{
		"auto": "trunk-session", "webtransport": "webtransport", "striped": "striped", "put-get": "put/get",
	} {
		t.Run(rung, func(t *testing.T) {
			t.Parallel()
			m := newMortal(t, rung)
			out, in := m.answered(name)
			r := again(out, bridge.StateAnswered)
			var atOut, atIn meter
			in.Media().Join(&atIn)
			stopIn := talk(in.Media)
			atOut.begin()
			atIn.begin()
			m.cut()
			var leg bridge.Leg
			var stopOut func()
			m.before = func(c *Client) {
				var err error
				leg, err = c.Resume(t.Context(), r)
				must(t, err)
				leg.Media().Join(&atOut)
				stopOut = talk(leg.Media)
			}
			m.start(rung)
			time.Sleep(2 * time.Second)
			stopOut()
			stopIn()
			t.Logf("%s: silence of %v at the client, %v at the server", name, atOut.gap(), atIn.gap())
			m.goesOn(leg, in, out, name)
		})
	}
}

// Both ends of a call between two bridges die one after the other, and again,
// before a new record was written: nothing is taken for an echo of the past.
func TestOneRecordIsGoodTwice(t *testing.T) {
	t.Parallel()
	m := newMortal(t, "auto")
	out, in := m.answered("trunk-session")
	ofClient, ofServer := again(out, bridge.StateAnswered), again(in, bridge.StateAnswered)
	for range 2 {
		m.cut()
		m.start("auto")
		var err error
		out, err = m.client.Resume(t.Context(), ofClient)
		must(t, err)
		m.heard(out, in)
		m.crash()
		m.restart(func(s *Server) {
			in, err = s.Resume(t.Context(), ofServer)
			must(t, err)
		})
		m.heard(out, in)
	}
	must(t, out.End(t.Context(), bridge.CauseNormal))
	if c := awaitEnded(t, in); c.Code != "normal" {
		t.Errorf("ended with %v", c)
	}
}

// Calls whose ends seal their media go on sealed, with the same keys.
func TestSealedCallsGoOn(t *testing.T) {
	t.Parallel()
	m := &mortal{pair: &pair{rig: makeRig(t, func(c *ServerConfig) { c.TGs[0].Keys = testRing(t, testKeys) })}}
	m.run(nil)
	m.clients()
	withKeys := func(c *TrunkConfig) { c.Keys = testRing(t, testKeys) }
	m.start("auto", withKeys)
	out, in := m.answered("trunk-session")
	ofClient, ofServer := again(out, bridge.StateAnswered), again(in, bridge.StateAnswered)
	m.cut()
	m.start("auto", withKeys)
	var err error
	out, err = m.client.Resume(t.Context(), ofClient)
	must(t, err)
	m.heard(out, in)
	m.crash()
	m.restart(func(s *Server) {
		in, err = s.Resume(t.Context(), ofServer)
		must(t, err)
	})
	m.heard(out, in)
	for _, leg := range []bridge.Leg{out, in} {
		if s := leg.Media().Stats(); s.Malformed+s.UnknownPayload != 0 || leg.Info().Media.Sealed || leg.Info().Trace.ID == "" {
			t.Errorf("%+v of %+v", s, leg.Info())
		}
	}
	must(t, in.End(t.Context(), bridge.CauseNormal))
	_ = awaitEnded(t, out)
}

// A call that was not answered is ended: its caller's side hears why, though it
// was told nothing before it came back.
func TestUnansweredCallsAreEndedAfterARestart(t *testing.T) {
	t.Parallel()
	m := newMortal(t, "put-get")
	out, in := m.dial()
	must(t, in.Progress(t.Context(), bridge.Progress{Alerting: true}))
	awaitKind(t, out, bridge.Alerting)
	r := again(in, bridge.StateAlerting)
	m.crash()
	m.restart(func(s *Server) {
		leg, err := s.Resume(t.Context(), r)
		must(t, err)
		began := time.Now()
		must(t, leg.End(t.Context(), bridge.CauseShuttingDown.EndedBy(bridge.ByBridge)))
		if took := time.Since(began); took > toldLimit {
			t.Logf("ending it took %v", took)
		}
	})
	if c := awaitEnded(t, out); c.Code != bridge.CauseShuttingDown.Code || c.By != bridge.ByBridge {
		t.Errorf("the client heard %v", c)
	}

	out, in = m.dial()
	must(t, in.Progress(t.Context(), bridge.Progress{Alerting: true}))
	awaitKind(t, out, bridge.Alerting)
	r = again(out, bridge.StateAlerting)
	m.cut()
	m.start("put-get")
	leg, err := m.client.Resume(t.Context(), r)
	must(t, err)
	must(t, leg.End(t.Context(), bridge.CauseShuttingDown.EndedBy(bridge.ByBridge)))
	if c := awaitEnded(t, in); c.Code != bridge.CauseShuttingDown.Code {
		t.Errorf("the server heard %v", c)
	}
}

// A call that is over is over, whoever asks for it after a restart.
func TestEndedCallsStayEnded(t *testing.T) {
	t.Parallel()
	m := newMortal(t, "put-get")
	out, in := m.answered("put/get")
	r := again(out, bridge.StateAnswered)
	m.cut()
	must(t, in.End(t.Context(), bridge.CauseNormal.EndedBy(bridge.ByCallee)))
	m.start("put-get")
	leg, err := m.client.Resume(t.Context(), r)
	must(t, err)
	if c := awaitEnded(t, leg); c.Code != "normal" || c.By != bridge.ByCallee {
		t.Errorf("ended with %v", c)
	}

	out, in = m.answered("put/get")
	m.crash()
	m.restart(nil) // its record is gone
	if c := awaitEnded(t, out); c.Code != bridge.CauseSignallingLost.Code {
		t.Errorf("ended with %v", c)
	}
	_ = in
}
