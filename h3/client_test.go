package h3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/policy"
	"riptide/policy/stir"
)

func mustDial(t testing.TB, c *Client, in bridge.Intent) bridge.Leg {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	leg, err := c.Dial(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	return leg
}

// expect checks the next event, and that its plan is there or not.
func expect(t testing.TB, leg bridge.Leg, kind bridge.EventKind, plan bool) bridge.Event {
	t.Helper()
	ev := nextEvent(t, leg)
	if ev.Kind != kind || (ev.Plan != nil) != plan {
		t.Fatalf("event %v with plan %v, cause %v; want %v with plan: %v", ev.Kind, ev.Plan, ev.Cause, kind, plan)
	}
	return ev
}

func expectClosed(t testing.TB, leg bridge.Leg) {
	t.Helper()
	select {
	case ev, ok := <-leg.Events():
		if ok {
			t.Fatalf("event %v after the end", ev.Kind)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("events are not closed")
	}
}

func TestCallAnsweredThenPeerHangsUp(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	c := p.client(t)
	leg := mustDial(t, c, testIntent())
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Say(Event{Type: eventProceeding, Media: true})
	expect(t, leg, bridge.Proceeding, true)
	call.Say(Event{Type: eventAlerting})
	expect(t, leg, bridge.Alerting, true)
	call.Say(Event{Type: eventAnswered})
	ev := expect(t, leg, bridge.Answered, true)
	if ev.Plan.Speech != bridge.PCMA || !ev.Plan.Digits || !ev.Plan.ComfortNoise || ev.Plan.Ptime != 20*time.Millisecond {
		t.Errorf("plan %+v: want the codec that the other leg prefers, with digits and comfort noise", *ev.Plan)
	}
	call.Say(Event{Type: eventEnd, Reason: &Reason{Code: "normal", SIP: 200, Q850: 16}})
	if ev := expect(t, leg, bridge.Ended, false); ev.Cause.Code != "normal" || ev.Cause.By != bridge.ByCallee {
		t.Errorf("cause %+v, want normal by the callee", ev.Cause)
	}
	expectClosed(t, leg)
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Errorf("End of an ended leg: %v", err)
	}
	req := call.req
	if req.Destination != "+12025550199" || req.Passport != "passport" || req.Hops == nil || *req.Hops != 9 || req.Call != "call-1" {
		t.Errorf("request %+v", req)
	}
	if err := leg.Answer(t.Context(), bridge.Answer{}); err == nil {
		t.Error("an outgoing leg was answered")
	}
	if err := leg.Progress(t.Context(), bridge.Progress{}); err == nil {
		t.Error("an outgoing leg took progress")
	}
}

func TestCallAnsweredThenWeHangUp(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	p.onCall = func(c *fakeCall) { c.Say(Event{Type: eventAlerting}); c.Say(Event{Type: eventAnswered}) }
	leg := mustDial(t, p.client(t), testIntent())
	expect(t, leg, bridge.Proceeding, false)
	expect(t, leg, bridge.Alerting, false)
	expect(t, leg, bridge.Answered, true)
	if err := leg.End(t.Context(), bridge.CauseNormal.EndedBy(bridge.ByCaller)); err != nil {
		t.Fatal(err)
	}
	if ev := p.Call("0").Await(t, eventEnd); ev.Reason == nil || ev.Reason.Code != "normal" || ev.Direction != clientToServer || ev.Call != p.Call("0").uri() {
		t.Errorf("end event %+v", ev)
	}
	expectClosed(t, leg)
}

// TestCallRefusedByEvent: each way a call ends before the answer.
func TestCallRefusedByEvent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		event string
		code  bridge.Code
		sip   int
	}{
		{eventDeclined, "busy", 486}, {eventDeclined, "declined", 603}, {eventNoAnswer, "no-answer", 480},
		{eventFailed, "unreachable", 503}, {eventFailed, "not-found", 404}, {"ended", "cancelled", 487},
	} {
		t.Run(string(tc.code), func(t *testing.T) {
			t.Parallel()
			p := newFakePeer(t)
			leg := mustDial(t, p.client(t), testIntent())
			expect(t, leg, bridge.Proceeding, false)
			p.Call("0").Say(Event{Type: tc.event, Reason: &Reason{Code: tc.code}})
			ev := expect(t, leg, bridge.Ended, false)
			if status, _ := ev.Cause.SIPStatus(); ev.Cause.Code != tc.code || status != tc.sip {
				t.Errorf("cause %v with SIP %d, want %s with %d", ev.Cause, status, tc.code, tc.sip)
			}
			expectClosed(t, leg)
		})
	}
}

// TestDialRefused: problems of POST calls, and what we find without asking.
func TestDialRefused(t *testing.T) {
	t.Parallel()
	destinations, err := policy.ParseNumberSet([]string{"+1*"}, []string{"+1900*"})
	if err != nil {
		t.Fatal(err)
	}
	p := newFakePeer(t)
	p.tg.Outbound.Destinations = &destinations
	p.onPost = func(w http.ResponseWriter, _ *http.Request, req CallRequest) bool {
		if req.Destination == "+12025550777" {
			w.Header().Set("Retry-After", "7")
		}
		p.refuse(w, map[policy.Number]bridge.Cause{
			"+12025550404": bridge.CauseNotFound, "+12025550403": bridge.CauseForbidden,
			"+12025550777": bridge.CauseOverloaded.With("too much"), "+12025550486": bridge.CauseBusy,
			"+12025550999": {Code: "identity-stale"},
		}[req.Destination])
		return true
	}
	c := p.client(t)
	for _, tc := range []struct {
		to   policy.Number
		want bridge.Code
	}{
		{"+12025550404", "not-found"}, {"+12025550403", "forbidden"}, {"+12025550777", "overloaded"}, {"+12025550486", "busy"},
		{"+12025550999", "identity-stale"}, {"+19005550100", "destination-forbidden"}, {"+4930123456", "destination-forbidden"},
	} {
		in := testIntent()
		in.To = tc.to
		_, err := c.Dial(t.Context(), in)
		got := bridge.CauseOf(err)
		if err == nil || got.Code != tc.want || !strings.Contains(err.Error(), "telco") {
			t.Errorf("call to %s: %v, want cause %s and the trunk's name", tc.to, err, tc.want)
		}
		if tc.to == "+12025550777" && got.RetryAfter != 7*time.Second {
			t.Errorf("Retry-After %v, want 7s", got.RetryAfter)
		}
	}
	in := testIntent()
	in.Passport = ""
	if _, err := c.Dial(t.Context(), in); !errors.Is(err, bridge.CauseIdentityMissing) {
		t.Errorf("without PASSporT: %v", err)
	}
	in = testIntent()
	in.Trunk = "nobody"
	if _, err := c.Dial(t.Context(), in); err == nil {
		t.Error("a trunk that does not exist took a call")
	}
	if p.Calls() != 0 {
		t.Errorf("%d calls were made", p.Calls())
	}
}

// TestDialCancelled: the caller gives up while the POST is under way; the call
// that comes of it is ended.
func TestDialCancelled(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	reached, release := make(chan struct{}), make(chan struct{})
	p.onCall = func(*fakeCall) { close(reached); <-release }
	c := p.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := c.Dial(ctx, testIntent()); failed <- err }()
	<-reached
	cancel()
	if err := <-failed; !errors.Is(err, bridge.Cause{Code: "cancelled"}) {
		t.Errorf("Dial: %v, want cancelled", err)
	}
	close(release)
	p.Call("0").Await(t, eventEnd)
}

// TestDialTokenExpired: one new token, one new attempt.
func TestDialTokenExpired(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	c := p.client(t)
	before := p.Issued()
	p.Revoke()
	leg := mustDial(t, c, testIntent())
	expect(t, leg, bridge.Proceeding, false)
	if got := p.Issued(); got != before+1 {
		t.Errorf("%d tokens fetched, want 1", got-before)
	}
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}

// TestDialSameKey: the connection is lost after the peer made the call; the
// POST is repeated with the same key, and there is one call.
func TestDialSameKey(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var keys sync.Map
	var posts atomic.Int64
	p.onPost = func(_ http.ResponseWriter, r *http.Request, req CallRequest) bool {
		keys.Store(r.Header.Get("Idempotency-Key"), true)
		if posts.Add(1) > 1 {
			return false
		}
		if _, err := p.create(r.Header.Get("Idempotency-Key"), req); err != nil {
			t.Error(err)
		}
		p.Drop()
		<-r.Context().Done()
		return true
	}
	leg := mustDial(t, p.client(t), testIntent())
	expect(t, leg, bridge.Proceeding, false)
	n := 0
	keys.Range(func(any, any) bool { n++; return true })
	if posts.Load() != 2 || n != 1 || p.Calls() != 1 {
		t.Errorf("%d POSTs with %d keys made %d calls, want 2, 1, 1", posts.Load(), n, p.Calls())
	}
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}

// TestDialHandlerLost: a server that forgot our handlers gets them again.
func TestDialHandlerLost(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	c := p.client(t)
	p.Forget()
	leg := mustDial(t, c, testIntent())
	expect(t, leg, bridge.Proceeding, false)
	if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
		t.Error(err)
	}
}

func TestCodecsPassThrough(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	c := p.client(t)
	for _, want := range []bridge.Codec{bridge.PCMU, bridge.PCMA} {
		in := testIntent()
		in.Media.Speech = []bridge.Codec{want}
		leg := mustDial(t, c, in)
		if plan := leg.Record().Plan; plan.Speech != want {
			t.Errorf("other leg has %v, this one got %v", want, plan.Speech)
		}
		if err := leg.End(t.Context(), bridge.CauseNormal); err != nil {
			t.Error(err)
		}
	}
}

func TestUntrustedPeer(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	cfg := p.config()
	cfg.Trunks[0].Roots, _ = testCA(t)
	c := runClient(t, cfg)
	deadline := time.Now().Add(20 * time.Second)
	for bridge.CauseOf(c.Ready("telco")).Code != "tls-untrusted" {
		if time.Now().After(deadline) {
			t.Fatalf("Ready: %v, want tls-untrusted", c.Ready("telco"))
		}
		time.Sleep(5 * time.Millisecond)
	}
	_, err := c.Dial(t.Context(), testIntent())
	if !errors.Is(err, bridge.CauseUntrustedTLS) || !strings.Contains(err.Error(), p.Addr) || !strings.Contains(err.Error(), "`roots`") {
		t.Errorf("Dial: %v; want tls-untrusted with the address and what mends it", err)
	}
}

// TestSign: the enrolled certificate signs, others can verify it through x5u,
// and the next client finds it in the store.
func TestSign(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	cfg := p.config()
	c := runClient(t, cfg)
	awaitReady(t, c)
	token, err := c.Sign(t.Context(), "telco", "+12025550100", "+12025550199", "A")
	if err != nil {
		t.Fatal(err)
	}
	passport, err := stir.ParsePassport(token)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := fetchOver(c, passport.Header.X5U)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stir.ParseChain(pem); err != nil {
		t.Error(err)
	}
	if _, err := c.Sign(t.Context(), "telco", "+4930123456", "+12025550199", "A"); !errors.Is(err, bridge.CauseCaller) {
		t.Errorf("a number of others was signed: %v", err)
	}
	c2 := runClient(t, cfg)
	awaitReady(t, c2)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.certs) != 1 {
		t.Errorf("%d certificates were issued, want 1: the second client has the same store", len(p.certs))
	}
}

// TestNothingLeft: after many calls there is nothing of them any more.
func TestNothingLeft(t *testing.T) {
	p := newFakePeer(t)
	p.onCall = func(c *fakeCall) { c.Say(Event{Type: eventAnswered}) }
	c := p.client(t)
	round := func(n int) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				in := testIntent()
				in.Call = fmt.Sprint(i)
				leg, err := c.Dial(context.Background(), in)
				if err != nil {
					t.Error(err)
					return
				}
				for ev := range leg.Events() {
					if ev.Kind == bridge.Answered {
						ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
						if err := leg.End(ctx, bridge.CauseNormal); err != nil {
							t.Error(err)
						}
						cancel()
					}
				}
			})
		}
		wg.Wait()
	}
	round(50)
	// settle waits until the pool has let go of the connections it does not
	// need, and then until the count is at or below limit or does not change.
	settle := func(limit int) int {
		for deadline := time.Now().Add(time.Minute); c.State().Trunks[0].Connections > 1; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("connections are not closed: %+v", c.State())
			}
		}
		n, still := runtime.NumGoroutine(), 0
		for still < 20 && n > limit {
			time.Sleep(100 * time.Millisecond)
			if now := runtime.NumGoroutine(); now != n {
				n, still = now, 0
			}
			still++
		}
		return n
	}
	base := settle(0)
	for range 10 {
		round(50)
	}
	if got := settle(base + 5); got > base+5 {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before 500 calls\n%s", got, base, buf[:runtime.Stack(buf, true)])
	}
	if s := c.State().Trunks[0]; s.Calls != 0 || s.Streams != 0 || s.Dialled != 550 || s.Refused != 0 {
		t.Errorf("state %+v", s)
	}
}

// TestNodeGoneForAWhile: a balancer answers 502 until its health check has found
// out that the node is gone. A call does not fail for that.
func TestNodeGoneForAWhile(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var posts atomic.Int32
	p.onPost = func(w http.ResponseWriter, _ *http.Request, _ CallRequest) bool {
		if posts.Add(1) < 5 {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}
	leg := mustDial(t, p.client(t), testIntent())
	if n := posts.Load(); n != 5 {
		t.Errorf("%d POSTs, want 5", n)
	}
	must(t, leg.End(t.Context(), bridge.CauseNormal))
	pauses := time.Duration(0)
	for n := 1; n < maxPosts; n++ {
		pauses += repeatPause(n)
	}
	if pauses < 3*time.Second || pauses > placeLimit/2 {
		t.Errorf("all pauses together take %v", pauses)
	}
}
