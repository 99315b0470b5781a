package bridge_test

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/policy/stir"
)

// What is said of a call reaches the other side and the record, both ways.
func TestFactsGoThroughTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		said := bridge.Facts{Line: "27", CallerName: "said", Privacy: []string{"id"}}
		trace := bridge.NewTrace()
		a := leg("pbx", func(i *bridge.LegInfo) {
			i.Facts, i.Trace = said, trace
			i.Identity = bridge.Identity{Passport: "p", Others: []string{"div"}, Name: "signed", Verdict: stir.Verdict{Status: stir.Valid}}
		})
		b := r.start(a)
		want := said
		want.CallerName = "signed" // beats what was only said
		in := r.dialer.Intents()[0]
		if !reflect.DeepEqual(in.Facts, want) || in.Passport != "p" || !reflect.DeepEqual(in.Others, []string{"div"}) {
			t.Errorf("dialled with %+v", in)
		}
		if in.Trace.ID != trace.ID || in.Trace.Parent == trace.Parent {
			t.Errorf("trace %+v of %+v", in.Trace, trace)
		}
		answered := bridge.Facts{Connected: "+12025550188", Session: strings.Repeat("2", 32)}
		b.Send(bridge.Event{Kind: bridge.Answered, Plan: &plan, Facts: &answered})
		if act := r.await(a, bridgetest.Accepted); !reflect.DeepEqual(act.Facts, answered) {
			t.Errorf("answered with %+v", act.Facts)
		}
		synctest.Wait()
		rec, ok := r.record()
		if !ok || !reflect.DeepEqual(rec.Facts, want) || !reflect.DeepEqual(rec.Answer, answered) || rec.Trace != in.Trace || len(rec.Others) != 1 {
			t.Errorf("on record: %+v", rec)
		}
		b.HangUp(bridge.Cause{Code: "normal", Q850: 16, Location: bridge.PlaceUser}, nil)
		if act := r.await(a, bridgetest.Finished); act.Cause.Location != bridge.PlaceUser || act.Cause.By != bridge.ByCallee {
			t.Errorf("ended with %+v", act.Cause)
		}
		if s := r.summary(); s.Trace != trace.ID || s.Cause.By != bridge.ByCallee {
			t.Errorf("summary %+v", s)
		}
	})
}

// A call that is signed anew leaves the PASSporTs behind that spoke about the
// old one; a call without a trace begins one.
func TestOthersStayWithTheirPassport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		b := r.start(leg("pbx", func(i *bridge.LegInfo) {
			i.Identity = bridge.Identity{Passport: "p", Others: []string{"div"}, Verdict: stir.Verdict{Status: stir.Stale}}
		}))
		in := r.dialer.Intents()[0]
		if in.Passport != "signed" || in.Others != nil {
			t.Errorf("dialled with %q and %q", in.Passport, in.Others)
		}
		if in.Trace.IsZero() || in.Trace.Traceparent() == "" {
			t.Errorf("trace %+v", in.Trace)
		}
		b.HangUp(bridge.CauseBusy, nil)
		r.summary()
	})
}
