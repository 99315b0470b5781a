package bridge_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/cluster"
)

// numbers notes which frames came.
type numbers struct {
	mu  sync.Mutex
	got []uint64
}

func (n *numbers) Push(f *bridge.Frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.got = append(n.got, binary.BigEndian.Uint64(f.Payload))
}

// check tells whether all from 0 on came, once each and in order.
func (n *numbers) check(t *testing.T, who string, sent uint64) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, got := range n.got {
		if got != uint64(i) {
			t.Errorf("%s: frame %d in the place of %d", who, got, i)
			return
		}
	}
	if uint64(len(n.got)) != sent {
		t.Errorf("%s heard %d of %d frames", who, len(n.got), sent)
	}
}

func say(l *bridgetest.Leg, n uint64) {
	l.Peer().Push(frameOf(n))
}

// frameOf is the nth of a party.
func frameOf(n uint64) *bridge.Frame {
	return &bridge.Frame{Codec: plan.Speech, Seq: n, Timestamp: 160 * n, Payload: binary.BigEndian.AppendUint64(nil, n)}
}

// TestALivingNodeGivesACallThatIsAskedFor elsewhere, and not a frame of what the
// peers say meanwhile, and go on to say where the call was, is lost.
func TestALivingNodeGivesACallThatIsAskedFor(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one, two := s.nodes["one"], s.nodes["two"]
		legs := one.calls(1)
		heard := [2]*numbers{{}, {}}
		for i, l := range legs {
			l.Peer().Join(heard[1-i])
		}
		two.onResumed = func(l *bridgetest.Leg, how bridge.Resumption) {
			i := 0
			if how.ID == "dialled-1" {
				i = 1
			}
			l.Peer().Join(heard[1-i])
		}
		sent := uint64(0)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				for _, l := range legs {
					say(l, sent)
				}
				sent++
				select {
				case <-time.After(time.Millisecond):
				case <-stop:
					return
				}
			}
		}()
		time.Sleep(time.Second)
		began := time.Now()
		if found, err := two.bridge.Claim(t.Context(), "a0"); !found || err != nil {
			t.Fatal(found, err)
		}
		if d := time.Since(began); d > 200*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if found, err := one.bridge.Claim(t.Context(), "dialled-1"); !found || !errors.Is(err, cluster.ErrKept) {
			t.Errorf("asked for back at once: %v, %v", found, err)
		}
		time.Sleep(2 * time.Second)
		if got, on := s.active(), s.owners(); len(got) != 1 || got["two"] != 1 || on["two"] != 1 {
			t.Errorf("calls %v, on record %v", got, on)
		}
		close(stop)
		<-stopped
		synctest.Wait()
		heard[0].check(t, "the caller", sent)
		heard[1].check(t, "the callee", sent)
		// Later a request may bring it back.
		time.Sleep(5 * time.Second)
		one.silent(legs)
		if found, err := one.bridge.Claim(t.Context(), "dialled-1"); !found || err != nil {
			t.Errorf("asked for back: %v, %v", found, err)
		}
		time.Sleep(2 * time.Minute)
		if got, on := s.active(), s.owners(); len(got) != 1 || got["one"] != 1 || on["one"] != 1 {
			t.Errorf("calls %v, on record %v", got, on)
		}
		one.resumed["a0"].HangUp(bridge.CauseNormal, nil)
		one.await(one.resumed["dialled-1"], bridgetest.Finished)
	})
}

// TestACallThatIsGivenWhileTheStoreIsAway goes on all the same, from its last
// state, and waits for no store.
func TestACallThatIsGivenWhileTheStoreIsAway(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one, two := s.nodes["one"], s.nodes["two"]
		one.calls(1)
		s.store.set(true)
		began := time.Now()
		defer func() {
			two.mu.Lock()
			defer two.mu.Unlock()
			for _, how := range two.how {
				if !how.Exact {
					t.Errorf("leg %s goes on from an older state", how.ID)
				}
			}
		}()
		if found, err := two.bridge.Claim(t.Context(), "a0"); !found || err != nil {
			t.Fatal(found, err)
		}
		if d := time.Since(began); d > 200*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		time.Sleep(10 * time.Second)
		s.store.set(false)
		time.Sleep(time.Minute)
		if got, on := s.active(), s.owners(); len(got) != 1 || got["two"] != 1 || on["two"] != 1 {
			t.Errorf("calls %v, on record %v", got, on)
		}
	})
}

// TestAGiftThatIsNotFetched is taken back by its giver.
func TestAGiftThatIsNotFetched(t *testing.T) {
	inSite(t, func(t *testing.T, s *site) {
		one := s.nodes["one"]
		one.calls(1)
		s.kill("two")
		one.bridge.Asked(one.callID(), "two")
		time.Sleep(time.Second)
		if got := s.active(); got["one"] != 0 {
			t.Errorf("calls %v", got)
		}
		time.Sleep(10 * time.Second)
		if got, on := s.active(), s.owners(); got["one"] != 1 || on["one"] != 1 {
			t.Errorf("calls %v, on record %v", got, on)
		}
	})
}
