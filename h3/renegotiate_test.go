package h3

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/h3/agree"
	"riptide/h3/media"
)

// handlerOf registers a handler by its speech and returns its URI.
func (r *rig) handlerOf(token, id, codecs string) string {
	r.t.Helper()
	resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/handlers", token: token,
		body: Handler{HandlerID: id, Advertisement: fmt.Sprintf("1 in: %[1]s 1 out: %[1]s", codecs)}})
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("register handler: %d %s", resp.StatusCode, body)
	}
	return resp.Header.Get("Location")
}

// placeWith posts a call with a handler.
func (r *rig) placeWith(token, handler string) (CallDescription, bridge.Leg) {
	r.t.Helper()
	resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
		header: map[string]string{headerIdempotencyKey: uuid.NewString()},
		body:   CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
	var d CallDescription
	if resp.StatusCode != http.StatusCreated || json.Unmarshal(body, &d) != nil {
		r.t.Fatalf("place call: %d %s", resp.StatusCode, body)
	}
	if tag := resp.Header.Get("ETag"); tag == "" || tag != d.ETag {
		r.t.Errorf("entity tag %q, in the body %q", tag, d.ETag)
	}
	return d, <-r.acceptor.legs
}

// post changes a call.
func (r *rig) post(call, token, ifMatch string, u CallUpdate) (*http.Response, []byte) {
	r.t.Helper()
	header := map[string]string{}
	if ifMatch != "" {
		header["If-Match"] = ifMatch
	}
	return r.do(r.h3, exchange{method: "POST", url: call, token: token, header: header, body: u})
}

// recorded plays the bridge: it puts changes on record, and passes the plans on.
func recorded(t *testing.T, leg bridge.Leg) <-chan bridge.Event {
	t.Helper()
	out := make(chan bridge.Event, 16)
	go func() {
		for ev := range leg.Events() {
			if ev.Stored != nil {
				ev.Stored()
			}
			if ev.Kind == bridge.MediaChanged {
				out <- ev
			}
		}
	}()
	return out
}

func changed(t *testing.T, events <-chan bridge.Event) bridge.Event {
	t.Helper()
	select {
	case ev := <-events:
		return ev
	case <-time.After(testWait):
		t.Fatal("the bridge was not told of a change")
	}
	panic("unreachable")
}

func described(t *testing.T, resp *http.Response, body []byte) CallDescription {
	t.Helper()
	var d CallDescription
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &d) != nil || resp.Header.Get("ETag") != d.ETag {
		t.Fatalf("%d, entity tag %q: %s", resp.StatusCode, resp.Header.Get("ETag"), body)
	}
	return d
}

// TestCallPull: a call moves to another handler, once, and everybody hears of
// it: who lost the race, too.
func TestCallPull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	first := r.handlerOf(token, "desk", "PCMA; PCMU; telephone-event; CN;")
	second := r.handlerOf(token, "mobile", "G722; PCMU; telephone-event;")
	third := r.handlerOf(token, "kitchen", "PCMU;")
	d, leg := r.placeWith(token, first)
	events := recorded(t, leg)
	up, down := r.listen(r.h3, d.URI, token), r.listen(r.h2, d.URI, token)
	up.next(eventProceeding)
	down.next(eventProceeding)

	resp, body := r.post(d.URI, token, "", CallUpdate{Handler: second})
	expectProblem(t, resp, body, http.StatusPreconditionRequired, "about:blank")
	resp, body = r.post(d.URI, token, d.ETag, CallUpdate{})
	expectProblem(t, resp, body, http.StatusBadRequest, "/problems/bad-request")
	resp, body = r.post(d.URI, token, d.ETag, CallUpdate{Handler: testTG + "/handlers/" + uuid.NewString()})
	expectProblem(t, resp, body, http.StatusInternalServerError, "/problems/handler-not-registered")

	resp, body = r.post(d.URI, token, d.ETag, CallUpdate{Handler: second})
	now := described(t, resp, body)
	if now.Handler != second || now.ETag == d.ETag || !strings.HasPrefix(now.ClientDirectives, "1 to 1: G722;") || now.ServerDirectives != now.ClientDirectives {
		t.Errorf("after the pull: %+v", now)
	}
	for _, s := range []*stream{up, down} {
		if ev := s.next(eventHandlerChanged); ev.Handler != second || ev.ETag != now.ETag || ev.ClientDirectives != now.ClientDirectives || ev.ServerDirectives != now.ServerDirectives {
			t.Errorf("event %+v", ev)
		}
	}
	ev := changed(t, events)
	if ev.Plan.Speech != bridge.G722 || !ev.Plan.Digits || ev.Plan.ComfortNoise || ev.Offer == nil || !slices.Equal(ev.Offer.Speech, []bridge.Codec{bridge.G722, bridge.PCMU}) {
		t.Errorf("the bridge was told %+v, %+v", ev.Plan, ev.Offer)
	}
	var state serverLegState
	must(t, json.Unmarshal(leg.Record().State, &state))
	if state.Handler != second || state.ClientDirectives != now.ClientDirectives {
		t.Errorf("on record: %+v", state)
	}

	// The loser of a race is told so, and nothing has changed.
	resp, body = r.post(d.URI, token, d.ETag, CallUpdate{Handler: third})
	expectProblem(t, resp, body, http.StatusPreconditionFailed, "about:blank")
	// The winner that repeats its request, because the answer was lost, has won.
	resp, body = r.post(d.URI, token, d.ETag, CallUpdate{Handler: second})
	if again := described(t, resp, body); again.ETag != now.ETag {
		t.Errorf("repeated: %+v", again)
	}
	resp, body = r.do(r.h3, exchange{method: "GET", url: d.URI, token: token, header: map[string]string{"If-None-Match": now.ETag}})
	if resp.StatusCode != http.StatusNotModified || len(body) != 0 {
		t.Errorf("GET with the tag in force: %d %s", resp.StatusCode, body)
	}
	// State is not part of the tag.
	must(t, leg.Answer(t.Context(), bridge.Answer{Media: *ev.Plan}))
	up.next(eventAnswered)
	resp, body = r.do(r.h3, exchange{method: "GET", url: d.URI, token: token})
	if got := described(t, resp, body); got.ETag != now.ETag || got.State != eventAnswered {
		t.Errorf("after the answer: %+v", got)
	}
	// A byway that was away when the call moved is told, behind the state.
	late := r.listen(r.h3, d.URI, token)
	late.next(eventAnswered)
	late.next(eventHandlerChanged)

	must(t, leg.End(t.Context(), bridge.CauseNormal))
	resp, body = r.post(d.URI, token, now.ETag, CallUpdate{Handler: third})
	expectProblem(t, resp, body, http.StatusNotFound, "/problems/call-ended")
}

// TestFreshDirectives: a handler that was replaced takes effect when it is named
// again, and not before.
func TestFreshDirectives(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	handler := r.handlerOf(token, "desk", "opus,br=64000; PCMU;")
	d, leg := r.placeWith(token, handler)
	events := recorded(t, leg)
	if d.ClientDirectives != "1 to 1: opus,br=64000;" {
		t.Fatalf("directive %q", d.ClientDirectives)
	}
	resp, body := r.post(d.URI, token, d.ETag, CallUpdate{Handler: handler})
	if same := described(t, resp, body); same.ETag != d.ETag {
		t.Errorf("nothing was changed, but the tag is %s", same.ETag)
	}
	advert := "1 in: PCMU; opus,br=24000; 1 out: PCMU; opus,br=24000;"
	resp, body = r.do(r.h3, exchange{method: "PUT", url: handler, token: token, body: Handler{HandlerID: "desk", Advertisement: advert}})
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("PUT handler: %d %s", resp.StatusCode, body)
	}
	resp, body = r.do(r.h3, exchange{method: "GET", url: d.URI, token: token})
	if got := described(t, resp, body); got.ETag != d.ETag {
		t.Error("replacing the handler changed the call")
	}
	resp, body = r.post(d.URI, token, d.ETag, CallUpdate{Handler: handler})
	// The codec in use stays, under the new limit.
	if now := described(t, resp, body); now.ClientDirectives != "1 to 1: opus,br=24000;" {
		t.Errorf("fresh directive %q", now.ClientDirectives)
	}
	if ev := changed(t, events); ev.Plan.Speech != bridge.Opus || len(ev.Plan.Limits) != 1 || ev.Plan.Limits[0].Value != 24000 {
		t.Errorf("the bridge was told %+v", ev.Plan)
	}
	must(t, leg.End(t.Context(), bridge.CauseNormal))
}

// TestChangesAreBounded: who changes a call faster than the bridge takes it up is
// refused, and the call can still end.
func TestChangesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	handlers := []string{r.handlerOf(token, "a", "PCMA;"), r.handlerOf(token, "b", "PCMU;")}
	d, leg := r.placeWith(token, handlers[0])
	c := leg.(serverLeg).call
	var refused bool
	for i := range 2 * callEvents {
		_, err := c.pull(r.server.tgs["office"].termsOf(handlers[(i+1)%2], mustHandler(t, r.server, handlers[(i+1)%2])), "*")
		refused = refused || err != nil
	}
	if !refused {
		t.Error("no change was refused")
	}
	if stored := c.hangUp(bridge.CauseNormal); stored == nil {
		t.Error("the end found no place")
	}
	_ = d
	go func() {
		for ev := range leg.Events() {
			if ev.Stored != nil {
				ev.Stored()
			}
		}
	}()
	must(t, leg.End(t.Context(), bridge.CauseNormal))
}

func mustHandler(t *testing.T, s *Server, uri string) *registration {
	t.Helper()
	h, err := s.handlers.get(t.Context(), testClient, "office", uri[strings.LastIndex(uri, "/")+1:])
	must(t, err)
	return h
}

// TestAnswerDecides: the callee answers with another codec than the directives
// foresaw. The client is told before the answer, and sends it: nothing is
// converted.
func TestAnswerDecides(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	in := p.intent()
	in.Media.Video = []bridge.Format{{Codec: bridge.VP8}}
	out := mustDial(t, p.client, in)
	leg := p.incoming()
	if m := leg.Info().Media; !slices.Equal(m.Speech, []bridge.Codec{bridge.PCMA, bridge.PCMU}) || len(m.Video) != 1 {
		t.Fatalf("the server's leg can do %+v", m)
	}
	answer := bridge.MediaPlan{Speech: bridge.PCMU, Digits: true, ComfortNoise: true, Ptime: bridge.DefaultPtime}
	must(t, leg.Answer(t.Context(), bridge.Answer{Media: answer}))
	for answered := false; !answered; {
		switch ev := nextEvent(t, out); ev.Kind {
		case bridge.MediaChanged:
			t.Errorf("told of %+v before any media was agreed on", ev.Plan)
		case bridge.Answered:
			answered = true
			if ev.Plan == nil || !ev.Plan.Equal(answer) {
				t.Errorf("answered on %+v, want %+v without video", ev.Plan, answer)
			}
		}
	}
	rec := out.Record()
	var state legState
	must(t, json.Unmarshal(rec.State, &state))
	if rec.Plan.Speech != bridge.PCMU || state.ClientDirectives != "1 to 1: PCMU; telephone-event; CN;" {
		t.Errorf("on record: %+v, %+v", rec.Plan, state)
	}
	must(t, leg.End(t.Context(), bridge.CauseNormal))
	_ = awaitEnded(t, out)
}

// answered places a call and answers it on A-law.
func (p *pair) answered(codecs ...bridge.Codec) (out, in bridge.Leg) {
	p.t.Helper()
	intent := p.intent()
	intent.Media.Speech = codecs
	out = mustDial(p.t, p.client, intent)
	in = p.incoming()
	must(p.t, in.Answer(p.t.Context(), bridge.Answer{Media: testPlan}))
	awaitKind(p.t, out, bridge.Answered)
	return out, in
}

// heardAs lets one end say something in a codec, and waits for it at the other.
func heardAs(t *testing.T, from, to bridge.Leg, c bridge.Codec) {
	t.Helper()
	var n atomic.Int64
	to.Media().Join(sinkFunc(func(f *bridge.Frame) {
		if f.Codec == c {
			n.Add(1)
		}
	}))
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	for i := uint64(0); n.Load() < 2; i++ {
		from.Media().Push(&bridge.Frame{Codec: c, Seq: i, Timestamp: i * 160, Payload: make([]byte, 160)})
		select {
		case <-ctx.Done():
			t.Fatalf("%v was not heard: %+v", c, to.Media().Stats())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

type sinkFunc func(*bridge.Frame)

func (f sinkFunc) Push(fr *bridge.Frame) { f(fr) }

// TestServerChangesDirectives: the bridge asks the server's leg for another
// codec; the client gets new directives, and both ends send and take it.
func TestServerChangesDirectives(t *testing.T) {
	t.Parallel()
	p := newPair(t, "webtransport")
	out, in := p.answered(bridge.PCMA, bridge.PCMU, bridge.G722)
	must(t, in.(bridge.Adapter).Adapt(t.Context(), bridge.MediaOffer{Speech: []bridge.Codec{bridge.Opus, bridge.G722, bridge.PCMU}}))
	for _, leg := range []bridge.Leg{in, out} {
		if ev := awaitKind(t, leg, bridge.MediaChanged); ev.Plan.Speech != bridge.G722 {
			t.Errorf("told %+v", ev.Plan)
		}
	}
	heardAs(t, out, in, bridge.G722)
	heardAs(t, in, out, bridge.G722)
	heardAs(t, out, in, bridge.PCMA) // what was under way is still taken
	if a, b := out.Record(), in.Record(); a.Plan.Speech != bridge.G722 || !strings.Contains(string(b.State), "1 to 1: G722;") {
		t.Errorf("on record: %+v and %s", a.Plan, b.State)
	}
	// What the handler does not have leaves all as it is, and the bridge hears so.
	must(t, in.(bridge.Adapter).Adapt(t.Context(), bridge.MediaOffer{Speech: []bridge.Codec{200}}))
	if ev := awaitKind(t, in, bridge.MediaChanged); ev.Plan.Speech != bridge.G722 {
		t.Errorf("told %+v", ev.Plan)
	}
	must(t, in.End(t.Context(), bridge.CauseNormal))
	_ = awaitEnded(t, out)
}

// TestClientChangesHandler: the bridge asks the client's leg for another codec;
// it names a handler that fits, which it registers if it has to.
func TestClientChangesHandler(t *testing.T) {
	t.Parallel()
	p := newPair(t, "webtransport")
	out, in := p.answered(bridge.PCMA, bridge.PCMU)
	events := recorded(t, in)
	before := len(p.client.trunks["telco"].snapshot().handlers.uris())
	must(t, out.(bridge.Adapter).Adapt(t.Context(), bridge.MediaOffer{Speech: []bridge.Codec{bridge.G722, bridge.PCMA}, Digits: true, ComfortNoise: true}))
	if ev := changed(t, events); ev.Plan.Speech != bridge.PCMA {
		t.Errorf("the codec in use was dropped for %v, though the handler has it", ev.Plan.Speech)
	}
	if ev := awaitKind(t, out, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMA {
		t.Errorf("told %+v", ev.Plan)
	}
	if n := len(p.client.trunks["telco"].snapshot().handlers.uris()); n != before+1 {
		t.Errorf("%d handlers, want one more than %d", n, before)
	}
	must(t, out.(bridge.Adapter).Adapt(t.Context(), bridge.MediaOffer{Speech: []bridge.Codec{bridge.G722}, Digits: true, ComfortNoise: true}))
	if ev := changed(t, events); ev.Plan.Speech != bridge.G722 {
		t.Errorf("the server's bridge was told %+v", ev.Plan)
	}
	if ev := awaitKind(t, out, bridge.MediaChanged); ev.Plan.Speech != bridge.G722 {
		t.Errorf("told %+v", ev.Plan)
	}
	heardAs(t, out, in, bridge.G722)
	heardAs(t, in, out, bridge.G722)
	select {
	case ev := <-out.Events():
		t.Errorf("its own change came back as %+v", ev)
	case <-time.After(100 * time.Millisecond):
	}
	must(t, out.End(t.Context(), bridge.CauseNormal))
}

// TestAdaptWhereNobodyKnowsIt: a peer that takes no POST on calls leaves them as
// they are, and the bridge hears so.
func TestAdaptWhereNobodyKnowsIt(t *testing.T) {
	t.Parallel()
	p := newFakePeer(t)
	c := p.client(t)
	leg := mustDial(t, c, testIntent())
	call := p.Call("0")
	call.Say(Event{Type: eventAnswered})
	awaitKind(t, leg, bridge.Answered)
	must(t, leg.(bridge.Adapter).Adapt(t.Context(), bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}}))
	if ev := awaitKind(t, leg, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMA {
		t.Errorf("told %+v", ev.Plan)
	}
	// Directives that cannot be followed end the call, and the peer hears why.
	handler := call.req.Handler
	call.Say(Event{Type: eventHandlerChanged, Handler: handler, ClientDirectives: "1 to 1: PCMU;", ServerDirectives: "1 to 1: PCMU;", ETag: `"2"`})
	if ev := awaitKind(t, leg, bridge.MediaChanged); ev.Plan.Speech != bridge.PCMU {
		t.Errorf("told %+v", ev.Plan)
	}
	call.Say(Event{Type: eventHandlerChanged, Handler: handler, ClientDirectives: "1 to 1: G729;", ServerDirectives: "1 to 1: G729;", ETag: `"3"`})
	if ev := call.Await(t, eventEnd); ev.Reason == nil || ev.Reason.Code != "media-incompatible" {
		t.Errorf("the peer heard %+v", ev.Reason)
	}
	if c := awaitEnded(t, leg); c.Code != "media-incompatible" {
		t.Errorf("ended by %v", c)
	}
}

// TestPulledAway: another device of the same client takes the call over. This
// leg is over, and the call goes on.
func TestPulledAway(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	out, in := p.answered(bridge.PCMA, bridge.PCMU)
	events := recorded(t, in)
	token := p.token(testTG)
	other := p.handlerOf(token, "another device", "PCMU;")
	uri := out.Info().ID
	resp, body := p.do(p.h3, exchange{method: "GET", url: uri, token: token})
	resp, body = p.post(uri, token, described(t, resp, body).ETag, CallUpdate{Handler: other})
	described(t, resp, body)
	changed(t, events)
	if c := awaitEnded(t, out); c.Code != "answered-elsewhere" {
		t.Errorf("ended by %v", c)
	}
	resp, body = p.do(p.h3, exchange{method: "GET", url: uri, token: token})
	if d := described(t, resp, body); d.State != eventAnswered || d.Handler != other {
		t.Errorf("the call is %+v", d)
	}
	must(t, in.End(t.Context(), bridge.CauseNormal))
}

// TestHandlersFitCalls: each kind of call gets a handler of its own, registered
// once, with its codecs first and the mandatory ones behind.
func TestHandlersFitCalls(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	registered := func() map[string]string {
		out := map[string]string{}
		hs := p.client.trunks["telco"].snapshot().handlers
		for _, uri := range hs.uris() {
			h := mustHandler(t, p.server, uri)
			out[uri] = h.Handler.Advertisement
			if len(h.Handler.Media) != 1 || h.Handler.Media[0] != "put-get" {
				t.Errorf("handler says of carriers %v", h.Handler.Media)
			}
		}
		return out
	}
	place := func(o bridge.MediaOffer) string {
		in := p.intent()
		in.Media = o.Offered()
		out := mustDial(t, p.client, in)
		leg := p.incoming()
		must(t, leg.End(t.Context(), bridge.CauseBusy))
		_ = awaitEnded(t, out)
		var state serverLegState
		must(t, json.Unmarshal(leg.Record().State, &state))
		return mustHandler(t, p.server, state.Handler).Handler.Advertisement
	}
	start := len(registered())
	g722 := bridge.MediaOffer{Speech: []bridge.Codec{bridge.G722, bridge.PCMA}}
	for range 2 {
		if got := place(g722); !strings.HasPrefix(got, "1 in: G722; PCMA; PCMU;") || !strings.Contains(got, "telephone-event; CN;") {
			t.Errorf("handler %q for an offer of G722", got)
		}
	}
	if n := len(registered()); n != start+1 {
		t.Errorf("%d handlers, want one more than %d", n, start)
	}
	video := bridge.MediaOffer{Speech: []bridge.Codec{bridge.Opus}, Video: []bridge.Format{formatH264}, Ptime: 40 * time.Millisecond}
	if got := place(video); !strings.Contains(got, "opus,ptime=40;") || !strings.Contains(got, "2 in: H264,profile-level-id=4382751,packetization-mode=1;") {
		t.Errorf("handler %q for an offer of opus and H264", got)
	}
	sealed := bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMU}, Digits: true, Sealed: true}
	if got := place(sealed); got != "1 in: PCMU,sealed; telephone-event,sealed;\n1 out: PCMU,sealed; telephone-event,sealed;" {
		t.Errorf("handler %q for a sealed offer", got)
	}
}

var formatH264 = bridge.Format{Codec: bridge.H264, Params: []bridge.Param{{Name: "profile-level-id", Value: 0x42E01F}, {Name: "packetization-mode", Value: 1}}}

// TestHandlerLimit: with more kinds of calls than handlers the oldest makes room,
// and where none can, a call takes one that comes near.
func TestHandlerLimit(t *testing.T) {
	t.Parallel()
	hs := &handlers{}
	at := time.Unix(0, 0)
	add := func(codecs ...bridge.Codec) (*handler, *handler) {
		at = at.Add(time.Second)
		adv := agree.Advert(bridge.MediaOffer{Speech: codecs})
		h := &handler{text: adv.String() + at.String(), adv: adv, uri: at.String()}
		return h, hs.add(h, at)
	}
	var first *handler
	for i := range maxHandlers {
		h, out := add(bridge.PCMU, bridge.PCMA)
		if out != nil {
			t.Fatalf("handler %d of %d made another go", i, maxHandlers)
		}
		if i == 0 {
			first = h
		}
	}
	if _, out := add(bridge.G722); out != nil {
		t.Errorf("a handler in use had to go: %+v", out)
	}
	first.release()
	if _, out := add(bridge.G722); out != first {
		t.Errorf("%+v had to go, want the one that is idle", out)
	}
	if hs.ours(first.uri) || hs.find(first.text, at) != nil {
		t.Error("the handler that had to go is still there")
	}
	if h := hs.nearest(bridge.MediaOffer{Speech: []bridge.Codec{bridge.PCMA}}, at); h == nil || !strings.Contains(h.adv.String(), "PCMA") {
		t.Errorf("nearest for A-law: %+v", h)
	}
	if h := hs.nearest(bridge.MediaOffer{Speech: []bridge.Codec{bridge.Opus}}, at); h != nil {
		t.Errorf("nearest for Opus: %+v, there is none", h)
	}
}

// TestReachable: what no trunk behind a TG can take is not asked of the client.
func TestReachable(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get", func(c *ServerConfig) {
		c.TGs[0].Reachable = []bridge.Codec{bridge.PCMU, bridge.PCMA}
		c.TGs[0].Codecs = []bridge.Codec{bridge.PCMU, bridge.PCMA, bridge.VP8}
	})
	in := p.intent()
	in.Media.Speech = []bridge.Codec{bridge.G722, bridge.PCMA, bridge.PCMU}
	in.Media.Video = []bridge.Format{{Codec: bridge.VP8}}
	out := mustDial(t, p.client, in)
	leg := p.incoming()
	if m := leg.Info().Media; !slices.Equal(m.Speech, []bridge.Codec{bridge.PCMU, bridge.PCMA}) || len(m.Video) != 0 {
		t.Errorf("the bridge may plan %+v", m)
	}
	must(t, leg.End(t.Context(), bridge.CauseBusy))
	_ = awaitEnded(t, out)
}

// TestOldMediaForFiveSeconds, and no longer.
func TestOldMediaForFiveSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		plan := func(codec string) (agree.Directives, bridge.MediaPlan) {
			d, err := agree.Read("1 to 1: "+codec, "1 to 1: "+codec)
			must(t, err)
			p, err := d.Plan(true)
			must(t, err)
			return d, p
		}
		d, p := plan("PCMA;")
		a := newAgreement(d, p, media.Config{Server: true})
		defer a.port.Close()
		defer a.end()
		for _, codec := range []string{"PCMU;", "G722;"} {
			d, p = plan(codec)
			a.change(d, p)
			time.Sleep(time.Second)
		}
		taken := func() []bridge.Codec {
			synctest.Wait()
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.audio.Accept
		}
		if got := taken(); !slices.Equal(got, []bridge.Codec{bridge.G722, bridge.PCMU, bridge.PCMA}) {
			t.Errorf("a second after the change %v are taken", got)
		}
		time.Sleep(oldMedia - time.Second - time.Millisecond)
		if got := taken(); len(got) != 3 {
			t.Errorf("before five seconds %v are taken", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got := taken(); !slices.Equal(got, []bridge.Codec{bridge.G722}) {
			t.Errorf("after five seconds %v are taken", got)
		}
		if _, now := a.current(); now.Speech != bridge.G722 {
			t.Errorf("in force: %+v", now)
		}
	})
}
