package h3

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// A call that another process had is taken up by the request that names it: by
// one of them, while the others wait.
func TestCallsAreClaimedByTheirRequests(t *testing.T) {
	t.Parallel()
	for rung, name := range map[string]string{"auto": "trunk-session", "put-get": "put/get"} {
		t.Run(rung, func(t *testing.T) {
			t.Parallel()
			m := newMortal(t, rung)
			out, in := m.answered(name)
			r := again(in, bridge.StateAnswered)
			var asked atomic.Int32
			resumed := make(chan bridge.Leg, 10)
			m.cfg.Claim = func(ctx context.Context, uri string) (bool, error) {
				asked.Add(1)
				if uri != r.ID {
					return false, nil
				}
				time.Sleep(100 * time.Millisecond) // so that others come meanwhile
				leg, err := m.server.Resume(ctx, r)
				if err != nil {
					return false, err
				}
				resumed <- leg
				return true, nil
			}
			m.crash()
			m.restart(nil)
			var second bridge.Leg
			select {
			case second = <-resumed:
			case <-time.After(20 * time.Second):
				t.Fatal("nobody asks for the call")
			}
			m.heard(out, second)
			if n := asked.Load(); n != 1 {
				t.Errorf("asked %d times", n)
			}
			must(t, second.End(t.Context(), bridge.CauseNormal))
			if c := awaitEnded(t, out); c.Code != "normal" {
				t.Errorf("ended with %v", c)
			}
		})
	}
}

// TestAClaimedCallIsServedBeforeItsOtherSide: the client of a call is let in when
// its leg is here, while the SIP side has not answered yet that it follows.
func TestAClaimedCallIsServedBeforeItsOtherSide(t *testing.T) {
	t.Parallel()
	m := newMortal(t, "put-get")
	out, in := m.answered("put/get")
	r := again(in, bridge.StateAnswered)
	resumed, followed := make(chan bridge.Leg, 1), make(chan struct{})
	m.cfg.Claim = func(_ context.Context, uri string) (bool, error) {
		leg, err := m.server.Resume(t.Context(), r)
		if uri != r.ID || err != nil {
			return false, err
		}
		resumed <- leg
		<-followed
		return true, nil
	}
	m.crash()
	m.restart(nil)
	var second bridge.Leg
	select {
	case second = <-resumed:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody asks for the call")
	}
	m.heard(out, second)
	close(followed)
	must(t, second.End(t.Context(), bridge.CauseNormal))
	if c := awaitEnded(t, out); c.Code != "normal" {
		t.Errorf("ended with %v", c)
	}
}

// What nobody has is 404 still, what cannot be found out is 503, and what is no
// id of a call is not asked for at all.
func TestClaimsThatFail(t *testing.T) {
	t.Parallel()
	const known, unknown = "01234567-89ab-4def-8123-456789abcdef", "11234567-89ab-4def-8123-456789abcdef"
	var asked atomic.Int32
	r := newRig(t, func(c *ServerConfig) {
		c.Claim = func(_ context.Context, uri string) (bool, error) {
			asked.Add(1)
			if uri == testTG+"/calls/"+known {
				return false, errors.New("the store is away")
			}
			return false, nil
		}
	})
	token := r.token(testTG)
	for id, want := range map[string]int{known: http.StatusServiceUnavailable, unknown: http.StatusNotFound, "1": http.StatusNotFound} {
		for _, path := range []string{"", "/events"} {
			resp, _ := r.do(r.h2, exchange{method: "GET", url: testTG + "/calls/" + id + path, token: token})
			if resp.StatusCode != want {
				t.Errorf("GET calls/%s%s: %d, want %d", id, path, resp.StatusCode, want)
			}
		}
	}
	if n := asked.Load(); n != 4 {
		t.Errorf("asked %d times", n)
	}
}

// One request at a time asks for a call, and those of many calls are bounded.
func TestOneClaimOfACallAtATime(t *testing.T) {
	t.Parallel()
	var cs claims
	var asked, refused atomic.Int32
	hold := make(chan struct{})
	ask := func(context.Context, string) (bool, error) {
		asked.Add(1)
		<-hold
		return false, nil
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { _ = cs.settle(t.Context(), "one", ask) })
	}
	for i := range maxClaims + 10 {
		wg.Go(func() {
			if errors.Is(cs.settle(t.Context(), "call "+string(rune('A'+i)), ask), bridge.CauseOverloaded) {
				refused.Add(1)
			}
		})
	}
	for deadline := time.Now().Add(20 * time.Second); asked.Load() < maxClaims || refused.Load() < 11; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d asked, %d refused", asked.Load(), refused.Load())
		}
	}
	close(hold)
	wg.Wait()
	if n := asked.Load(); n != maxClaims {
		t.Errorf("asked %d times", n)
	}
}
