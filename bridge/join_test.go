package bridge_test

import (
	"cmp"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/policy"
)

// second makes another call from pbx to telco, which is answered unless it rings.
func (r *transferRig) second(answered bool, codec bridge.Codec) (a, b *bridgetest.Leg) {
	r.t.Helper()
	a = leg("pbx", func(i *bridge.LegInfo) {
		i.ID, i.To = "a2", target
		i.Media.Speech = []bridge.Codec{codec}
	})
	b = r.start(a)
	if answered {
		b.PickUp(bridge.MediaPlan{Speech: codec, Ptime: bridge.DefaultPtime})
		r.await(a, bridgetest.Accepted)
	} else {
		b.Ring()
	}
	synctest.Wait()
	return a, b
}

func (r *transferRig) askInstead(l, instead *bridgetest.Leg) {
	l.Send(bridge.Event{Kind: bridge.Transfer, Target: target, Instead: instead, Transferred: func(err error) { r.told <- err }})
	synctest.Wait()
}

// An attended transfer: who has two calls joins the others, and is out of both.
func TestJoinTwoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTransferRig(t, nil)
		a2, b2 := r.second(true, bridge.PCMU)
		hold(r.a, true)
		r.askInstead(r.a, a2)
		if err := r.outcome(); err != nil {
			t.Fatalf("told %v", err)
		}
		for _, l := range []*bridgetest.Leg{r.a, a2} {
			if act := r.await(l, bridgetest.Finished); act.Cause.Code != "normal" {
				t.Errorf("leg %s is sent off with %v", l.Info().ID, act.Cause)
			}
		}
		synctest.Wait()
		if !hears(r.b, b2) || !hears(b2, r.b) {
			t.Error("the two parties are not connected")
		}
		for _, l := range []*bridgetest.Leg{r.b, b2} {
			for _, act := range l.Acts() {
				if act.Kind == bridgetest.Finished {
					t.Fatalf("a party was hung up on: %v", act.Cause)
				}
			}
		}
		gone := r.summary() // the second call
		if gone.Cause.Code != "normal" {
			t.Errorf("the call that gave its party away ended with %v", gone.Cause)
		}
		rec, ok := r.record()
		if !ok || rec.A.ID != b2.Info().ID || rec.State != bridge.StateAnswered || rec.Transfer != nil {
			t.Errorf("on record: %+v", rec)
		}
		time.Sleep(time.Second)
		ear := listen(r.b)
		time.Sleep(time.Second)
		if got := ear.take(); len(got) != 0 {
			t.Error("the line is filled as if the party were still on hold")
		}
		b2.HangUp(bridge.CauseNormal, nil)
		r.await(r.b, bridgetest.Finished)
		r.over("normal", 1)
		synctest.Wait()
		if n := r.bridge.Active(); n != 0 {
			t.Errorf("%d calls left", n)
		}
	})
}

// Each way in which a join comes to nothing leaves both calls as they were.
func TestJoinFails(t *testing.T) {
	for name, tc := range map[string]struct {
		answered bool
		codec    bridge.Codec
		before   func(r *transferRig, a2, b2 *bridgetest.Leg, trunks map[string]policy.Trunk)
		instead  func(r *transferRig, a2 *bridgetest.Leg) *bridgetest.Leg
		want     string
	}{
		"the other call rings": {want: "not answered yet"},
		"trunk may not": {answered: true, before: func(_ *transferRig, _, _ *bridgetest.Leg, trunks map[string]policy.Trunk) {
			p := trunks["pbx"]
			p.Transfer = false
			trunks["pbx"] = p
		}, want: "transfer: allow"},
		"no call of ours": {answered: true, instead: func(*transferRig, *bridgetest.Leg) *bridgetest.Leg { return leg("pbx", nil) }, want: "no such call"},
		"the same call":   {answered: true, instead: func(r *transferRig, _ *bridgetest.Leg) *bridgetest.Leg { return r.a }, want: "same call"},
		"no common codec": {answered: true, codec: bridge.G722, want: "the other on G722"},
		"transferred already": {answered: true, before: func(r *transferRig, a2, _ *bridgetest.Leg, _ map[string]policy.Trunk) {
			a2.Send(bridge.Event{Kind: bridge.Transfer, Target: target})
			r.dialled()
		}, want: "being transferred"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var trunks map[string]policy.Trunk
				r := newTransferRig(t, func(c *bridge.Config) { trunks = c.Policy.Trunks })
				a2, b2 := r.second(tc.answered, cmp.Or(tc.codec, bridge.PCMU))
				instead := a2
				if tc.instead != nil {
					instead = tc.instead(r, a2)
				}
				if tc.before != nil {
					tc.before(r, a2, b2, trunks)
				}
				synctest.Wait()
				r.askInstead(r.a, instead)
				r.refused(tc.want)
				if !hears(r.a, r.b) || !hears(r.b, r.a) {
					t.Error("the first call does not go on")
				}
				r.a.HangUp(bridge.CauseNormal, nil)
				r.summary()
				synctest.Wait()
				if r.bridge.Active() != 1 {
					t.Error("the second call does not go on")
				}
				b2.HangUp(bridge.CauseNormal, nil)
				r.summary()
			})
		})
	}
}

// replacing is a leg that comes in the place of another.
func replacing(instead *bridgetest.Leg) *bridgetest.Leg {
	return leg("telco", func(i *bridge.LegInfo) { i.ID, i.Instead = "r", instead })
}

// RFC 3891: a leg takes the place of one in a running call.
func TestReplaceLeg(t *testing.T) {
	for name, callee := range map[string]bool{"of the callee": true, "of the caller": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTransferRig(t, nil)
				old, stays := r.b, r.a
				if !callee {
					old, stays = r.a, r.b
				}
				n := replacing(old)
				if err := r.bridge.Accept(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				if act := r.await(n, bridgetest.Accepted); act.Plan.Speech != bridge.PCMU {
					t.Errorf("answered with %+v", act.Plan)
				}
				r.await(old, bridgetest.Finished)
				synctest.Wait()
				if !hears(n, stays) || !hears(stays, n) {
					t.Error("the new leg is not connected")
				}
				if err := r.bridge.Accept(t.Context(), replacing(old)); !errors.Is(err, bridge.Cause{Code: "call-ended"}) {
					t.Errorf("the place of a leg that is gone was taken: %v", err)
				}
				n.HangUp(bridge.CauseNormal, nil)
				r.over("normal", 0)
			})
		})
	}
}

// A call that rings is picked up elsewhere.
func TestReplaceEarlyLeg(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &transferRig{rig: newRig(t, nil), told: make(chan error, 1)}
		r.a = leg("pbx", nil)
		r.b = r.start(r.a)
		r.b.Ring()
		synctest.Wait()
		if err := r.bridge.Accept(t.Context(), replacing(r.a)); !errors.Is(err, bridge.Cause{Code: "call-ended"}) {
			t.Errorf("the caller was replaced before the answer: %v", err)
		}
		n := replacing(r.b)
		if err := r.bridge.Accept(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		r.await(n, bridgetest.Accepted)
		r.await(r.a, bridgetest.Accepted)
		if act := r.await(r.b, bridgetest.Finished); act.Cause.Code != "answered-elsewhere" {
			t.Errorf("the telephone that rang hears %v", act.Cause)
		}
		synctest.Wait()
		if !hears(n, r.a) || !hears(r.a, n) {
			t.Error("not connected")
		}
		r.a.HangUp(bridge.CauseNormal, nil)
		r.await(n, bridgetest.Finished)
		r.over("normal", 0)
	})
}
