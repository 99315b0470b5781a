package bridge_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/policy"
)

const target = policy.Number("+12025550177")

// transferRig is an answered call from pbx to telco, whose parties may transfer
// it.
type transferRig struct {
	*rig
	a, b *bridgetest.Leg
	told chan error
}

func newTransferRig(t *testing.T, change func(*bridge.Config)) *transferRig {
	r := &transferRig{told: make(chan error, 4)}
	r.rig = newRig(t, func(c *bridge.Config) {
		for _, name := range []string{"pbx", "telco"} {
			trunk := c.Policy.Trunks[name]
			trunk.Transfer = true
			c.Policy.Trunks[name] = trunk
		}
		c.RingTimeout = time.Minute
		if change != nil {
			change(c)
		}
	})
	r.a = leg("pbx", nil)
	r.b = r.start(r.a)
	r.b.PickUp(plan)
	r.await(r.a, bridgetest.Accepted)
	synctest.Wait()
	return r
}

func (r *transferRig) ask(l *bridgetest.Leg, to policy.Number) {
	l.Send(bridge.Event{Kind: bridge.Transfer, Target: to, Transferred: func(err error) { r.told <- err }})
	synctest.Wait()
}

// outcome is what the one who asked was told.
func (r *transferRig) outcome() error {
	r.t.Helper()
	select {
	case err := <-r.told:
		return err
	case <-time.After(5 * time.Minute):
		r.t.Fatal("nobody was told what became of the transfer")
	}
	return nil
}

func (r *transferRig) refused(want string) {
	r.t.Helper()
	err := r.outcome()
	if !errors.Is(err, bridge.CauseTransferRefused) || !strings.Contains(err.Error(), want) {
		r.t.Errorf("told %v, want a refusal with %q", err, want)
	}
}

func (r *transferRig) dialled() (*bridgetest.Leg, bridge.Intent) {
	r.t.Helper()
	l, err := r.dialer.Next(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	in := r.dialer.Intents()
	return l, in[len(in)-1]
}

// hears tells whether frames that one leg's peer sends reach the other's.
func hears(from, to *bridgetest.Leg) bool {
	before := to.Peer().Stats().Received
	from.Peer().Push(&bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)})
	return to.Peer().Stats().Received > before
}

func (r *transferRig) over(code bridge.Code, moves int) bridge.Summary {
	r.t.Helper()
	s := r.summary()
	if s.Cause.Code != code || len(s.Moves) != moves {
		r.t.Errorf("the call ended with %v, %d moves; want %s, %d", s.Cause, len(s.Moves), code, moves)
	}
	if _, ok := r.record(); ok {
		r.t.Error("its record is still there")
	}
	return s
}

func TestTransferByEitherParty(t *testing.T) {
	for name, byCaller := range map[string]bool{"by the caller": true, "by the callee": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTransferRig(t, nil)
				asks, stays, number := r.a, r.b, caller
				if !byCaller {
					asks, stays, number = r.b, r.a, callee
				}
				r.ask(asks, target)
				c, in := r.dialled()
				if in.From != number || in.To != target || in.Trace.IsZero() || in.Media.Speech[0] != bridge.PCMU {
					t.Errorf("dialled %+v", in)
				}
				if via := map[bool]string{true: "telco", false: "pbx"}[byCaller]; in.Trunk != via || (in.Passport != "") != byCaller {
					t.Errorf("dialled over %s with PASSporT %q, want %s and one where the trunk signs", in.Trunk, in.Passport, via)
				}
				if rec, ok := r.record(); !ok || rec.Transfer == nil || rec.Transfer.Target != target || rec.Transfer.Leg == nil {
					t.Errorf("on record while it rings: %+v", rec.Transfer)
				}
				c.Ring()
				synctest.Wait()
				if !hears(asks, stays) || !hears(stays, asks) {
					t.Error("the parties do not hear each other while the target rings")
				}
				c.PickUp(plan)
				if err := r.outcome(); err != nil {
					t.Fatalf("told %v", err)
				}
				act := r.await(asks, bridgetest.Finished)
				if act.Cause.Code != "normal" || act.Cause.By != bridge.ByBridge {
					t.Errorf("who asked is sent off with %+v", act.Cause)
				}
				synctest.Wait()
				if !hears(c, stays) || !hears(stays, c) || hears(asks, stays) {
					t.Error("the target and the party that stays are not connected, or who asked still is")
				}
				rec, _ := r.record()
				if rec.Transfer != nil || rec.State != bridge.StateAnswered || byCaller && rec.A.ID != c.Info().ID || !byCaller && rec.B.ID != c.Info().ID {
					t.Errorf("on record: %+v", rec)
				}
				c.HangUp(bridge.CauseNormal, nil)
				r.await(stays, bridgetest.Finished)
				s := r.over("normal", 1)
				if m := s.Moves[0]; m.Target != target || m.Trunk != in.Trunk || m.At.IsZero() {
					t.Errorf("move %+v", m)
				}
			})
		})
	}
}

// Each way in which a transfer comes to nothing leaves the call as it was.
func TestTransferFails(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*bridge.Config)
		target policy.Number
		dialed bool
		then   func(*transferRig, *bridgetest.Leg)
		want   string
	}{
		"trunk may not": {change: func(c *bridge.Config) {
			c.Policy.Trunks["pbx"] = policy.Trunk{Name: "pbx"}
		}, want: "transfer: allow"},
		"no route":        {target: "+4420555", want: "no-route"},
		"target is busy":  {dialed: true, then: func(_ *transferRig, c *bridgetest.Leg) { c.HangUp(bridge.CauseBusy, nil) }, want: "busy"},
		"target rings on": {dialed: true, then: func(_ *transferRig, c *bridgetest.Leg) { c.Ring(); time.Sleep(time.Minute) }, want: "did not answer"},
		"target has another codec": {dialed: true, then: func(_ *transferRig, c *bridgetest.Leg) {
			c.PickUp(bridge.MediaPlan{Speech: bridge.G722, Ptime: bridge.DefaultPtime})
		}, want: "media-incompatible"},
		"target without media": {dialed: true, then: func(_ *transferRig, c *bridgetest.Leg) { c.Send(bridge.Event{Kind: bridge.Answered}) }, want: "without media"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTransferRig(t, tc.change)
				to := tc.target
				if to == "" {
					to = target
				}
				r.ask(r.a, to)
				var c *bridgetest.Leg
				if tc.dialed {
					c, _ = r.dialled()
					tc.then(r, c)
				}
				r.refused(tc.want)
				if c != nil {
					r.await(c, bridgetest.Finished)
				}
				synctest.Wait()
				if !hears(r.a, r.b) || !hears(r.b, r.a) {
					t.Error("the call does not go on")
				}
				if rec, ok := r.record(); !ok || rec.Transfer != nil || rec.State != bridge.StateAnswered {
					t.Errorf("on record: %+v", rec)
				}
				r.a.HangUp(bridge.CauseNormal, nil)
				r.over("normal", 0)
			})
		})
	}
}

func TestTransferIsRefusedBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &transferRig{rig: newRig(t, nil), told: make(chan error, 1)}
		r.a = leg("pbx", nil)
		r.b = r.start(r.a)
		r.ask(r.a, target)
		r.refused("not answered")
		r.a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

func TestTransferOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTransferRig(t, nil)
		r.ask(r.a, target)
		c, _ := r.dialled()
		r.ask(r.b, "+12025550178")
		r.refused("already")
		c.PickUp(plan)
		if err := r.outcome(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.ask(r.b, "+12025550178") // the callee may send the new caller on
		d, in := r.dialled()
		if in.From != callee {
			t.Errorf("the second transfer is by %s", in.From)
		}
		d.PickUp(plan)
		if err := r.outcome(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !hears(c, d) || !hears(d, c) {
			t.Error("the two targets are not connected")
		}
		d.HangUp(bridge.CauseNormal, nil)
		r.over("normal", 2)
	})
}

// Who asked may leave: the other party waits for the target alone.
func TestTransferorLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTransferRig(t, nil)
		r.ask(r.a, target)
		c, _ := r.dialled()
		acknowledged := make(chan struct{})
		r.a.HangUp(bridge.CauseNormal, func() { close(acknowledged) })
		<-acknowledged
		synctest.Wait()
		for _, act := range r.b.Acts() {
			if act.Kind == bridgetest.Finished {
				t.Fatal("the party that waits was hung up")
			}
		}
		c.PickUp(plan)
		if err := r.outcome(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !hears(c, r.b) || !hears(r.b, c) {
			t.Error("the target and the party that waited are not connected")
		}
		r.b.HangUp(bridge.CauseNormal, nil)
		r.await(c, bridgetest.Finished)
		r.over("normal", 1)
	})
}

func TestTransferorLeavesAndTargetRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTransferRig(t, nil)
		r.ask(r.a, target)
		c, _ := r.dialled()
		r.a.HangUp(bridge.CauseNormal, nil)
		synctest.Wait()
		c.HangUp(bridge.CauseBusy, nil)
		r.refused("busy")
		if act := r.await(r.b, bridgetest.Finished); act.Cause.Code != "busy" {
			t.Errorf("the party that waited hears %v", act.Cause)
		}
		r.over("busy", 0)
	})
}

// The call ends while the target is being asked, or rings.
func TestCallEndsDuringTransfer(t *testing.T) {
	for name, tc := range map[string]struct {
		asking bool
		end    func(*transferRig)
		code   bridge.Code
	}{
		"asked, other party": {true, func(r *transferRig) { r.b.HangUp(bridge.CauseNormal, nil) }, "normal"},
		"rings, other party": {false, func(r *transferRig) { r.b.HangUp(bridge.CauseNormal, nil) }, "normal"},
		"rings, shutdown": {false, func(r *transferRig) {
			ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
			defer cancel()
			if err := r.bridge.Shutdown(ctx); err != nil {
				r.t.Error(err)
			}
		}, "shutting-down"},
		"rings, both parties": {false, func(r *transferRig) {
			r.a.HangUp(bridge.CauseNormal, nil)
			synctest.Wait()
			r.b.HangUp(bridge.CauseNormal, nil)
		}, "normal"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTransferRig(t, nil)
				gaveUp := make(chan struct{})
				if tc.asking {
					r.dialer.OnDial = func(ctx context.Context, _ bridge.Intent) (bridge.Leg, error) {
						<-ctx.Done()
						close(gaveUp)
						return nil, bridge.CauseCancelled
					}
				}
				r.ask(r.a, target)
				var c *bridgetest.Leg
				if !tc.asking {
					c, _ = r.dialled()
					c.Ring()
					synctest.Wait()
				}
				tc.end(r)
				r.refused("over")
				if tc.asking {
					<-gaveUp
				} else if act := r.await(c, bridgetest.Finished); act.Cause.Code != "cancelled" {
					t.Errorf("the target hears %v", act.Cause)
				}
				r.over(tc.code, 0)
			})
		})
	}
}

// A target that is still being dialled when time is up is not waited for, and
// what becomes of the dialling is ended: nobody would be connected to it.
func TestTransferLateWhileDialling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTransferRig(t, nil)
		late := leg("telco", nil)
		dial := make(chan struct{})
		r.dialer.OnDial = func(context.Context, bridge.Intent) (bridge.Leg, error) {
			<-dial // deaf: what it was asked to give up comes all the same
			return late, nil
		}
		r.ask(r.a, target)
		time.Sleep(2 * time.Minute)
		r.refused("did not answer within")
		close(dial)
		if act := r.await(late, bridgetest.Finished); act.Cause.Code != "no-answer" {
			t.Errorf("the late leg is ended with %v", act.Cause)
		}
		if !hears(r.a, r.b) {
			t.Error("the parties do not hear each other")
		}
		r.a.HangUp(bridge.CauseNormal, nil)
		r.await(r.b, bridgetest.Finished)
		r.over("normal", 0)
	})
}
