package bridge_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
	"riptide/policy"
	"riptide/policy/stir"
)

const (
	caller = policy.Number("+12025550100")
	callee = policy.Number("+12025550199")
)

var plan = bridge.MediaPlan{Speech: bridge.PCMU, Digits: true, ComfortNoise: true, Ptime: bridge.DefaultPtime}

// rig is a bridge between two scripted trunks, inside a synctest bubble.
type rig struct {
	t      *testing.T
	bridge *bridge.Bridge
	dialer *bridgetest.Dialer
	store  store.Store
	ended  chan bridge.Summary
	signer *scriptedSigner
}

type scriptedSigner struct {
	passport string
	err      error
	asked    []string
}

func (s *scriptedSigner) Sign(_ context.Context, trunk string, from, to policy.Number, attest string) (string, error) {
	s.asked = append(s.asked, trunk+" "+from.TN()+" "+to.TN()+" "+attest)
	return s.passport, s.err
}

func newRig(t *testing.T, change func(*bridge.Config)) *rig {
	r := &rig{
		t: t, dialer: bridgetest.NewDialer(), store: store.NewMemory(),
		ended: make(chan bridge.Summary, 100), signer: &scriptedSigner{passport: "signed"},
	}
	callers, err := policy.ParseNumberSet([]string{"+1202555xxxx"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := bridge.Config{
		Node:  "test",
		Store: r.store,
		Policy: &policy.Policy{
			Trunks: map[string]policy.Trunk{"pbx": {Name: "pbx", Callers: callers}, "telco": {Name: "telco"}},
			Routes: []policy.Route{{From: "pbx", To: "+1*", Via: "telco"}, {From: "telco", To: "+1*", Via: "pbx"}},
		},
		Logger: slog.New(slog.DiscardHandler),
		OnEnd:  func(s bridge.Summary) { r.ended <- s },
	}
	if change != nil {
		change(&cfg)
	}
	r.bridge = bridge.New(cfg)
	r.bridge.Use(map[string]bridge.Trunk{"telco": {Dialer: r.dialer, Signer: r.signer}, "pbx": {Dialer: r.dialer}})
	return r
}

func leg(trunk string, change func(*bridge.LegInfo)) *bridgetest.Leg {
	info := bridge.LegInfo{
		ID: "a", Protocol: "script", Trunk: trunk, From: caller, To: callee, Hops: bridge.DefaultHops,
		Media: bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA}, Digits: true, ComfortNoise: true},
	}
	if change != nil {
		change(&info)
	}
	return bridgetest.NewLeg(info)
}

// start accepts leg A and waits for leg B.
func (r *rig) start(a *bridgetest.Leg) *bridgetest.Leg {
	r.t.Helper()
	if err := r.bridge.Accept(r.t.Context(), a); err != nil {
		r.t.Fatal(err)
	}
	b, err := r.dialer.Next(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
	return b
}

func (r *rig) await(l *bridgetest.Leg, kind bridgetest.ActKind) bridgetest.Act {
	r.t.Helper()
	act, err := l.Await(r.t.Context(), kind)
	if err != nil {
		r.t.Fatal(err)
	}
	return act
}

func (r *rig) summary() bridge.Summary {
	r.t.Helper()
	select {
	case s := <-r.ended:
		return s
	case <-time.After(time.Minute):
		r.t.Fatal("the call did not end")
		panic("unreachable")
	}
}

// record reads what the store holds of the only call.
func (r *rig) record() (bridge.CallRecord, bool) {
	r.t.Helper()
	keys, err := r.store.Keys(r.t.Context(), store.Calls)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(keys) == 0 {
		return bridge.CallRecord{}, false
	}
	e, err := r.store.Get(r.t.Context(), store.Calls, keys[0])
	if err != nil {
		r.t.Fatal(err)
	}
	rec, err := bridge.DecodeRecord(e.Value)
	if err != nil {
		r.t.Fatal(err)
	}
	return rec, true
}

func TestCallIsAnsweredAndEnded(t *testing.T) {
	for _, by := range []bridge.Party{bridge.ByCaller, bridge.ByCallee} {
		t.Run(string(by), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				a := leg("pbx", nil)
				b := r.start(a)
				b.Ring()
				if act := r.await(a, bridgetest.Progressed); !act.Progress.Alerting || act.Progress.Early != nil {
					t.Errorf("alerting became %+v", act.Progress)
				}
				b.PickUp(plan)
				if act := r.await(a, bridgetest.Accepted); !act.Plan.Equal(plan) {
					t.Errorf("answered on %+v, want %+v", act.Plan, plan)
				}
				rec, ok := r.record()
				if !ok || rec.State != bridge.StateAnswered || rec.B == nil || rec.B.Plan == nil || rec.A.Plan == nil || rec.Passport != "signed" {
					t.Errorf("record of an answered call: %+v", rec)
				}
				time.Sleep(3 * time.Second)
				ender, other := a, b
				if by == bridge.ByCallee {
					ender, other = b, a
				}
				onRecord := false
				ender.HangUp(bridge.CauseFromSIP(0, 16), func() {
					rec, ok := r.record()
					onRecord = ok && rec.State == bridge.StateEnded && rec.Cause != nil
				})
				if act := r.await(other, bridgetest.Finished); act.Cause.Code != "normal" || act.Cause.By != by {
					t.Errorf("the other leg was told %+v", act.Cause)
				}
				s := r.summary()
				if !onRecord {
					t.Error("the end was acknowledged before it was on record")
				}
				if s.Cause.Code != "normal" || s.Cause.By != by || s.Talk() != 3*time.Second {
					t.Errorf("summary %+v, talk %v", s.Cause, s.Talk())
				}
				synctest.Wait()
				if _, ok := r.record(); ok || r.bridge.Active() != 0 {
					t.Error("something of the call is left")
				}
			})
		})
	}
}

func TestCallIsRefusedByTheCallee(t *testing.T) {
	for _, status := range []int{486, 603, 480, 404, 503, 500, 488} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			a := leg("pbx", nil)
			b := r.start(a)
			b.HangUp(bridge.CauseFromSIP(status, 0), nil)
			act := r.await(a, bridgetest.Finished)
			if got, _ := act.Cause.SIPStatus(); got != status || act.Cause.By != bridge.ByCallee {
				t.Errorf("%d reached the caller as %d by %s", status, got, act.Cause.By)
			}
			r.summary()
		})
	}
}

func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := leg("pbx", nil)
		b := r.start(a)
		b.Ring()
		a.HangUp(bridge.CauseCancelled, nil)
		if act := r.await(b, bridgetest.Finished); act.Cause.Code != "cancelled" || act.Cause.By != bridge.ByCaller {
			t.Errorf("the callee was told %+v", act.Cause)
		}
		r.summary()
	})
}

// TestCallerGivesUpWhileDialling: the dialer is asked to stop, and a leg it
// still brings is ended.
func TestCallerGivesUpWhileDialling(t *testing.T) {
	for _, brings := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			late := leg("telco", nil)
			r.dialer.OnDial = func(ctx context.Context, _ bridge.Intent) (bridge.Leg, error) {
				<-ctx.Done()
				if brings {
					return late, nil
				}
				return nil, context.Cause(ctx)
			}
			a := leg("pbx", nil)
			if err := r.bridge.Accept(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			a.HangUp(bridge.CauseCancelled, nil)
			if s := r.summary(); s.Cause.Code != "cancelled" {
				t.Errorf("ended as %+v", s.Cause)
			}
			if brings {
				r.await(late, bridgetest.Finished)
			}
		})
	}
}

func TestDialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.dialer.OnDial = func(context.Context, bridge.Intent) (bridge.Leg, error) {
			return nil, bridge.CauseUnreachable.With("connection refused")
		}
		a := leg("pbx", nil)
		if err := r.bridge.Accept(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if act := r.await(a, bridgetest.Finished); act.Cause.Code != "unreachable" {
			t.Errorf("the caller was told %+v", act.Cause)
		}
		r.summary()
	})
}

func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *bridge.Config) { c.RingTimeout = 30 * time.Second })
		a := leg("pbx", nil)
		b := r.start(a)
		b.Ring()
		began := time.Now()
		for _, l := range []*bridgetest.Leg{a, b} {
			if act := r.await(l, bridgetest.Finished); act.Cause.Code != "no-answer" || act.Cause.By != bridge.ByBridge {
				t.Errorf("told %+v", act.Cause)
			}
		}
		if waited := time.Since(began); waited != 30*time.Second {
			t.Errorf("rang for %v", waited)
		}
		r.summary()
	})
}

func TestEarlyMediaAndProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := leg("pbx", nil)
		b := r.start(a)
		b.Send(bridge.Event{Kind: bridge.Proceeding, Plan: &plan})
		if act := r.await(a, bridgetest.Progressed); act.Progress.Alerting || act.Progress.Early == nil || !act.Progress.Early.Equal(plan) {
			t.Errorf("183 with media became %+v", act.Progress)
		}
		// freeswitch 2596: a 180 behind the 183 is told as well.
		b.Ring()
		synctest.Wait()
		acts := a.Acts()
		if last := acts[len(acts)-1]; !last.Progress.Alerting || last.Progress.Early == nil {
			t.Errorf("180 after 183 became %+v", last)
		}
		heard := &counting{}
		a.Peer().Join(heard)
		b.Peer().Push(&bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)})
		if heard.frames != 1 {
			t.Errorf("%d frames of early media reached the caller", heard.frames)
		}
		a.HangUp(bridge.CauseCancelled, nil)
		r.summary()
	})
}

type counting struct {
	frames int
	last   bridge.Frame
}

func (c *counting) Push(f *bridge.Frame) {
	c.frames++
	c.last = *f
	c.last.Payload = append([]byte(nil), f.Payload...)
}

// Sealed media goes where it can go, and is handed on as it came.
func TestSealedMediaIsHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.bridge.Use(map[string]bridge.Trunk{"telco": {Dialer: r.dialer, Signer: r.signer, Seals: true}})
		a := leg("pbx", func(i *bridge.LegInfo) { i.Media.Sealed = true })
		b := r.start(a)
		if intents := r.dialer.Intents(); len(intents) != 1 || !intents[0].Media.Sealed {
			t.Errorf("dialled %+v", intents)
		}
		sealed := plan
		sealed.Sealed = true
		b.PickUp(sealed)
		if act := r.await(a, bridgetest.Accepted); !act.Plan.Equal(sealed) {
			t.Errorf("answered with %+v", act.Plan)
		}
		heard := &counting{}
		a.Peer().Join(heard)
		f := bridge.Frame{Codec: bridge.PCMU, Payload: []byte("sealed"), Sealed: &bridge.Sealed{KeyID: 1, Seq: 9}}
		b.Peer().Push(&f)
		clear := f
		clear.Sealed = nil // nobody's
		b.Peer().Push(&clear)
		if heard.frames != 1 || heard.last.Sealed == nil || *heard.last.Sealed != *f.Sealed || string(heard.last.Payload) != "sealed" {
			t.Errorf("%d frames, the last %+v", heard.frames, heard.last)
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*bridge.LegInfo)
		config func(*bridge.Config)
		before func(*rig)
		code   bridge.Code
		text   string
	}{
		{"unknown trunk", func(i *bridge.LegInfo) { i.Trunk = "nobody" }, nil, nil, "forbidden", `"nobody"`},
		{"caller", func(i *bridge.LegInfo) { i.From = "+13035550100" }, nil, nil, "caller-forbidden", "trunks.pbx"},
		{"route", func(i *bridge.LegInfo) { i.To = "+442079460000" }, nil, nil, "no-route", "routes"},
		{"ring of bridges", func(i *bridge.LegInfo) { i.Hops = 0 }, nil, nil, "too-many-hops", "ring"},
		{"sealed media", func(i *bridge.LegInfo) { i.Media.Sealed = true }, nil, nil, "media-sealed", "trunks.pbx.ript.e2e-keys"},
		{"signer", nil, nil, func(r *rig) { r.signer.err = bridge.CauseCaller.With("not in the certificate") }, "caller-forbidden", `trunk "telco"`},
		{"store away", nil, nil, func(r *rig) { _ = r.store.Close() }, "store-unavailable", "record"},
		{"going down", nil, nil, func(r *rig) { _ = r.bridge.Shutdown(context.Background()) }, "shutting-down", ""},
		{"full", nil, func(c *bridge.Config) { c.MaxCalls = 1 }, func(r *rig) { r.start(leg("pbx", nil)) }, "overloaded", "limits.calls"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tc.config)
				if tc.before != nil {
					tc.before(r)
				}
				err := r.bridge.Accept(t.Context(), leg("pbx", tc.change))
				cause := bridge.CauseOf(err)
				if err == nil || cause.Code != tc.code || !strings.Contains(cause.Text, tc.text) {
					t.Errorf("refused with %v, want %s … %s", err, tc.code, tc.text)
				}
				if err := r.bridge.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestPassport(t *testing.T) {
	for _, tc := range []struct {
		name     string
		identity bridge.Identity
		want     string
		asked    int
	}{
		{"none: signed", bridge.Identity{}, "signed", 1},
		{"valid: relayed", bridge.Identity{Passport: "theirs", Verdict: stir.Verdict{Status: stir.Valid}}, "theirs", 0},
		{"not valid: signed", bridge.Identity{Passport: "theirs", Verdict: stir.Verdict{Status: stir.Stale}}, "signed", 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, nil)
			a := leg("pbx", func(i *bridge.LegInfo) { i.Identity = tc.identity })
			r.start(a)
			if in := r.dialer.Intents()[0]; in.Passport != tc.want || in.Hops != bridge.DefaultHops-1 || in.Trunk != "telco" {
				t.Errorf("%s: dialled with %+v", tc.name, in)
			}
			if len(r.signer.asked) != tc.asked || (tc.asked == 1 && r.signer.asked[0] != "telco 12025550100 12025550199 A") {
				t.Errorf("%s: signer was asked %q", tc.name, r.signer.asked)
			}
			a.HangUp(bridge.CauseCancelled, nil)
			r.summary()
		})
	}
}

// TestStoreOutageDoesNotHurtRunningCalls: rtpengine 662.
func TestStoreOutageDoesNotHurtRunningCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := leg("pbx", nil)
		b := r.start(a)
		if err := r.store.Close(); err != nil {
			t.Fatal(err)
		}
		b.Ring()
		b.PickUp(plan)
		r.await(a, bridgetest.Accepted)
		acknowledged := false
		a.HangUp(bridge.CauseNormal, func() { acknowledged = true })
		r.await(b, bridgetest.Finished)
		r.summary()
		if !acknowledged || r.bridge.StoreFailures() == 0 {
			t.Errorf("acknowledged %v, failures %d", acknowledged, r.bridge.StoreFailures())
		}
	})
}

func TestShutdownEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		var legs []*bridgetest.Leg
		for i := range 10 {
			a := leg("pbx", nil)
			b := r.start(a)
			if i%2 == 0 {
				b.PickUp(plan)
			}
			legs = append(legs, a, b)
		}
		synctest.Wait()
		if err := r.bridge.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, l := range legs {
			if act := r.await(l, bridgetest.Finished); act.Cause.Code != "shutting-down" {
				t.Errorf("told %+v", act.Cause)
			}
		}
		if r.bridge.Active() != 0 {
			t.Errorf("%d calls are left", r.bridge.Active())
		}
	})
}

func TestShutdownGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.dialer.OnDial = func(ctx context.Context, _ bridge.Intent) (bridge.Leg, error) {
			time.Sleep(20 * time.Second) // a dialer that does not listen
			return nil, errors.New("too late")
		}
		if err := r.bridge.Accept(t.Context(), leg("pbx", nil)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.bridge.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown returned %v", err)
		}
		r.summary()
	})
}

// TestMediaIsConverted joins a PCMA leg to a PCMU leg that has neither digits
// nor comfort noise.
func TestMediaIsConverted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := leg("pbx", func(i *bridge.LegInfo) {
			i.Media = bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMA}, Digits: true, ComfortNoise: true}
		})
		b := r.start(a)
		if offered := r.dialer.Intents()[0].Media.Speech; len(offered) != 3 || offered[0] != bridge.PCMA {
			t.Errorf("offered %v, want PCMA first", offered)
		}
		b.PickUp(bridge.MediaPlan{Speech: bridge.PCMU, Ptime: bridge.DefaultPtime})
		if act := r.await(a, bridgetest.Accepted); act.Plan.Speech != bridge.PCMA || !act.Plan.Digits {
			t.Errorf("leg A answered on %+v", act.Plan)
		}
		heard := &counting{}
		b.Peer().Join(heard)
		send := func(c bridge.Codec, payload ...byte) bridge.Frame {
			before := heard.frames
			a.Peer().Push(&bridge.Frame{Codec: c, Payload: payload, Seq: 7, Timestamp: 1120})
			if heard.frames == before {
				return bridge.Frame{Codec: 255}
			}
			return heard.last
		}
		if f := send(bridge.PCMA, 0xd5, 0x55); f.Codec != bridge.PCMU || len(f.Payload) != 2 || f.Seq != 7 || f.Timestamp != 1120 {
			t.Errorf("A-law arrived as %+v", f)
		}
		if f := send(bridge.ComfortNoise, 60); f.Codec != bridge.PCMU || len(f.Payload) != 160 {
			t.Errorf("comfort noise arrived as %v with %d bytes", f.Codec, len(f.Payload))
		}
		if f := send(bridge.TelephoneEvent, 5, 10, 0, 160); f.Codec != 255 {
			t.Errorf("a digit the peer cannot take arrived as %+v", f)
		}
		if f := send(bridge.Codec(200), 1); f.Codec != 255 {
			t.Errorf("an unknown codec arrived as %+v", f)
		}
		a.HangUp(bridge.CauseNormal, nil)
		if s := r.summary(); s.Converted != 1 || s.Noise != 1 || s.Dropped != 2 {
			t.Errorf("counted converted %d, noise %d, dropped %d", s.Converted, s.Noise, s.Dropped)
		}
	})
}

func TestPlanFor(t *testing.T) {
	t.Parallel()
	u, a := bridge.PCMU, bridge.PCMA
	for _, tc := range []struct {
		name  string
		offer bridge.MediaOffer
		other bridge.MediaPlan
		want  bridge.MediaPlan
		fails bool
	}{
		{"same first", bridge.MediaOffer{Speech: []bridge.Codec{u, a}}, bridge.MediaPlan{Speech: u}, bridge.MediaPlan{Speech: u, Ptime: bridge.DefaultPtime}, false},
		{"pass-through beats rank", bridge.MediaOffer{Speech: []bridge.Codec{u, a}}, bridge.MediaPlan{Speech: a}, bridge.MediaPlan{Speech: a, Ptime: bridge.DefaultPtime}, false},
		{"convert", bridge.MediaOffer{Speech: []bridge.Codec{a}}, bridge.MediaPlan{Speech: u}, bridge.MediaPlan{Speech: a, Ptime: bridge.DefaultPtime}, false},
		{"skip what we lack", bridge.MediaOffer{Speech: []bridge.Codec{9, a}}, bridge.MediaPlan{Speech: u}, bridge.MediaPlan{Speech: a, Ptime: bridge.DefaultPtime}, false},
		{"own ptime", bridge.MediaOffer{Speech: []bridge.Codec{u}, Ptime: 30 * time.Millisecond}, bridge.MediaPlan{Speech: u, Ptime: 20 * time.Millisecond}, bridge.MediaPlan{Speech: u, Ptime: 30 * time.Millisecond}, false},
		{"the other's ptime", bridge.MediaOffer{Speech: []bridge.Codec{u}}, bridge.MediaPlan{Speech: u, Ptime: 40 * time.Millisecond}, bridge.MediaPlan{Speech: u, Ptime: 40 * time.Millisecond}, false},
		{"extras as offered", bridge.MediaOffer{Speech: []bridge.Codec{u}, Digits: true}, bridge.MediaPlan{Speech: u, ComfortNoise: true}, bridge.MediaPlan{Speech: u, Digits: true, Ptime: bridge.DefaultPtime}, false},
		{"nothing in common", bridge.MediaOffer{Speech: []bridge.Codec{9}}, bridge.MediaPlan{Speech: u}, bridge.MediaPlan{}, true},
		{"nothing at all", bridge.MediaOffer{}, bridge.MediaPlan{Speech: u}, bridge.MediaPlan{}, true},
	} {
		got, err := bridge.PlanFor(tc.offer, tc.other)
		if !got.Equal(tc.want) || errors.Is(err, bridge.CauseMediaIncompatible) != tc.fails {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
}

func TestRecordVersions(t *testing.T) {
	t.Parallel()
	b, err := bridge.CallRecord{ID: "x", State: bridge.StateAnswered}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := bridge.DecodeRecord(b); err != nil || r.ID != "x" || r.Version != bridge.RecordVersion {
		t.Errorf("read back %+v, %v", r, err)
	}
	for _, bad := range []string{`{"v":99,"id":"x"}`, `{"id":"x"}`, `{`, ``} {
		if _, err := bridge.DecodeRecord([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestPumpAllocatesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a := leg("pbx", nil)
		b := r.start(a)
		b.PickUp(plan)
		r.await(a, bridgetest.Accepted)
		payload := make([]byte, 160)
		for _, c := range []bridge.Codec{bridge.PCMU, bridge.PCMA} {
			f := bridge.Frame{Codec: c, Payload: payload}
			if n := testing.AllocsPerRun(100, func() { a.Peer().Push(&f) }); n != 0 {
				t.Errorf("%v: %v allocations per frame", c, n)
			}
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}
