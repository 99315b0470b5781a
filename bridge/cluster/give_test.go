package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// partner gives what it is asked for, and notes what it is given.
type partner struct {
	m     *Members
	keeps bool
	asked []string
	got   []string
}

func (p *partner) Asked(call, by string) {
	p.asked = append(p.asked, call+" by "+by)
	if p.keeps {
		p.m.Keep(call, by)
	} else if err := p.m.Give(call, 1, by, "as it was last"); err != nil {
		panic(err)
	}
}

func (p *partner) Given(call string) { p.got = append(p.got, call) }

func (p *partner) Relayed(data []byte) { p.got = append(p.got, string(data)) }

// TestALivingNodeGivesACall: who asks for it gets it within milliseconds, and
// nobody else does.
func TestALivingNodeGivesACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		a, b := s.nodes["a"], s.nodes["b"]
		giver, taker := &partner{m: a}, &partner{m: b}
		a.Serve(giver)
		b.Serve(taker)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		note, err := b.Ask(ctx, "1", "a")
		if err != nil || note != "as it was last" || len(giver.asked) != 1 || giver.asked[0] != "1 by b" || len(taker.got) != 1 {
			t.Fatalf("note %q, %v, asked %v, got %v", note, err, giver.asked, taker.got)
		}
		if _, _, err := claimWithin(s.nodes["w"], time.Second, "1", "a", 2); !errors.Is(err, ErrLives) {
			t.Errorf("to whom it was not given: %v", err)
		}
		a.Relay("b", []byte("heard"))
		if len(taker.got) != 2 || taker.got[1] != "heard" {
			t.Errorf("relayed: %q", taker.got)
		}
		epoch, took, err := claimWithin(b, time.Second, "1", "a", 2)
		if err != nil || epoch != 2 || took > probeTime {
			t.Errorf("epoch %d after %v, %v", epoch, took, err)
		}
		if _, _, err := claimWithin(a, time.Second, "1", "a", 2); !errors.Is(err, ErrLives) {
			t.Errorf("its giver again: %v", err)
		}
		// And back, and what the first word was good for is over.
		b.Serve(&partner{m: b, keeps: true})
		if _, err := a.Ask(ctx, "1", "b"); !errors.Is(err, ErrKept) {
			t.Errorf("a node that keeps it: %v", err)
		}
		if err := b.Give("1", 2, "a", ""); err != nil {
			t.Fatal(err)
		}
		if epoch, _, err := claimWithin(a, time.Second, "1", "a", 2); err != nil || epoch != 3 {
			t.Errorf("given back: epoch %d, %v", epoch, err)
		}
		if _, _, err := claimWithin(b, time.Second, "1", "a", 2); !errors.Is(err, ErrLives) {
			t.Errorf("with an old word: %v", err)
		}
	})
}

// TestAnOldGiftDelaysNothing: a call went from a to b and back, and a is killed. What
// a gave b before is of no use now, and does not keep anybody from asking a's host
// whether its process is gone.
func TestAnOldGiftDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		a, b := s.nodes["a"], s.nodes["b"]
		a.Serve(&partner{m: a})
		b.Serve(&partner{m: b})
		for _, hop := range []struct {
			from, to *Members
			owner    string
			epoch    uint64
		}{{a, b, "a", 1}, {b, a, "b", 2}} {
			if err := hop.from.Give("1", hop.epoch, hop.to.cfg.Node, ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if epoch, _, err := claimWithin(hop.to, time.Second, "1", hop.owner, hop.epoch+1); err != nil || epoch != hop.epoch+1 {
				t.Fatalf("given by %s: epoch %d, %v", hop.owner, epoch, err)
			}
		}
		s.cut("a", true) // without a word
		s.kill("a")
		epoch, took, err := claimWithin(b, 5*time.Second, "1", "a", 4)
		if err != nil || epoch != 4 || took > probeTime {
			t.Errorf("epoch %d after %v, %v", epoch, took, err)
		}
	})
}

// TestAGiftThatNobodyFetches stays its giver's, and a word that is lost is given
// once more.
func TestAGiftThatNobodyFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		defer s.close()
		a, b := s.nodes["a"], s.nodes["b"]
		giver := &partner{m: a}
		a.Serve(giver)
		s.wire.mu.Lock()
		for p := range s.wire.subs {
			if p.name == "b" { // which hears nothing of calls
				delete(s.wire.subs[p], subjectClaim)
			}
		}
		s.wire.mu.Unlock()
		lost, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Ask(lost, "1", "a"); !errors.Is(err, ErrLives) {
			t.Errorf("without an answer: %v", err)
		}
		if len(giver.asked) != 1 {
			t.Errorf("given %d times", len(giver.asked))
		}
		if epoch, _, err := claimWithin(a, time.Second, "1", "a", 1); err != nil || epoch != 2 {
			t.Errorf("taken back: epoch %d, %v", epoch, err)
		}
		a.onGiving(message{Kind: kindAsk, From: "b", Claims: []claim{{Call: "1", Epoch: 1, Owner: "a", Claimant: "b"}}})
		if len(giver.asked) != 2 {
			t.Error("a word that is void was given again")
		}
		s.cut("a", true)
		time.Sleep(2 * leaseTime)
		if err := a.Give("2", 1, "b", ""); !errors.Is(err, ErrCutOff) {
			t.Errorf("given without a lease: %v", err)
		}
	})
}

// TestGiftsAreForgotten, when they are of no use any more.
func TestGiftsAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRoll("a", []string{"a"}, 1, time.Unix(0, 0))
	now := time.Unix(100, 0)
	if !r.give(now, "1", 1, "b", "") || !r.given(now, claim{Call: "2", Epoch: 1, Owner: "b", Claimant: "a", Term: 1}, "") {
		t.Fatal("not noted")
	}
	r.forget(now.Add(giftTime + time.Second))
	if len(r.gifts) != 0 || len(r.gave) != 1 {
		t.Errorf("%d got, %d given", len(r.gifts), len(r.gave))
	}
	r.forget(now.Add(grantTime + time.Second))
	if len(r.gave) != 0 {
		t.Errorf("%d given", len(r.gave))
	}
}
