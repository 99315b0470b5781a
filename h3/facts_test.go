package h3

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
	"riptide/policy"
)

const testTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

func allFacts() bridge.Facts {
	return bridge.Facts{
		Routing: &bridge.Routing{Number: "+12025550177", Dipped: true}, Carrier: "+1-0288",
		TrunkGroup: &bridge.TrunkGroup{Name: "tg-7", Context: "carrier.example"}, Category: "payphone", Line: "27",
		Diversions: []bridge.Diversion{{Number: "+12025550111", Reason: "no-answer", Counter: 1, Privacy: true}},
		Priority:   []string{"ets.0"}, Location: &bridge.Location{URI: "https://lis.example/1", PIDF: "<a>\n</a>", Routing: true},
		Languages: []string{"de-AT", "en"}, CallerName: `The "Office" <7>`, Privacy: []string{"id"},
		Charging: &bridge.Charging{ID: "icid", Originating: "home1"}, Carried: map[string][]string{"Subject": {"heating"}},
	}
}

func wholePolicy() bridge.FactPolicy {
	return bridge.FactPolicy{Accept: bridge.FactNames(), Send: bridge.FactNames(), Carry: []string{"Subject"}}
}

// TestFactsCrossTheWire: our client to our server, whatever both trunks' lists
// allow, and the answer back.
func TestFactsCrossTheWire(t *testing.T) {
	t.Parallel()
	answer := bridge.Facts{Connected: "+12025550188", Session: strings.Repeat("2", 32), Charging: &bridge.Charging{ID: "icid", Terminating: "home2"}}
	for name, tc := range map[string]struct {
		client, server bridge.FactPolicy
		asked, told    bridge.Facts
	}{
		"everything":       {wholePolicy(), wholePolicy(), allFacts(), answer},
		"nothing":          {bridge.FactPolicy{}, bridge.FactPolicy{}, bridge.Facts{Privacy: []string{"id"}}, bridge.Facts{Session: answer.Session}},
		"not believed":     {wholePolicy(), bridge.FactPolicy{Accept: []bridge.Fact{bridge.FactLine}}, bridge.Facts{Line: "27", Privacy: []string{"id"}}, bridge.Facts{Session: answer.Session}},
		"not told":         {bridge.FactPolicy{Send: []bridge.Fact{bridge.FactLine}}, wholePolicy(), bridge.Facts{Line: "27", Privacy: []string{"id"}}, bridge.Facts{Session: answer.Session}},
		"answer, believed": {bridge.FactPolicy{Accept: []bridge.Fact{bridge.FactConnected}}, wholePolicy(), bridge.Facts{Privacy: []string{"id"}}, bridge.Facts{Connected: answer.Connected, Session: answer.Session}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "put-get", func(c *ServerConfig) { c.TGs[0].Facts = tc.server })
			p.client.trunks["telco"].cfg.Facts = tc.client
			in := p.intent()
			in.Facts, in.Trace = allFacts(), bridge.Trace{ID: testTrace, Parent: "00f067aa0ba902b7", Flags: 1, State: "a=1"}
			out := mustDial(t, p.client, in)
			leg := p.incoming()
			if got := leg.Info().Facts; !reflect.DeepEqual(got, tc.asked) {
				t.Errorf("the server's side hears %+v, want %+v", got, tc.asked)
			}
			if got := leg.Info().Trace; got.ID != testTrace || got.Parent == in.Trace.Parent || got.Flags != 1 || got.State != "a=1" {
				t.Errorf("trace %+v", got)
			}
			must(t, leg.Answer(t.Context(), bridge.Answer{Media: testPlan, Facts: answer}))
			if got := awaitKind(t, out, bridge.Answered).Facts; !reflect.DeepEqual(got, &tc.told) {
				t.Errorf("the client's side hears %+v, want %+v", got, tc.told)
			}
			must(t, out.End(t.Context(), bridge.CauseNormal))
		})
	}
}

// TestFactsInTheDescription: who missed the answer finds its facts in the call.
func TestFactsInTheDescription(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.TGs[0].Facts = wholePolicy() })
	token := r.token(testTG)
	d, leg := r.place(r.h3, token)
	must(t, leg.Answer(t.Context(), bridge.Answer{Facts: bridge.Facts{Connected: "+12025550188"}}))
	_, body := r.do(r.h3, exchange{method: "GET", url: d.URI, token: token})
	must(t, json.Unmarshal(body, &d))
	if d.Facts.Connected != "+12025550188" {
		t.Errorf("description %s", body)
	}
}

// TestBadFacts: a call that says too much, or anything that could end a header
// field somewhere else, is refused and told which member it is.
func TestBadFacts(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.TGs[0].Facts = wholePolicy() })
	token := r.token(testTG)
	handler := r.register(token, testTG)
	for member, f := range map[string]bridge.Facts{
		"callerName": {CallerName: "Eve\r\nVia: x"},
		"carried":    {Carried: map[string][]string{"A: b\r\nC": {"d"}}},
		"line":       {Line: "1234"},
		"bytes":      {Location: &bridge.Location{PIDF: strings.Repeat("x", bridge.MaxFacts)}},
	} {
		resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token, header: map[string]string{headerIdempotencyKey: uuid.NewString()},
			body: CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now()), Facts: f}})
		expectProblem(t, resp, body, 400, "/problems/bad-request")
		if !strings.Contains(string(body), member) || strings.Contains(string(body), "Eve") {
			t.Errorf("%s: %s", member, body)
		}
	}
	// An answer with such facts is an answer all the same.
	p := newFakePeer(t)
	p.onCall = func(c *fakeCall) {
		c.Say(Event{Type: eventAnswered, Facts: bridge.Facts{Line: "1234", Connected: "+12025550188", CallerName: "a\nb"}})
	}
	c := p.client(t)
	c.trunks["telco"].cfg.Facts = wholePolicy()
	if got := awaitKind(t, mustDial(t, c, testIntent()), bridge.Answered).Facts; !reflect.DeepEqual(got, &bridge.Facts{Connected: "+12025550188"}) {
		t.Errorf("facts %+v", got)
	}
}

// TestTraceOnEveryRequest: of a call, whatever the request is about.
func TestTraceOnEveryRequest(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	var mu sync.Mutex
	seen := map[string]map[string]int{}
	p.onRequest = func(r *http.Request) {
		_, what, ok := strings.Cut(r.URL.Path, "/calls")
		if !ok {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		what = r.Method + " " + what
		if seen[what] == nil {
			seen[what] = map[string]int{}
		}
		seen[what][r.Header.Get(headerTraceparent)+" "+r.Header.Get(headerTracestate)]++
	}
	p.onCall = func(c *fakeCall) { c.Say(Event{Type: eventAnswered}) }
	p.tg.Media = []string{"put-get"}
	in := testIntent()
	in.Trace = bridge.Trace{ID: testTrace, Parent: "00f067aa0ba902b7", Flags: 1, State: "a=1"}
	leg := mustDial(t, p.client(t), in)
	awaitKind(t, leg, bridge.Answered)
	p.Call("0").Await(t, eventPing)
	for range 5 {
		leg.Media().Push(&bridge.Frame{Codec: bridge.PCMA, Payload: make([]byte, 160)})
		time.Sleep(10 * time.Millisecond)
	}
	must(t, leg.End(t.Context(), bridge.CauseNormal))
	mu.Lock()
	defer mu.Unlock()
	parents := map[string]bool{}
	for what, values := range seen {
		for v := range values {
			got, err := bridge.ParseTrace(strings.Fields(v)[0], "")
			if err != nil || got.ID != testTrace || got.Flags != 1 || !strings.HasSuffix(v, " a=1") {
				t.Errorf("%s carried %q", what, v)
			}
			parents[got.Parent] = true
		}
	}
	for _, what := range []string{"POST ", "GET /0/events", "PUT /0/events", "GET /0/media", "PUT /0/media"} {
		if seen[what] == nil {
			t.Errorf("no %s among %v", what, seen)
		}
	}
	if len(parents) != 1 || parents[in.Trace.Parent] {
		t.Errorf("parent ids %v: want one, our own", parents)
	}
}

// TestBadTraceparent: what is no trace begins one, and hurts nobody.
func TestBadTraceparent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	handler := r.register(token, testTG)
	for header, want := range map[string]string{"00-" + testTrace + "-00f067aa0ba902b7-01": testTrace, "rubbish": ""} {
		resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
			header: map[string]string{headerIdempotencyKey: uuid.NewString(), headerTraceparent: header},
			body:   CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		if got := (<-r.acceptor.legs).Info().Trace.ID; got != want {
			t.Errorf("%q became trace %q", header, got)
		}
	}
}

// TestReasonBothWays: code, Q.850 with its location, SIP, text, and who ended
// the call.
func TestReasonBothWays(t *testing.T) {
	t.Parallel()
	cause := bridge.Cause{Code: "busy", SIP: 486, Q850: 17, Location: bridge.PlacePublicRemote, Text: "in a meeting", By: bridge.ByBridge}
	p := newPair(t, "put-get")
	out, in := p.dial()
	must(t, in.End(t.Context(), cause))
	if ev := awaitEnd(t, out); ev.Cause != cause {
		t.Errorf("to the client: %+v", ev.Cause)
	}
	out, in = p.dial()
	must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
	awaitKind(t, out, bridge.Answered)
	go func() { _ = out.End(context.Background(), cause) }()
	if ev := awaitEnd(t, in); ev.Cause != cause {
		t.Errorf("to the server: %+v", ev.Cause)
	}
	out, in = p.dial()
	must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
	awaitKind(t, out, bridge.Answered)
	go func() { _ = out.End(context.Background(), cause.EndedBy(bridge.ByCallee)) }() // not for a caller's side to say
	if ev := awaitEnd(t, in); ev.Cause.By != bridge.ByCaller {
		t.Errorf("ended by %q", ev.Cause.By)
	}
}

func awaitEnd(t testing.TB, leg bridge.Leg) bridge.Event {
	t.Helper()
	for {
		if ev := nextEvent(t, leg); ev.Kind == bridge.Ended {
			if ev.Stored != nil {
				ev.Stored()
			}
			return ev
		}
	}
}

// TestEndSaysWho reads the events themselves.
func TestEndSaysWho(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	d, leg := r.place(r.h3, token)
	in := r.listen(r.h3, d.URI, token)
	in.next(eventProceeding)
	must(t, leg.End(t.Context(), bridge.Cause{Code: "busy", Q850: 17, Location: bridge.PlaceUser}.EndedBy(bridge.ByCallee)))
	if ev := in.next(eventDeclined); ev.EndedBy != bridge.ByCallee || ev.Reason.Location != bridge.PlaceUser || ev.Reason.Q850 != 17 {
		t.Errorf("%+v, reason %+v", ev, ev.Reason)
	}
	p := newFakePeer(t)
	out := mustDial(t, p.client(t), testIntent())
	must(t, out.End(t.Context(), bridge.CauseNormal.EndedBy(bridge.ByBridge)))
	if ev := p.Call("0").Await(t, eventEnd); ev.EndedBy != bridge.ByBridge {
		t.Errorf("%+v", ev)
	}
}

// TestTransferAskedByTheServer: our client hands the wish to the bridge, and its
// answer back.
func TestTransferAskedByTheServer(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	leg := mustDial(t, p.client(t), testIntent())
	call := p.Call("0")
	expect(t, leg, bridge.Proceeding, false)
	call.Say(Event{Type: eventTransfer, Destination: "+12025550177"})
	if ev := call.Await(t, eventTransferRefused); ev.Reason == nil || ev.Reason.Code != "transfer-refused" {
		t.Errorf("before the answer: %+v", ev.Reason)
	}
	call.Say(Event{Type: eventAnswered})
	expect(t, leg, bridge.Answered, true)
	call.Say(Event{Type: eventTransfer, Destination: "nobody"})
	call.Await(t, eventTransferRefused)

	call.Say(Event{Type: eventTransfer, Destination: "+12025550177"})
	ev := expect(t, leg, bridge.Transfer, false)
	if ev.Target != "+12025550177" {
		t.Errorf("target %q", ev.Target)
	}
	call.Say(Event{Type: eventTransfer, Destination: "+12025550178"}) // one at a time
	call.Await(t, eventTransferRefused)
	ev.Transferred(bridge.CauseTransferRefused.With("busy"))
	if ev := call.Await(t, eventTransferRefused); ev.Reason.Text != "busy" {
		t.Errorf("refused with %+v", ev.Reason)
	}
	call.Say(Event{Type: eventTransfer, Destination: "+12025550177"})
	ev = expect(t, leg, bridge.Transfer, false)
	ev.Transferred(nil)
	must(t, leg.End(t.Context(), bridge.CauseNormal.EndedBy(bridge.ByBridge))) // at once: the word comes before the end
	call.Await(t, eventTransferDone)
	call.Await(t, eventEnd)
}

// TestTransferEndToEnd: a client asks for a transfer on the wire; the bridge
// dials the target, and the called party talks to it.
func TestTransferEndToEnd(t *testing.T) {
	t.Parallel()
	for name, allowed := range map[string]bool{"allowed": true, "not allowed": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dialer := bridgetest.NewDialer()
			b := bridge.New(bridge.Config{
				Node: "test", Store: store.NewMemory(), Logger: slog.New(slog.DiscardHandler),
				Policy: &policy.Policy{
					Trunks: map[string]policy.Trunk{"office": {Name: "office", Transfer: allowed}, "pstn": {Name: "pstn"}},
					Routes: []policy.Route{{From: "office", To: "+*", Via: "pstn"}},
				},
			})
			b.Use(map[string]bridge.Trunk{"pstn": {Dialer: dialer}})
			r := newRig(t, func(c *ServerConfig) { c.Acceptor, c.TGs[0].Trunk = b, "office" })
			token := r.token(testTG)
			resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token, header: map[string]string{headerIdempotencyKey: uuid.NewString()},
				body: CallRequest{Handler: r.register(token, testTG), Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
			var d CallDescription
			if must(t, json.Unmarshal(body, &d)); resp.StatusCode != http.StatusCreated {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			in, out := r.listen(r.h3, d.URI, token), r.command(r.h3, d.URI, token)
			callee := nextLeg(t, dialer)
			plan := bridge.MediaPlan{Speech: bridge.PCMA, Ptime: bridge.DefaultPtime}
			callee.PickUp(plan)
			in.next(eventProceeding)
			in.next(eventAnswered)
			out.send(Event{Type: eventTransfer, Seq: 1, Destination: "+12025550177"})
			if !allowed {
				if ev := in.next(eventTransferRefused); ev.Reason == nil || ev.Reason.Code != "transfer-refused" || !strings.Contains(ev.Reason.Text, "transfer: allow") {
					t.Errorf("%+v", ev.Reason)
				}
				out.send(Event{Type: eventPing, Seq: 2, Nonce: "still here"})
				in.next(eventPong)
				callee.HangUp(bridge.CauseNormal, nil)
				in.next(eventEnd)
				return
			}
			target := nextLeg(t, dialer)
			target.PickUp(plan)
			in.next(eventTransferDone)
			if ev := in.next(eventEnd); ev.EndedBy != bridge.ByBridge || ev.Reason.Code != "normal" {
				t.Errorf("%+v", ev)
			}
			var heard countingSink
			target.Peer().Join(&heard)
			callee.Peer().Push(&bridge.Frame{Codec: bridge.PCMA, Payload: make([]byte, 160)})
			if target.Peer().Stats().Received != 1 {
				t.Error("the target does not hear the called party")
			}
			callee.HangUp(bridge.CauseNormal, nil)
			if _, err := target.Await(t.Context(), bridgetest.Finished); err != nil {
				t.Error(err)
			}
		})
	}
}

func nextLeg(t testing.TB, d *bridgetest.Dialer) *bridgetest.Leg {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	leg, err := d.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return leg
}

// TestUnknownEventsAreCounted, on either side; aliases of the drafts are known.
func TestUnknownEventsAreCounted(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	c := p.client(t)
	leg := mustDial(t, c, testIntent())
	p.Call("0").Say(Event{Type: "no-such-event"})
	p.Call("0").Say(Event{Type: eventMediaPanic})
	p.Call("0").Say(Event{Type: "ended", Reason: &Reason{Code: "normal"}})
	awaitEnd(t, leg)
	deadline := time.Now().Add(20 * time.Second)
	for {
		s := c.State().Trunks[0]
		if s.UnknownEvents == 1 && s.MediaPanics == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("state %+v", s)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
