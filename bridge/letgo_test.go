package bridge_test

import (
	"testing"
	"testing/synctest"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
)

// TestARestartInTheMiddleOfATransfer: the call goes on as it was, who asked is told,
// and the target is not left ringing.
func TestARestartInTheMiddleOfATransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTransferRig(t, nil)
		r.ask(r.a, target)
		c, _ := r.dialled()
		c.Ring()
		synctest.Wait()
		if err := r.bridge.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.refused("going down")
		if act := r.await(c, bridgetest.Finished); act.Cause.Code != bridge.CauseShuttingDown.Code {
			t.Errorf("the target is sent off with %+v", act.Cause)
		}
		for _, l := range []*bridgetest.Leg{r.a, r.b} {
			r.await(l, bridgetest.Abandoned)
			for _, act := range l.Acts() {
				if act.Kind == bridgetest.Finished {
					t.Errorf("leg %s was told of an end: %+v", l.Info().ID, act.Cause)
				}
			}
		}
		s := follow(r.rig)
		legs := s.restore(bridge.Restored{Resumed: 1})
		if len(legs) != 2 {
			t.Errorf("resumed: %v", legs)
		}
		legs[r.a.Info().ID].HangUp(bridge.CauseNormal, nil)
		s.summary()
	})
}

// TestARestartAfterWhoAskedHasLeft: nobody is left whom the other party could talk to.
func TestARestartAfterWhoAskedHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTransferRig(t, nil)
		r.ask(r.a, target)
		c, _ := r.dialled()
		r.a.HangUp(bridge.CauseNormal, nil)
		synctest.Wait()
		if err := r.bridge.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*bridgetest.Leg{r.b, c} {
			if act := r.await(l, bridgetest.Finished); act.Cause.Code != bridge.CauseShuttingDown.Code {
				t.Errorf("leg %s: %+v", l.Info().ID, act.Cause)
			}
		}
		r.refused("going down")
		r.over(bridge.CauseShuttingDown.Code, 0)
	})
}
