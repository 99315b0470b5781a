package h3

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
)

// TestASoughtCallGoesTheWayOfAnother: the balancer leads everybody who comes
// without a cookie to the node that is gone. A call that another was found before
// is found by its cookies.
func TestASoughtCallGoesTheWayOfAnother(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var gone atomic.Bool
	p.onRequest = func(r *http.Request) {
		cookie, err := r.Cookie("node")
		if gone.Load() && (err != nil || cookie.Value != "n7") {
			<-r.Context().Done()
		}
	}
	leg := mustDial(t, p.client(t), testIntent()).(*clientLeg)
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Await(t, eventPing)
	p.onlyCookieless(call)
	at, err := url.Parse(leg.callURI())
	if err != nil {
		t.Fatal(err)
	}
	leg.t.ways.note(at.Host, map[string]string{"node": "n7"}, time.Now())
	gone.Store(true)
	p.Drop()
	call.Await(t, eventPing)
	if got := leg.jar.Values(at)["node"]; got != "n7" {
		t.Errorf("it went by way of %q", got)
	}
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}

// Ways are forgotten, and never those that nobody wants.
func TestWays(t *testing.T) {
	t.Parallel()
	now := time.Now()
	one, two := map[string]string{"node": "1"}, map[string]string{"node": "2"}
	var w ways
	if got := w.pick("a:443", nil, now); got != nil {
		t.Error("of none:", got)
	}
	w.note("a:443", map[string]string{}, now)
	w.note("a:443", one, now)
	w.note("a:443", one, now.Add(time.Second))
	if got := w.pick("a:443", two, now); !maps.Equal(got, one) || len(w.found) != 1 {
		t.Error(got, w.found)
	}
	if got := w.pick("a:443", one, now); got != nil {
		t.Error("the one that is not wanted:", got)
	}
	if got := w.pick("b:443", two, now); got != nil {
		t.Error("of another authority:", got)
	}
	if got := w.pick("a:443", two, now.Add(time.Minute)); got != nil {
		t.Error("an old one:", got)
	}
	w.note("a:443", two, now.Add(time.Minute))
	if len(w.found) != 1 {
		t.Error("an old one is kept:", w.found)
	}
	for i := range 2 * waysKept {
		w.note("a:443", map[string]string{"node": string(rune('a' + i))}, now.Add(time.Minute))
	}
	if len(w.found) != waysKept {
		t.Errorf("%d are kept", len(w.found))
	}
}

// TestMediaWaitWhileTheirCallIsSought: their requests would go to a node that is
// gone.
func TestMediaWaitWhileTheirCallIsSought(t *testing.T) {
	t.Parallel()
	var g gate
	if err := g.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	open := g.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.pass(ctx); !errors.Is(err, context.Canceled) {
		t.Error("it let something through:", err)
	}
	passed := make(chan error)
	go func() { passed <- g.pass(t.Context()) }()
	open()
	if err := <-passed; err != nil {
		t.Error(err)
	}
}
