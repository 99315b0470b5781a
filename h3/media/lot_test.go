package media

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestLot(t *testing.T) {
	p := &Port{ctx: context.Background(), wake: make(chan struct{}, 1)}
	l := &lot{p: p}
	l.use(1, "client")
	if !p.carriers.uses(l) || l.ready() {
		t.Fatal("want a carrier that is not ready")
	}
	var spots []*spot
	for range MaxParked {
		s, ok := l.park(1)
		if s == nil || !ok {
			t.Fatal("refused")
		}
		spots = append(spots, s)
	}
	if _, ok := l.park(1); ok {
		t.Error("one more was parked")
	}
	if s, ok := l.park(0); s != nil || !ok {
		t.Error("one of an older epoch was parked")
	}
	body := []byte{1}
	l.send(message{body: body, packets: 1})
	body[0] = 2
	select {
	case m := <-spots[MaxParked-1].answer:
		if m.body[0] != 1 {
			t.Error("the pump's buffer was kept")
		}
	default:
		t.Error("the newest was not answered")
	}
	if !l.leave(spots[0]) || l.leave(spots[0]) || l.leave(spots[MaxParked-1]) {
		t.Error("who leaves once leaves once, who is answered does not")
	}
	l.use(0, "a straggler")
	if !l.ready() {
		t.Error("a straggler of an older epoch emptied the lot")
	}
	l.use(2, "client")
	for _, s := range spots[1 : MaxParked-1] {
		if _, ok := <-s.answer; ok {
			t.Error("a GET of an older epoch got media")
		}
	}
	s, _ := l.park(2)
	l.retire()
	if _, ok := <-s.answer; ok || p.carriers.current() != nil {
		t.Error("retired, and still a carrier")
	}
	l.send(message{packets: 1})
	if p.out.dropped != 1 {
		t.Error("what nobody took was not counted")
	}
}

func TestCarriersByRank(t *testing.T) {
	p := &Port{ctx: context.Background(), wake: make(chan struct{}, 1)}
	gets, old, session := &lot{p: p}, &datagrams{p: p}, &datagrams{p: p}
	for _, step := range []struct {
		what string
		do   func()
		want carrier
	}{
		{"requests", func() { p.attach(gets, 0, "") }, gets},
		{"a session is better", func() { p.attach(old, 0, "") }, old},
		{"a newer one too", func() { p.attach(session, 0, "") }, session},
		{"requests again are not", func() { p.attach(gets, 0, "") }, session},
		{"unless the client fell back", func() { p.attach(gets, 1, "") }, gets},
		{"and came again", func() { p.detach(session); p.attach(session, 1, "") }, session},
		{"the session ends", func() { p.detach(session) }, gets},
		{"one of before comes late", func() { p.attach(old, 0, "") }, gets},
		{"and with the requests the last has gone", func() { p.detach(gets) }, nil},
	} {
		step.do()
		if got := p.carriers.current(); got != step.want {
			t.Errorf("%s: got %v", step.what, got)
		}
	}
}

func TestLadder(t *testing.T) {
	var none *Ladder
	none.Learn("a", WebTransport, Works, worksFor)
	none.Renew("a")
	if none.Verdict("a", WebTransport) != Unknown {
		t.Error("nothing was remembered")
	}
	var l Ladder
	l.Learn("a", WebTransport, Works, worksFor)
	l.Learn("b", WebTransport, Fails, -1)
	if l.Verdict("a", WebTransport) != Works || l.Verdict("b", WebTransport) != Unknown {
		t.Error("a is known, b forgotten")
	}
	l.Renew("a")
	if l.Verdict("a", WebTransport) != Works || l.Verdict("c", PutGet) != Works {
		t.Error("what works is not doubted")
	}
	for n := range maxVerdicts + 10 {
		l.Learn(string(rune(0x4e00+n)), WebTransport, Fails, failsFor)
	}
	if len(l.m) > maxVerdicts {
		t.Errorf("%d verdicts", len(l.m))
	}
}

func TestLadderIsProbedByOne(t *testing.T) {
	var none *Ladder
	if !none.Probe("a", WebTransport) {
		t.Error("without a memory everybody is the first")
	}
	var l Ladder
	if !l.Probe("a", WebTransport) || l.Probe("a", WebTransport) || !l.Probe("b", WebTransport) {
		t.Error("one caller finds out for an authority")
	}
	if l.Verdict("a", WebTransport) != Unknown {
		t.Error("asked is not known")
	}
	for _, v := range []Verdict{Works, Fails} {
		l.Learn("a", WebTransport, v, time.Minute)
		if l.Probe("a", WebTransport) || l.Verdict("a", WebTransport) != v {
			t.Errorf("verdict %d: %d", v, l.Verdict("a", WebTransport))
		}
	}
	l.Learn("a", WebTransport, Works, -1)
	if !l.Probe("a", WebTransport) {
		t.Error("what has expired is not asked again")
	}
}

func TestLadderIsPatientWithWhatWorks(t *testing.T) {
	var none *Ladder
	none.Unanswered("a", WebTransport)
	var l Ladder
	l.Unanswered("a", WebTransport)
	if l.Verdict("a", WebTransport) != Fails {
		t.Error("one that never answered is asked again at once")
	}
	l.Learn("a", WebTransport, Works, worksFor)
	for n := range maxMisses {
		if l.Verdict("a", WebTransport) != Works {
			t.Fatalf("given up after %d misses", n)
		}
		l.Unanswered("a", WebTransport)
	}
	if l.Verdict("a", WebTransport) != Fails {
		t.Errorf("still trusted after %d misses in a row", maxMisses)
	}
	l.Learn("b", WebTransport, Works, worksFor)
	for range 3 * maxMisses {
		l.Unanswered("b", WebTransport)
		l.Learn("b", WebTransport, Works, worksFor)
	}
	if l.Verdict("b", WebTransport) != Works {
		t.Error("misses far apart add up")
	}
}

// TestLotOldest: a GET is not left waiting until a balancer gives it up.
func TestLotOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lot{p: &Port{ctx: t.Context(), wake: make(chan struct{}, 1)}}
		l.use(1, "client")
		oldest, _ := l.park(1)
		answered := time.Duration(0)
		for begun := time.Now(); answered == 0; time.Sleep(time.Second) {
			if _, ok := l.park(1); !ok {
				t.Fatal("refused")
			}
			l.send(message{body: []byte{1}})
			select {
			case <-oldest.answer:
				answered = time.Since(begun)
			default:
			}
		}
		if answered < parkedLong || answered > 2*parkedLong {
			t.Errorf("the oldest GET was answered after %v", answered)
		}
	})
}
