package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
)

// successor is the bridge of the process that follows another one at the same
// store. The other is not told, as it would not be by kill -9: it finds out with
// its next write.
type successor struct {
	*rig
	fail map[string]error // legs that cannot be continued
	legs chan *bridgetest.Leg
	how  map[string]bridge.Resumption
}

func follow(r *rig, change ...func(*bridge.Config)) *successor {
	s := &successor{fail: map[string]error{}, legs: make(chan *bridgetest.Leg, 64)}
	edge := bridgetest.NewDialer()
	edge.OnResume = func(_ context.Context, how bridge.Resumption) (bridge.Leg, error) {
		if err := s.fail[how.ID]; err != nil {
			return nil, err
		}
		l := bridgetest.ResumedLeg(how)
		s.legs <- l
		return l, nil
	}
	s.rig = newRig(r.t, func(cfg *bridge.Config) {
		cfg.Store = r.store
		cfg.Resumer = func(bridge.LegRecord) bridge.Resumer { return edge }
		for _, f := range change {
			f(cfg)
		}
	})
	s.store, s.dialer = r.store, edge
	return s
}

// restore takes up what there is, and gives the legs by their ids.
func (s *successor) restore(want bridge.Restored) map[string]*bridgetest.Leg {
	s.t.Helper()
	got, err := s.bridge.Restore(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if got.Took = 0; got != want {
		s.t.Fatalf("%+v, want %+v", got, want)
	}
	legs := map[string]*bridgetest.Leg{}
	for len(s.legs) > 0 {
		l := <-s.legs
		legs[l.Info().ID] = l
	}
	s.how = map[string]bridge.Resumption{}
	for _, how := range s.dialer.Resumed() {
		s.how[how.ID] = how
	}
	return legs
}

// answeredCall is one of a rig, whose legs are a and b.
func answeredCall(r *rig) (a, b *bridgetest.Leg) {
	a = leg("pbx", nil)
	b = r.start(a)
	b.PickUp(plan)
	r.await(a, bridgetest.Accepted)
	synctest.Wait()
	return a, b
}

// heard counts frames.
type heard struct{ frames atomic.Int64 }

func (h *heard) Push(*bridge.Frame) { h.frames.Add(1) }

func TestAnAnsweredCallOutlivesItsProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		oldA, oldB := answeredCall(r)
		time.Sleep(3 * time.Second)
		s := follow(r)
		legs := s.restore(bridge.Restored{Resumed: 1})
		a, b := legs["a"], legs["dialled-1"]
		if a == nil || b == nil {
			t.Fatalf("legs %v", legs)
		}
		if how := s.how["a"]; how.State != bridge.StateAnswered || how.Moved || how.Idle < time.Second || how.Idle > 2*time.Second || !how.Plan.Equal(plan) {
			t.Errorf("%+v", how)
		}
		if rec, _ := s.record(); rec.Epoch != 2 || rec.Node != "test" {
			t.Errorf("%+v", rec)
		}
		synctest.Wait()
		var atA, atB heard
		a.Peer().Join(&atA)
		b.Peer().Join(&atB)
		a.Peer().Push(&bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)})
		b.Peer().Push(&bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)})
		if atA.frames.Load() != 1 || atB.frames.Load() != 1 {
			t.Errorf("%d and %d frames heard", atA.frames.Load(), atB.frames.Load())
		}
		// The process that had it has not noticed, and does with its next write.
		time.Sleep(time.Minute)
		r.await(oldA, bridgetest.Abandoned)
		r.await(oldB, bridgetest.Abandoned)
		if n := r.bridge.Active(); n != 0 {
			t.Errorf("%d calls where it was", n)
		}
		b.HangUp(bridge.CauseNormal, nil)
		if act := s.await(a, bridgetest.Finished); act.Cause.Code != "normal" || act.Cause.By != bridge.ByCallee {
			t.Errorf("%+v", act.Cause)
		}
		sum := s.summary()
		if sum.Answered.IsZero() || sum.Talk() < time.Minute || sum.TrunkA != "pbx" || sum.TrunkB != "telco" || sum.Identity != "none" {
			t.Errorf("%+v", sum)
		}
		synctest.Wait()
		if _, ok := s.record(); ok {
			t.Error("a record remains")
		}
	})
}

// TestWhatWasNotAnsweredIsEnded: nobody can go on setting up a call that another
// process began.
func TestWhatWasNotAnsweredIsEnded(t *testing.T) {
	for _, step := range []bridge.State{bridge.StateProceeding, bridge.StateAlerting} {
		t.Run(string(step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				a := leg("pbx", nil)
				b := r.start(a)
				if step == bridge.StateAlerting {
					b.Ring()
				}
				time.Sleep(time.Second)
				s := follow(r)
				legs := s.restore(bridge.Restored{Ended: 1})
				for _, id := range []string{"a", "dialled-1"} {
					if act := s.await(legs[id], bridgetest.Finished); act.Cause.Code != bridge.CauseShuttingDown.Code || act.Cause.RetryAfter == 0 {
						t.Errorf("leg %s: %+v", id, act.Cause)
					}
					if s.how[id].State != step {
						t.Errorf("leg %s: %+v", id, s.how[id])
					}
				}
				if sum := s.summary(); !sum.Answered.IsZero() || sum.Cause.Code != bridge.CauseShuttingDown.Code {
					t.Errorf("%+v", sum)
				}
				synctest.Wait()
				if _, ok := s.record(); ok {
					t.Error("a record remains")
				}
				a.HangUp(bridge.CauseNormal, nil) // the process that had it finds out
				r.await(b, bridgetest.Abandoned)
			})
		})
	}
}

// TestNeverHalfACall: of a call whose one leg cannot be continued, the other is
// told why.
func TestNeverHalfACall(t *testing.T) {
	for _, gone := range []string{"a", "dialled-1"} {
		t.Run(gone, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				oldA, _ := answeredCall(r)
				s := follow(r)
				s.fail[gone] = errors.New("its port is taken")
				legs := s.restore(bridge.Restored{Lost: 1})
				if len(legs) != 1 {
					t.Fatalf("%v", legs)
				}
				for _, l := range legs {
					act := s.await(l, bridgetest.Finished)
					if act.Cause.Code != bridge.CauseSignallingLost.Code || !strings.Contains(act.Cause.Text, "its port is taken") {
						t.Errorf("%+v", act.Cause)
					}
				}
				if sum := s.summary(); sum.Answered.IsZero() || sum.TrunkB != "telco" {
					t.Errorf("%+v", sum)
				}
				synctest.Wait()
				if _, ok := s.record(); ok {
					t.Error("a record remains")
				}
				oldA.HangUp(bridge.CauseNormal, nil)
				synctest.Wait()
			})
		})
	}
}

// TestAForsakenCallIsEnded: parties that heard nothing for minutes have gone.
func TestAForsakenCallIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		answeredCall(r)
		if err := r.bridge.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Minute + time.Second)
		s := follow(r)
		legs := s.restore(bridge.Restored{Ended: 1})
		for _, l := range legs {
			if act := s.await(l, bridgetest.Finished); act.Cause.Code != bridge.CauseSignallingLost.Code {
				t.Errorf("%+v", act.Cause)
			}
		}
		s.summary()
		synctest.Wait()
		if _, ok := s.record(); ok || len(legs) != 2 {
			t.Errorf("a record remains: %v; legs %v", ok, legs)
		}
	})
}

// TestALeftCallIsToldToNobody, and one that is not answered is refused at once.
func TestALeftCallIsToldToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b := answeredCall(r)
		ringing := leg("pbx", func(i *bridge.LegInfo) { i.ID = "ringing" })
		r.start(ringing).Ring()
		synctest.Wait()
		if err := r.bridge.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*bridgetest.Leg{a, b} {
			r.await(l, bridgetest.Abandoned)
			for _, act := range l.Acts() {
				if act.Kind == bridgetest.Finished {
					t.Errorf("leg %s was told of an end", l.Info().ID)
				}
			}
		}
		if act := r.await(ringing, bridgetest.Finished); act.Cause.Code != bridge.CauseShuttingDown.Code {
			t.Errorf("%+v", act.Cause)
		}
		if len(r.ended) != 1 {
			t.Errorf("%d calls ended", len(r.ended))
		}
		if err := r.bridge.Accept(t.Context(), leg("pbx", nil)); !errors.Is(err, bridge.CauseShuttingDown) {
			t.Errorf("a call after it: %v", err)
		}
		s := follow(r)
		legs := s.restore(bridge.Restored{Resumed: 1})
		legs["a"].HangUp(bridge.CauseNormal, nil)
		s.summary()
	})
}

// TestTheRecordIsNeverOld: what peers' numbering is continued from is noted every
// minute.
func TestTheRecordIsNeverOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, _ := answeredCall(r)
		for range 10 {
			time.Sleep(time.Minute)
			rec, ok := r.record()
			if age := time.Since(rec.Served); !ok || age > time.Minute {
				t.Errorf("noted %v ago", age)
			}
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

// TestHoldOutlivesAProcess: who was put on hold goes on hearing something.
func TestHoldOutlivesAProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, _ := answeredCall(r)
		a.Send(bridge.Event{Kind: bridge.MediaChanged, Plan: &plan, Held: true})
		time.Sleep(time.Second)
		s := follow(r)
		legs := s.restore(bridge.Restored{Resumed: 1})
		var atB heard
		legs["dialled-1"].Peer().Join(&atB)
		time.Sleep(time.Second)
		if atB.frames.Load() == 0 {
			t.Error("nothing is heard on hold")
		}
		legs["a"].HangUp(bridge.CauseNormal, nil)
		s.summary()
		time.Sleep(time.Minute) // for the process that had it
	})
}

// TestManyCallsAreTakenUp at once, the peers of an old one of another box are not
// spoken to, and what cannot be read harms none.
func TestManyCallsAreTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 20
		r := newRig(t, nil)
		for i := range calls {
			a := leg("pbx", func(info *bridge.LegInfo) { info.ID = fmt.Sprintf("a%d", i) })
			b := r.start(a)
			b.PickUp(plan)
			r.await(a, bridgetest.Accepted)
		}
		synctest.Wait()
		for key, value := range map[string]string{
			"foreign": `{"v":1,"id":"foreign","node":"other","epoch":1,"state":"answered","a":{}}`,
			"newer":   `{"v":1000,"id":"newer","node":"test"}`,
			"broken":  `{"v":1,"id":`,
		} {
			if _, err := r.store.Create(t.Context(), store.Calls, key, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		s := follow(r)
		legs := s.restore(bridge.Restored{Resumed: calls, Ended: 1, Lost: 2})
		if len(legs) != 2*calls || s.bridge.Active() != calls {
			t.Errorf("%d legs, %d calls", len(legs), s.bridge.Active())
		}
		if err := s.bridge.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		keys, err := s.store.Keys(t.Context(), store.Calls)
		if err != nil || len(keys) != 3 {
			t.Errorf("on record: %v %v", keys, err)
		}
		time.Sleep(time.Minute) // for the process that had them
		if n := r.bridge.Active(); n != 0 {
			t.Errorf("%d calls where they were", n)
		}
	})
}

// TestASecondClaimFails: of two that would take a call up, one does.
func TestASecondClaimFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		answeredCall(r)
		first, second := follow(r), follow(r)
		first.restore(bridge.Restored{Resumed: 1})
		second.restore(bridge.Restored{Resumed: 1}) // later: the call is its own from here on
		time.Sleep(time.Minute)
		if a, b := first.bridge.Active(), second.bridge.Active(); a != 0 || b != 1 {
			t.Errorf("the first has %d calls, the second %d", a, b)
		}
		if err := second.bridge.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestATransferUnderWayEndsWithItsProcess: the call goes on as it was, and the
// target is not left ringing.
func TestATransferUnderWayEndsWithItsProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(cfg *bridge.Config) {
			pbx := cfg.Policy.Trunks["pbx"]
			pbx.Transfer = true
			cfg.Policy.Trunks["pbx"] = pbx
		})
		a, _ := answeredCall(r)
		a.Send(bridge.Event{Kind: bridge.Transfer, Target: "+12025550123"})
		if _, err := r.dialer.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s := follow(r)
		legs := s.restore(bridge.Restored{Resumed: 1})
		if act := s.await(legs["dialled-2"], bridgetest.Finished); act.Cause.Code != bridge.CauseCancelled.Code {
			t.Errorf("%+v", act.Cause)
		}
		legs["a"].HangUp(bridge.CauseNormal, nil)
		s.summary()
		time.Sleep(time.Minute)
	})
}
