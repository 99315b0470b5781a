package h3

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/h3/chunk"
	"riptide/h3/h3test"
	"riptide/h3/media"
)

// trunkSession opens a trunk session to a TG, with a token for it.
func (p *pair) trunkSession(tg, token string) media.OwnSession {
	p.t.Helper()
	own, err := p.client.trunks["telco"].pool.OwnSession(p.t.Context(), tg+"/media", testAuthority, http.Header{"Authorization": {"Bearer " + token}})
	must(p.t, err)
	if own.Name == "" {
		p.t.Fatal("the session has no name")
	}
	p.t.Cleanup(func() { _ = own.CloseWithError(0, "") })
	return own
}

// TestJoinTrunkSession: POST on a call puts it on a trunk session of its client
// and its TG. Any other is refused, and nothing is changed.
func TestJoinTrunkSession(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	token, token2 := p.token(testTG), p.token("https://ript.test/ript/v1/tgs/office-2")
	own := p.trunkSession(testTG, token)
	second := p.trunkSession("https://ript.test/ript/v1/tgs/office-2", token2)
	call, leg := p.place(p.h3, token)
	join := func(u CallUpdate, tag string) (*http.Response, []byte) {
		return p.do(p.h3, exchange{method: "POST", url: call.URI, token: token, body: u, header: map[string]string{"If-Match": tag}})
	}
	before, _ := p.do(p.h3, exchange{method: "GET", url: call.URI, token: token})

	_, pcma := p.do(p.h3, exchange{method: "POST", url: testTG + "/handlers", token: token,
		body: Handler{HandlerID: "pbx-2", Advertisement: "1 in: PCMU; 1 out: PCMU;"}})
	var other Handler
	must(t, json.Unmarshal(pcma, &other))
	for name, u := range map[string]CallUpdate{
		"of nobody":       {Session: "x"},
		"of another TG":   {Session: second.Name},
		"with a handler":  {Session: "x", Handler: other.URI},
		"with its suffix": {Session: own.Name + "x"},
	} {
		resp, body := join(u, before.Header.Get("ETag"))
		if expectProblem(t, resp, body, http.StatusConflict, "/problems/session-unknown"); t.Failed() {
			t.Fatal(name)
		}
	}
	if now, _ := p.do(p.h3, exchange{method: "GET", url: call.URI, token: token}); now.Header.Get("ETag") != before.Header.Get("ETag") {
		t.Error("a refused POST has changed the call")
	}

	resp, body := join(CallUpdate{Session: own.Name}, "")
	var d CallDescription
	must(t, json.Unmarshal(body, &d))
	if resp.StatusCode != http.StatusOK || d.CallTag == 0 || resp.Header.Get("ETag") != before.Header.Get("ETag") {
		t.Fatalf("join: %d %s, ETag %s", resp.StatusCode, body, resp.Header.Get("ETag"))
	}
	// The session carries the call from the first chunk of it that comes.
	hello := chunk.Chunk{
		Seq: chunk.FullNumber(1), Timestamp: chunk.FullNumber(uint64(time.Now().UnixMilli())), Clock: chunk.FullNumber(160),
		PayloadType: uint64(bridge.PCMA), Source: 1, Sink: 1, Media: make([]byte, 160),
	}
	must(t, own.SendDatagram(chunk.AppendBundled(nil, d.CallTag, hello.Append(nil))))
	p.carriedBy(leg, "trunk-session")

	made, body := p.do(p.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
		header: map[string]string{headerIdempotencyKey: uuid.NewString()},
		body: CallRequest{
			Handler: p.register(token, testTG), Destination: testTo, Passport: p.passport(testFrom, testTo, time.Now()), Session: own.Name,
		}})
	var next CallDescription
	must(t, json.Unmarshal(body, &next))
	if made.StatusCode != http.StatusCreated || next.CallTag == 0 || next.CallTag == d.CallTag {
		t.Errorf("a call made on the session: %d %s", made.StatusCode, body)
	}

	must(t, own.CloseWithError(0, ""))
	for deadline := time.Now().Add(testWait); p.server.media.Knows(trunkOwner(testClient, "office"), own.Name); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a session that is over is known")
		}
	}
	resp, body = join(CallUpdate{Session: own.Name}, "")
	expectProblem(t, resp, body, http.StatusConflict, "/problems/session-unknown")
	if resp, body := p.do(p.h3, exchange{method: "GET", url: call.URI, token: token}); resp.StatusCode != http.StatusOK {
		t.Errorf("the call went with the session: %d %s", resp.StatusCode, body)
	}
}

// TestHandlerMedia: a call is carried by nothing that its handler leaves out.
func TestHandlerMedia(t *testing.T) {
	t.Parallel()
	p := newPair(t, "put-get")
	token := p.token(testTG)
	own := p.trunkSession(testTG, token)
	for name, tc := range map[string]struct {
		media []string
		takes map[media.Rung]bool
	}{
		"absent":   {nil, map[media.Rung]bool{media.Striped: true, media.Trunk: true, media.WebTransport: true}},
		"put-get":  {[]string{"put-get"}, nil},
		"striped":  {[]string{"striped", "put-get"}, map[media.Rung]bool{media.Striped: true}},
		"sessions": {[]string{"trunk", "webtransport"}, map[media.Rung]bool{media.Trunk: true, media.WebTransport: true}},
		"of later": {[]string{"carrier-pigeon"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := p.do(p.h3, exchange{method: "POST", url: testTG + "/handlers", token: token, body: Handler{
				HandlerID: name, Advertisement: "1 in: PCMA; 1 out: PCMA;", Media: tc.media,
			}})
			if resp.StatusCode != http.StatusCreated {
				t.Fatalf("register: %d %s", resp.StatusCode, body)
			}
			resp, body = p.do(p.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
				header: map[string]string{headerIdempotencyKey: uuid.NewString()},
				body: CallRequest{
					Handler: resp.Header.Get("Location"), Destination: testTo, Passport: p.passport(testFrom, testTo, time.Now()), Session: own.Name,
				}})
			var d CallDescription
			must(t, json.Unmarshal(body, &d))
			if resp.StatusCode != http.StatusCreated || (d.CallTag != 0) != tc.takes[media.Trunk] {
				t.Errorf("POST calls with a session: %d %s", resp.StatusCode, body)
			}
			<-p.acceptor.legs
			resp, _ = p.do(p.h3, exchange{method: "POST", url: d.URI, token: token, body: CallUpdate{Session: own.Name}})
			if (resp.StatusCode == http.StatusOK) != tc.takes[media.Trunk] {
				t.Errorf("POST call with a session: %d", resp.StatusCode)
			}
			resp, _ = p.do(p.h3, exchange{method: "PUT", url: d.URI + "/media/stripes/0", token: token, body: "",
				header: map[string]string{"Content-Type": media.ContentType, media.StripesHeader: "4"}})
			if (resp.StatusCode == http.StatusOK) != tc.takes[media.Striped] || !tc.takes[media.Striped] && resp.StatusCode != http.StatusNotImplemented {
				t.Errorf("a stripe: %d", resp.StatusCode)
			}
			sess, err := p.client.trunks["telco"].pool.Session(t.Context(), d.URI+"/media", testAuthority, http.Header{"Authorization": {"Bearer " + token}})
			if (err == nil) != tc.takes[media.WebTransport] {
				t.Errorf("WebTransport: %v", err)
			}
			if err == nil {
				_ = sess.CloseWithError(0, "")
			}
			resp, body = p.do(p.h3, exchange{method: "PUT", url: d.URI + "/media", token: token, body: "", header: map[string]string{"Content-Type": media.ContentType}})
			if resp.StatusCode != http.StatusNoContent {
				t.Errorf("put/get: %d %s", resp.StatusCode, body)
			}
		})
	}
}

// TestStripesBeyondTheStreamLimit: more calls on striped streams than fit on a
// connection of a balancer that allows a hundred requests, or fewer than our
// client thinks it may have. None of them waits for ever.
func TestStripesBeyondTheStreamLimit(t *testing.T) {
	t.Parallel()
	for name, streams := range map[string]int{"a hundred": 100, "forty": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pair{rig: newRig(t)}
			p.at = h3test.NewBalancer(t, h3test.Manners{Streams: streams}, p.cfg.Certificate, p.roots, p.server.Addr().String()).Addr()
			p.client = p.connect("striped")
			const calls = 12 // of ten requests each
			var outs, ins []bridge.Leg
			for range calls {
				out, in := p.dial()
				must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
				awaitKind(t, out, bridge.Answered)
				outs, ins = append(outs, out), append(ins, in)
			}
			for i, out := range outs {
				p.carriedBy(out, "striped")
				if i%4 == 0 {
					p.heard(out, ins[i])
				}
			}
			// Not all stripes of all calls are open in every moment.
			if conns, running := p.client.trunks["telco"].pool.Counts(); running <= streams || conns*streams < running {
				t.Errorf("%d requests on %d connections", running, conns)
			}
			for i, out := range outs {
				must(t, out.End(t.Context(), bridge.CauseNormal))
				if c := awaitEnded(t, ins[i]); c.Code != "normal" {
					t.Errorf("call %d: %v", i, c)
				}
			}
		})
	}
}

// TestTrunkSessionsAreCounted: those that are open, and the calls on them.
func TestTrunkSessionsAreCounted(t *testing.T) {
	t.Parallel()
	p := newPair(t, "trunk")
	state := func() TrunkState { return p.client.State().Trunks[0] }
	if s := state(); s.Sessions != 0 || s.Seated != 0 {
		t.Errorf("before the first call: %+v", s)
	}
	out, in := p.dial()
	p.carriedBy(out, "trunk-session")
	if s := state(); s.Sessions == 0 || s.Seated != 1 {
		t.Errorf("with a call: %d sessions, %d calls", s.Sessions, s.Seated)
	}
	must(t, in.End(t.Context(), bridge.CauseNormal))
	if c := awaitEnded(t, out); c.Code != "normal" {
		t.Errorf("the call ended for %v", c)
	}
	for deadline := time.Now().Add(testWait); state().Seated != 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after the call: %+v", state())
		}
	}
}
