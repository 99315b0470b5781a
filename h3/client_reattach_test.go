package h3

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// TestReattach: byways come back after the connection is lost, nothing is said
// twice, and what happened in between is heard.
func TestReattach(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	leg := mustDial(t, p.client(t), testIntent())
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Say(Event{Type: eventAlerting})
	expect(t, leg, bridge.Alerting, false)
	for range 3 {
		p.Drop()
		call.Await(t, eventPing)
	}
	call.Say(Event{Type: eventAnswered})
	expect(t, leg, bridge.Answered, true)
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
	call.Await(t, eventEnd)
	expectClosed(t, leg)
}

func TestReattachCallGone(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	leg := mustDial(t, p.client(t), testIntent())
	expect(t, leg, bridge.Proceeding, false)
	p.Call("0").Vanish()
	p.Drop()
	if ev := expect(t, leg, bridge.Ended, false); ev.Cause.Code != "signalling-lost" {
		t.Errorf("cause %v, want signalling-lost", ev.Cause)
	}
	expectClosed(t, leg)
}

// TestMigrateEvent: a new URI is taken on the same site only.
func TestMigrateEvent(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	leg := mustDial(t, p.client(t), testIntent())
	expect(t, leg, bridge.Proceeding, false)
	call := p.Call("0")
	call.Await(t, eventPing)
	p.onlyCookieless(call)
	call.Say(Event{Type: eventMigrate, URI: "https://evil.example/calls/0"})
	call.Await(t, eventPing)
	if got := leg.(*clientLeg).callURI(); got != call.uri() {
		t.Errorf("the call went to %s", got)
	}
}

// onlyCookieless lets requests without cookies through: a migration has none.
func (p *fakePeer) onlyCookieless(c *fakeCall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.anyNode = true
}

// TestBufferedPut: something on the way holds request bodies back; the client
// changes to one PUT per event by itself.
func TestBufferedPut(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	p.onPut = func(_ http.ResponseWriter, r *http.Request, _ *fakeCall) bool {
		if r.ContentLength >= 0 {
			return false
		}
		<-r.Context().Done() // never passed on
		return true
	}
	leg := mustDial(t, p.client(t), testIntent())
	expect(t, leg, bridge.Proceeding, false)
	call := p.Call("0")
	call.Await(t, eventPing)
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Fatal(err)
	}
	call.Await(t, eventEnd)
	if gets, _ := call.counts(); gets != 1 {
		t.Errorf("GET events was opened %d times, want once", gets)
	}
}

// TestReattachWhereNobodyAnswers: a balancer that leads a call to a node which is
// gone is asked anew, without cookies, long before it gives up itself.
func TestReattachWhereNobodyAnswers(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var silent atomic.Bool
	p.onRequest = func(r *http.Request) {
		if silent.Load() && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/events") {
			<-r.Context().Done()
		}
	}
	leg := mustDial(t, p.client(t), testIntent())
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Await(t, eventPing)
	silent.Store(true)
	began := time.Now()
	p.Drop()
	for deadline := began.Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, epoch := leg.(*clientLeg).place(); epoch > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not look elsewhere")
		}
	}
	p.onlyCookieless(call)
	silent.Store(false)
	call.Await(t, eventPing)
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
	t.Logf("back after %v", time.Since(began))
}
