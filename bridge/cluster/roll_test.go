package cluster

import (
	"testing"
	"time"
)

var three = []string{"a", "b", "w"}

// old is a roll that is past its quiet time.
func old(self string) (*roll, time.Time) {
	began := time.Unix(1e9, 0)
	return newRoll(self, three, 1, began), began.Add(time.Hour)
}

func TestVote(t *testing.T) {
	t.Parallel()
	beatOf := func(ago time.Duration, b beat) func(*roll, time.Time) {
		return func(r *roll, now time.Time) { r.hear(now.Add(-ago), b) }
	}
	grantOf := func(c claim) func(*roll, time.Time) {
		return func(r *roll, now time.Time) { r.learn(now, c) }
	}
	toA := claim{Call: "1", Epoch: 2, Owner: "b", Claimant: "a", Term: 5}
	for _, tc := range []struct {
		name    string
		before  []func(*roll, time.Time)
		claim   claim
		refused bool
		want    outcome
	}{
		{"never heard", nil, toA, false, granted},
		{"heard lately", []func(*roll, time.Time){beatOf(time.Second, beat{Node: "b", Term: 1})}, toA, false, lives},
		{"heard 2.9 s ago", []func(*roll, time.Time){beatOf(2900*time.Millisecond, beat{Node: "b", Term: 1})}, toA, false, lives},
		{"heard 3 s ago", []func(*roll, time.Time){beatOf(3*time.Second, beat{Node: "b", Term: 1})}, toA, false, granted},
		{"process is gone", []func(*roll, time.Time){beatOf(0, beat{Node: "b", Term: 1})}, toA, true, granted},
		{"said goodbye", []func(*roll, time.Time){beatOf(0, beat{Node: "b", Term: 1, Goodbye: true})}, toA, false, granted},
		{"came back after its goodbye", []func(*roll, time.Time){beatOf(0, beat{Node: "b", Term: 1, Goodbye: true}), beatOf(0, beat{Node: "b", Term: 2})}, toA, false, lives},
		{"is ours", nil, claim{Call: "1", Epoch: 2, Owner: "w", Claimant: "a", Term: 5}, true, lives},
		{"takes up its own", nil, claim{Call: "1", Epoch: 2, Owner: "a", Claimant: "a", Term: 6}, false, granted},
		{"granted already", []func(*roll, time.Time){grantOf(claim{Call: "1", Epoch: 2, Owner: "b", Claimant: "b", Term: 7})}, toA, true, taken},
		{"granted at a higher epoch", []func(*roll, time.Time){grantOf(claim{Call: "1", Epoch: 4, Owner: "b", Claimant: "b", Term: 7})}, toA, true, taken},
		{"granted to itself before", []func(*roll, time.Time){grantOf(toA)}, toA, false, granted},
		{"passed on to one that lives", []func(*roll, time.Time){
			beatOf(0, beat{Node: "c", Term: 1}), grantOf(claim{Call: "1", Epoch: 2, Owner: "b", Claimant: "c", Term: 1}),
		}, claim{Call: "1", Epoch: 3, Owner: "b", Claimant: "a", Term: 5}, true, lives},
		{"passed on to one that is gone", []func(*roll, time.Time){grantOf(claim{Call: "1", Epoch: 2, Owner: "b", Claimant: "c", Term: 1})}, claim{Call: "1", Epoch: 3, Owner: "c", Claimant: "a", Term: 5}, false, granted},
	} {
		r, now := old("w")
		for _, f := range tc.before {
			f(r, now)
		}
		if v := r.vote(now, tc.claim, tc.refused); v.Outcome != tc.want {
			t.Errorf("%s: %+v, want %s", tc.name, v, tc.want)
		}
	}
}

// TestAProcessThatBeginsDoesNotVote: it has forgotten whom it granted what.
func TestAProcessThatBeginsDoesNotVote(t *testing.T) {
	t.Parallel()
	began := time.Unix(1e9, 0)
	r := newRoll("w", three, 1, began)
	c := claim{Call: "1", Epoch: 2, Owner: "b", Claimant: "a", Term: 5}
	if v := r.vote(began.Add(quietTime-1), c, true); v.Outcome != quiet || v.Wait <= 0 {
		t.Errorf("%+v", v)
	}
	if v := r.vote(began.Add(quietTime), c, true); v.Outcome != granted {
		t.Errorf("%+v", v)
	}
}

// TestTheBuriedAreNotConfirmed: who was declared dead gets no lease for the term
// in which it had the call, and gets one for a new term.
func TestTheBuriedAreNotConfirmed(t *testing.T) {
	t.Parallel()
	r, now := old("w")
	r.hear(now, beat{Node: "b", Term: 1, Sent: 1})
	if _, ok := r.beat(now).Heard["b"]; !ok {
		t.Fatal("not confirmed while it lives")
	}
	now = now.Add(deadAfter)
	if v := r.vote(now, claim{Call: "1", Epoch: 2, Owner: "b", Claimant: "a", Term: 5}, false); v.Outcome != granted {
		t.Fatalf("%+v", v)
	}
	r.hear(now, beat{Node: "b", Term: 1, Sent: 2})
	if e, ok := r.beat(now).Heard["b"]; ok {
		t.Errorf("confirmed as %+v", e)
	}
	r.hear(now, beat{Node: "b", Term: 2, Sent: 3})
	if e := r.beat(now).Heard["b"]; e != (echo{2, 3}) {
		t.Errorf("the new term is confirmed as %+v", e)
	}
}

func TestLease(t *testing.T) {
	t.Parallel()
	r, now := old("a")
	sent := func(at time.Time) int64 { return int64(at.Sub(r.began)) }
	r.since = now
	if r.lease(now) {
		t.Fatal("held by one of three")
	}
	r.hear(now, beat{Node: "w", Term: 9, Heard: map[string]echo{"a": {1, sent(now.Add(-time.Second))}}})
	if !r.lease(now) || !r.lease(now.Add(leaseTime-time.Second-time.Millisecond)) {
		t.Error("not held, with a confirmation of 1 s ago")
	}
	if r.term != 1 {
		t.Errorf("term %d", r.term)
	}
	// A beat that was on its way for long confirms what was, not what is.
	late := now.Add(leaseTime - time.Second)
	r.hear(late, beat{Node: "b", Term: 9, Heard: map[string]echo{"a": {1, sent(now.Add(-time.Second))}}})
	if r.lease(late) || r.term != 2 {
		t.Errorf("held too long, term %d", r.term)
	}
	r.hear(late, beat{Node: "w", Term: 9, Sent: 1, Heard: map[string]echo{"a": {1, sent(late)}}})
	if r.lease(late) {
		t.Error("a confirmation of the old term counts")
	}
	r.hear(late, beat{Node: "x", Term: 9, Heard: map[string]echo{"a": {2, sent(late)}}})
	r.hear(late, beat{Node: "b", Term: 9, Sent: 1, Heard: map[string]echo{"a": {2, sent(late) + 1}}})
	if r.lease(late) {
		t.Error("a stranger's confirmation counts, or one of the future")
	}
	r.hear(late, beat{Node: "b", Term: 9, Sent: 2, Heard: map[string]echo{"a": {2, sent(late)}}})
	if !r.lease(late) {
		t.Error("not held again")
	}
	r, now = old("a")
	if r.lease(now) || r.term != 2 || r.lease(now.Add(time.Second)) || r.term != 2 {
		t.Errorf("without a lease for long, it is in term %d", r.term)
	}
	alone := newRoll("a", []string{"a"}, 1, now)
	if !alone.lease(now) || !alone.lease(now.Add(time.Hour)) {
		t.Error("a single node needs nobody")
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		verdicts map[string]verdict
		want     outcome
	}{
		"nobody yet":     {nil, ""},
		"itself":         {map[string]verdict{"a": {Outcome: granted}}, ""},
		"two":            {map[string]verdict{"a": {Outcome: granted}, "w": {Outcome: granted}}, granted},
		"two of three":   {map[string]verdict{"a": {Outcome: granted}, "b": {Outcome: lives}, "w": {Outcome: granted}}, granted},
		"a stranger":     {map[string]verdict{"a": {Outcome: granted}, "x": {Outcome: granted}}, ""},
		"split":          {map[string]verdict{"a": {Outcome: granted}, "b": {Outcome: lives}, "w": {Outcome: taken}}, taken},
		"owner is dead":  {map[string]verdict{"a": {Outcome: granted}, "w": {Outcome: taken}}, taken},
		"owner may be":   {map[string]verdict{"w": {Outcome: taken}}, ""},
		"two are enough": {map[string]verdict{"b": {Outcome: quiet}, "w": {Outcome: lives}}, lives},
	} {
		tl := newTally(2, three, claim{Owner: "b", Claimant: "a"})
		for from, v := range tc.verdicts {
			tl.count(from, v)
		}
		if got := tl.result(); got.Outcome != tc.want {
			t.Errorf("%s: %+v, want %q", name, got, tc.want)
		}
	}
}

// TestWithdraw: a claim that came to nothing leaves what was before.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	r, now := old("w")
	first := claim{Call: "1", Epoch: 2, Owner: "b", Claimant: "b", Term: 5}
	second := claim{Call: "1", Epoch: 3, Owner: "b", Claimant: "a", Term: 6}
	r.vote(now, first, false)
	for range 3 { // asked again and again
		r.vote(now, second, true)
	}
	r.withdraw(first) // late
	if g := r.grants["1"]; g.claim != second {
		t.Errorf("%+v", g)
	}
	r.withdraw(second)
	if g := r.grants["1"]; g.claim != first {
		t.Errorf("%+v", g)
	}
	r.withdraw(first)
	if len(r.grants) != 0 {
		t.Errorf("%+v", r.grants)
	}
	r.learn(now, first)
	r.forget(now.Add(grantTime + 1))
	if len(r.grants) != 0 {
		t.Errorf("kept for ever: %+v", r.grants)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(beat{Node: "a", Term: 1, Sent: 2, Heard: map[string]echo{"b": {3, 4}}}))
	f.Add(encode(message{Kind: kindClaim, From: "a", Attempt: 1, Claims: []claim{{Call: "1", Epoch: 2, Owner: "b", Claimant: "a"}}}))
	f.Add(encode(message{Kind: kindGiven, From: "b", Note: "n", Claims: []claim{{Call: "1", Epoch: 2, Owner: "b", Claimant: "a", Term: 3, Given: word{3, 2}}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, now := old("w")
		if b, err := decodeBeat(data); err == nil {
			r.hear(now, b)
			r.beat(now)
		}
		if m, err := decodeMessage(data); err == nil {
			for _, c := range m.Claims {
				r.vote(now, c, true)
				r.learn(now, c)
				r.withdraw(c)
			}
		}
	})
}
