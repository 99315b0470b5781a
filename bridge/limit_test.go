package bridge_test

import (
	"testing"
	"testing/synctest"

	"riptide/bridge"
	"riptide/policy"
)

// TestTrunkLimit: a trunk that has its number of calls, whichever way they go,
// gets no more, and others do.
func TestTrunkLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *bridge.Config) {
			pbx := c.Policy.Trunks["pbx"]
			pbx.Calls = 2
			c.Policy.Trunks["pbx"] = pbx
			c.Policy.Trunks["other"] = policy.Trunk{Name: "other"}
			c.Policy.Routes = append(c.Policy.Routes, policy.Route{From: "other", To: "+1*", Via: "telco"})
		})
		first := leg("pbx", nil)
		r.start(first)
		r.start(leg("telco", nil)) // to pbx
		err := r.bridge.Accept(t.Context(), leg("pbx", nil))
		if c := bridge.CauseOf(err); c.Code != "rate-limited" || c.RetryAfter == 0 {
			t.Errorf("a third call from it: %v", err)
		}
		err = r.bridge.Accept(t.Context(), leg("telco", nil))
		if c := bridge.CauseOf(err); c.Code != "overloaded" || c.RetryAfter == 0 {
			t.Errorf("a third call to it: %v", err)
		}
		r.start(leg("other", nil))
		first.HangUp(bridge.CauseNormal, nil)
		r.summary()
		synctest.Wait()
		r.start(leg("pbx", nil))
		if err := r.bridge.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
