package bridge_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
)

// on is a plan of a codec.
func on(c bridge.Codec) bridge.MediaPlan {
	p := plan
	p.Speech = c
	return p
}

// wishes are the offers with which a leg was asked to adapt.
func wishes(l *bridgetest.Leg) []bridge.MediaOffer {
	synctest.Wait()
	var out []bridge.MediaOffer
	for _, a := range l.Acts() {
		if a.Kind == bridgetest.Adapted {
			out = append(out, a.Offer)
		}
	}
	return out
}

// answered starts a call and answers it on PCMU.
func (r *rig) answered(change func(*bridge.LegInfo)) (a, b *bridgetest.Leg) {
	r.t.Helper()
	a = leg("pbx", change)
	b = r.start(a)
	b.PickUp(plan)
	r.await(a, bridgetest.Accepted)
	return a, b
}

func TestAdaptTheOtherLeg(t *testing.T) {
	for _, from := range []string{"caller", "callee"} {
		t.Run(from, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				a, b := r.answered(nil)
				one, other := a, b
				if from == "callee" {
					one, other = b, a
				}
				one.Change(on(bridge.PCMA))
				asked := wishes(other)
				if len(asked) != 1 || !slices.Equal(asked[0].Speech[:2], []bridge.Codec{bridge.PCMA, bridge.PCMU}) || !asked[0].Digits {
					t.Fatalf("the other leg was asked for %+v", asked)
				}
				heard := &counting{}
				other.Peer().Join(heard)
				say := func() bridge.Codec {
					one.Peer().Push(&bridge.Frame{Codec: bridge.PCMA, Payload: make([]byte, 160)})
					return heard.last.Codec
				}
				if c := say(); c != bridge.PCMU {
					t.Errorf("before the other leg has followed it heard %v", c)
				}
				other.Change(on(bridge.PCMA))
				synctest.Wait()
				if c := say(); c != bridge.PCMA {
					t.Errorf("after the other leg has followed it heard %v", c)
				}
				if n := len(wishes(one)) + len(wishes(other)); n != 1 {
					t.Errorf("%d wishes, want the one", n)
				}
				if rec, _ := r.record(); rec.A.Plan.Speech != bridge.PCMA || rec.B.Plan.Speech != bridge.PCMA {
					t.Errorf("on record: %v and %v", rec.A.Plan.Speech, rec.B.Plan.Speech)
				}
				a.HangUp(bridge.CauseNormal, nil)
				if s := r.summary(); s.Converted != 1 || s.Passed != 1 {
					t.Errorf("converted %d, passed %d, want one each", s.Converted, s.Passed)
				}
			})
		})
	}
}

func TestAdaptRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b := r.answered(nil)
		a.Change(on(bridge.PCMA))
		if n := len(wishes(b)); n != 1 {
			t.Fatalf("%d wishes", n)
		}
		b.Change(on(bridge.PCMU)) // it will not have it
		if n := len(wishes(a)); n != 0 {
			t.Error("the leg that caused the change was asked to take it back")
		}
		a.Change(on(bridge.PCMU))
		a.Change(on(bridge.PCMA))
		if n := len(wishes(b)); n != 1 {
			t.Errorf("asked %d times for what was refused", n)
		}
		b.Change(on(bridge.PCMU)) // of its own accord, and says no more than before
		if n := len(wishes(a)); n != 1 {
			t.Errorf("a change of the callee's own: caller asked %d times", n)
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

// A leg that says anew what it can do may be asked again.
func TestAdaptKnowsBetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b := r.answered(func(i *bridge.LegInfo) { i.Media.Speech = []bridge.Codec{bridge.PCMU} })
		b.Change(on(bridge.PCMA))
		if n := len(wishes(a)); n != 0 {
			t.Error("asked for a codec that it never offered")
		}
		p, can := on(bridge.PCMU), bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.G722}}
		a.Send(bridge.Event{Kind: bridge.MediaChanged, Plan: &p, Offer: &can})
		synctest.Wait()
		b.Change(on(bridge.PCMU)) // as it was asked
		synctest.Wait()
		b.Change(on(bridge.PCMA))
		if n := len(wishes(a)); n != 1 {
			t.Errorf("asked %d times for a codec that it has now", n)
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

func TestAdaptUnable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b := r.answered(nil)
		b.Fail(bridgetest.Adapted, fmt.Errorf("no"))
		a.Change(on(bridge.PCMA))
		wishes(b)
		heard := &counting{}
		b.Peer().Join(heard)
		a.Peer().Push(&bridge.Frame{Codec: bridge.PCMA, Payload: make([]byte, 160)})
		if heard.last.Codec != bridge.PCMU {
			t.Errorf("heard %v, want it converted", heard.last.Codec)
		}
		a.HangUp(bridge.CauseNormal, nil)
		if s := r.summary(); s.Cause.Code != "normal" {
			t.Errorf("ended by %v", s.Cause)
		}
	})
}

// What cannot be joined ends with a clear cause, not in silence.
func TestAdaptIncompatible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		a, b := r.answered(nil)
		p := plan
		p.Sealed = true
		a.Change(p)
		if s := r.summary(); s.Cause.Code != "media-incompatible" || s.Cause.By != bridge.ByBridge {
			t.Errorf("ended by %v", s.Cause)
		}
		if act := r.await(b, bridgetest.Finished); act.Cause.Code != "media-incompatible" {
			t.Errorf("the callee was told %v", act.Cause)
		}
	})
}

func TestAdaptVideo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		vp8 := bridge.Format{Codec: bridge.VP8}
		a := leg("pbx", func(i *bridge.LegInfo) { i.Media.Video = []bridge.Format{vp8} })
		b := r.start(a)
		with := plan
		with.Video = &vp8
		b.PickUp(with)
		if act := r.await(a, bridgetest.Accepted); act.Plan.Video == nil {
			t.Error("answered without the video that both have")
		}
		a.Change(plan) // turns its camera off
		if asked := wishes(b); len(asked) != 1 || len(asked[0].Video) != 0 || asked[0].Speech[0] != bridge.PCMU {
			t.Fatalf("asked for %+v, want no video", asked)
		}
		b.Change(plan)
		a.Change(with) // and on again
		if asked := wishes(b); len(asked) != 2 || len(asked[1].Video) != 1 {
			t.Fatalf("asked for %+v, want video again", asked)
		}
		b.Change(plan) // no, thanks
		a.Change(plan)
		a.Change(with)
		if asked := wishes(b); len(asked) != 2 {
			t.Errorf("asked again for the video that was refused: %+v", asked[2:])
		}
		a.HangUp(bridge.CauseNormal, nil)
		r.summary()
	})
}

// TestAdaptNeverQuarrels lets both peers do as they like, in any order: each
// change of a peer's own leads to one wish at most, so nothing goes round in
// circles.
func TestAdaptNeverQuarrels(t *testing.T) {
	codecs := bridge.Convertible()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			r := newRig(t, nil)
			a, b := r.answered(func(i *bridge.LegInfo) { i.Media.Speech = codecs })
			own, open := 0, map[*bridgetest.Leg]int{}
			for range 60 {
				l := []*bridgetest.Leg{a, b}[rng.IntN(2)]
				if len(wishes(l)) == open[l] {
					own++
				} else {
					open[l]++ // answers a wish, with whatever it likes
				}
				l.Change(on(codecs[rng.IntN(len(codecs))]))
			}
			if n := len(wishes(a)) + len(wishes(b)); n > own {
				t.Errorf("seed %d: %d wishes for %d changes", seed, n, own)
			}
			// When both have answered what they were asked, that is the end of it.
			for _, l := range []*bridgetest.Leg{a, b} {
				for len(wishes(l)) > open[l] {
					asked := wishes(l)
					open[l]++
					l.Change(on(asked[len(asked)-1].Speech[0]))
				}
			}
			before := len(wishes(a)) + len(wishes(b))
			synctest.Wait()
			if n := len(wishes(a)) + len(wishes(b)); n != before {
				t.Errorf("seed %d: wishes go on by themselves", seed)
			}
			a.HangUp(bridge.CauseNormal, nil)
			if s := r.summary(); s.Cause.Code != "normal" {
				t.Errorf("seed %d: ended by %v", seed, s.Cause)
			}
		})
	}
}
