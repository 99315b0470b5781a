package bridge_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/policy"
)

// rerouted is a rig whose route from pbx leads to telco, and then to backup.
func rerouted(t *testing.T, change func(*bridge.Config)) *rig {
	r := newRig(t, func(c *bridge.Config) {
		c.Policy.Trunks["backup"] = policy.Trunk{Name: "backup"}
		c.Policy.Routes[0].Next = []string{"backup"}
		if change != nil {
			change(c)
		}
	})
	r.bridge.Use(map[string]bridge.Trunk{"telco": {Dialer: r.dialer, Signer: r.signer}, "pbx": {Dialer: r.dialer}, "backup": {Dialer: r.dialer, Signer: r.signer}})
	return r
}

func refused(status int) bridge.Cause { return bridge.CauseFromSIP(status, 0) }

// TestRerouted: what says that the trunk cannot goes on to the next one; what
// says that the called party will not ends the call.
func TestRerouted(t *testing.T) {
	for _, tc := range []struct {
		status int
		on     []policy.Status
		again  bool
	}{
		{503, nil, true}, {408, nil, true}, {500, nil, true}, {504, nil, true},
		{486, nil, false}, {404, nil, false}, {603, nil, false}, {487, nil, false},
		{404, []policy.Status{"404"}, true}, {503, []policy.Status{"404"}, false}, {486, []policy.Status{"4xx"}, true}, {603, []policy.Status{"4xx"}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := rerouted(t, func(c *bridge.Config) { c.Policy.Routes[0].Reroute.On = tc.on })
			a := leg("pbx", nil)
			first := r.start(a)
			first.Ring()
			synctest.Wait()
			stored := false
			first.HangUp(refused(tc.status), func() { stored = true })
			synctest.Wait()
			if !stored {
				t.Errorf("%d: the leg waits for its end to be on record", tc.status)
			}
			intents := r.dialer.Intents()
			if again := len(intents) == 2; again != tc.again {
				t.Fatalf("%d on %v: dialled %d times", tc.status, tc.on, len(intents))
			}
			if !tc.again {
				if s := r.summary(); s.TrunkB != "telco" || s.Cause.SIP != tc.status {
					t.Errorf("%d: %+v", tc.status, s)
				}
				return
			}
			second, err := r.dialer.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if in := intents[1]; in.Trunk != "backup" || in.Passport != "signed" || in.Call != intents[0].Call || in.From != caller || in.To != callee || in.Hops != intents[0].Hops {
				t.Errorf("%+v", in)
			}
			second.PickUp(plan)
			synctest.Wait()
			if rec, ok := r.record(); !ok || rec.State != bridge.StateAnswered || rec.B == nil || rec.B.Trunk != "backup" {
				t.Errorf("record: %+v", rec)
			}
			a.HangUp(bridge.CauseNormal, nil)
			if s := r.summary(); s.TrunkB != "backup" || s.Cause.Code != "normal" {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestNotReroutedAfterMedia: a caller who has heard an announcement is not
// connected to another one, unless the route says so.
func TestNotReroutedAfterMedia(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := rerouted(t, func(c *bridge.Config) { c.Policy.Routes[0].Reroute.AfterMedia = allowed })
			a := leg("pbx", nil)
			first := r.start(a)
			early := plan
			first.Send(bridge.Event{Kind: bridge.Proceeding, Plan: &early})
			synctest.Wait()
			first.HangUp(refused(503), nil)
			synctest.Wait()
			if again := len(r.dialer.Intents()) == 2; again != allowed {
				t.Fatalf("after media allowed %v: dialled again %v", allowed, again)
			}
			if allowed {
				second, err := r.dialer.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				second.PickUp(plan)
				synctest.Wait()
				a.HangUp(bridge.CauseNormal, nil)
			}
			r.summary()
		})
	}
}

// TestReroutedWhenItCannotBeDialled: a trunk that is down costs nothing but the
// try, the last failure is what the caller hears, and the limits count the trunk
// that has the call.
func TestReroutedWhenItCannotBeDialled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rerouted(t, func(c *bridge.Config) {
			c.Policy.Trunks["backup"] = policy.Trunk{Name: "backup", Calls: 1}
		})
		down := bridge.CauseUnreachable.With("down")
		dialer := bridgeDialer(func(in bridge.Intent) error {
			if in.Trunk == "telco" {
				return down
			}
			return nil
		}, r)
		r.bridge.Use(map[string]bridge.Trunk{"telco": {Dialer: dialer}, "pbx": {Dialer: r.dialer}, "backup": {Dialer: r.dialer}})
		a := leg("pbx", nil)
		b := r.start(a)
		if b.Info().Trunk != "backup" {
			t.Fatalf("dialled %s", b.Info().Trunk)
		}
		another := leg("pbx", nil)
		if err := r.bridge.Accept(t.Context(), another); err != nil {
			t.Fatal(err)
		}
		if s := r.summary(); s.TrunkB != "telco" || s.Cause.Text != "unreachable: down" && s.Cause.Text != "down" {
			t.Errorf("%+v", s.Cause)
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
		synctest.Wait()
		third := leg("pbx", nil)
		if b := r.start(third); b.Info().Trunk != "backup" {
			t.Errorf("the place of the call that is over is not free")
		}
		third.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

// TestFullTrunkIsPassedOver: the limit of a trunk sends calls to the next one
// before anything is tried.
func TestFullTrunkIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rerouted(t, func(c *bridge.Config) { c.Policy.Trunks["telco"] = policy.Trunk{Name: "telco", Calls: 1} })
		one, two := leg("pbx", nil), leg("pbx", nil)
		if b := r.start(one); b.Info().Trunk != "telco" {
			t.Errorf("first over %s", b.Info().Trunk)
		}
		if b := r.start(two); b.Info().Trunk != "backup" {
			t.Errorf("second over %s", b.Info().Trunk)
		}
		one.HangUp(bridge.CauseNormal, nil)
		two.HangUp(bridge.CauseNormal, nil)
		r.summary()
		r.summary()
	})
}

// TestCallsPerSecond: https://github.com/livekit/sip/issues/484: the refusal
// names the rule, and the calls come again when the peer waits as it is told.
func TestCallsPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *bridge.Config) {
			pbx := c.Policy.Trunks["pbx"]
			pbx.Rate = 2
			c.Policy.Trunks["pbx"] = pbx
		})
		for round := range 3 {
			for range 2 {
				r.start(leg("pbx", nil))
			}
			err := r.bridge.Accept(t.Context(), leg("pbx", nil))
			c := bridge.CauseOf(err)
			status, _ := c.SIPStatus()
			if c.Code != "rate-limited" || status != 503 || c.RetryAfter != time.Second || !strings.Contains(c.Text, "trunks.pbx.calls-per-second") {
				t.Errorf("round %d: %v", round, err)
			}
			time.Sleep(time.Second)
		}
		if err := r.bridge.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// bridgeDialer is the rig's, but for those that may fail.
func bridgeDialer(fail func(bridge.Intent) error, r *rig) bridge.Dialer {
	d := bridgetest.NewDialer()
	d.OnDial = func(ctx context.Context, in bridge.Intent) (bridge.Leg, error) {
		if err := fail(in); err != nil {
			return nil, err
		}
		return r.dialer.Dial(ctx, in)
	}
	return d
}
