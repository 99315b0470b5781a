package h3

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/bridge/store"
	"riptide/policy/stir"
)

// TestRefusals is the list of what POST calls refuses, and with which problem.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	handler := r.register(token, testTG)
	now := time.Now()
	foreign := r.newSigner(newTestCA(t, "nobody's CA"), "+1202555010x")
	outside, err := foreign.Sign(stir.Call{From: testFrom, To: testTo}, "A", uuid.NewString(), now)
	must(t, err)
	farAway := r.newSigner(r.cfg.CA, "+13035550100") // a certificate the TG's client should not have
	notOurs, err := farAway.Sign(stir.Call{From: "+13035550100", To: testTo}, "A", uuid.NewString(), now)
	must(t, err)
	good := func() string { return r.passport(testFrom, testTo, now) }
	forged := good()
	forged = forged[:strings.LastIndexByte(forged, '.')+1] + strings.Repeat("A", 86)
	used := good()
	zero, one := 0, 1
	tests := []struct {
		name   string
		req    CallRequest
		status int
		code   string
	}{
		{"no PASSporT", CallRequest{Handler: handler, Destination: testTo}, 400, "identity-missing"},
		{"rubbish for a PASSporT", CallRequest{Handler: handler, Destination: testTo, Passport: "rubbish"}, 403, "identity-invalid"},
		{"forged signature", CallRequest{Handler: handler, Destination: testTo, Passport: forged}, 403, "identity-invalid"},
		{"stale", CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, now.Add(-2*time.Minute))}, 403, "identity-stale"},
		{"from the future", CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, now.Add(2*time.Minute))}, 403, "identity-stale"},
		{"for another callee", CallRequest{Handler: handler, Destination: "+12025550142", Passport: good()}, 403, "identity-mismatch"},
		{"unknown CA", CallRequest{Handler: handler, Destination: testTo, Passport: outside}, 403, "identity-credential-unsupported"},
		{"number outside the TG's origins", CallRequest{Handler: handler, Destination: testTo, Passport: notOurs}, 403, "identity-number-not-covered"},
		{"good", CallRequest{Handler: handler, Destination: testTo, Passport: used}, 201, ""},
		{"used before", CallRequest{Handler: handler, Destination: testTo, Passport: used}, 403, "identity-replayed"},
		{"destination outside the TG", CallRequest{Handler: handler, Destination: "+13035550100", Passport: good()}, 403, "destination-forbidden"},
		{"no number", CallRequest{Handler: handler, Destination: "12025550199", Passport: good()}, 400, "bad-request"},
		{"no destination", CallRequest{Handler: handler, Passport: good()}, 400, "bad-request"},
		{"no handler", CallRequest{Destination: testTo, Passport: good()}, 500, "handler-not-registered"},
		{"unknown handler", CallRequest{Handler: testTG + "/handlers/" + uuid.NewString(), Destination: testTo, Passport: good()}, 500, "handler-not-registered"},
		{"handler of another server", CallRequest{Handler: "https://evil.test/handlers/1", Destination: testTo, Passport: good()}, 500, "handler-not-registered"},
		{"no hops left", CallRequest{Handler: handler, Destination: testTo, Passport: good(), Hops: &zero}, 508, "too-many-hops"},
		{"one hop left", CallRequest{Handler: handler, Destination: testTo, Passport: good(), Hops: &one}, 201, ""},
	}
	for _, tc := range tests {
		resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token, body: tc.req,
			header: map[string]string{headerIdempotencyKey: uuid.NewString()}})
		if tc.status == 201 {
			if resp.StatusCode != 201 {
				t.Errorf("%s: %d %s", tc.name, resp.StatusCode, body)
			}
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			expectProblem(t, resp, body, tc.status, "/problems/"+tc.code)
			if tc.req.Passport != "" && strings.Contains(string(body), tc.req.Passport) {
				t.Error("the PASSporT is repeated in the error")
			}
		})
	}
	if n := len(r.acceptor.legs); n != 2 {
		t.Errorf("the bridge saw %d calls, want 2", n)
	}
	if st := r.server.State(); st.Placed != 2 || st.Refused["identity-stale"] != 2 || st.Refused["destination-forbidden"] != 1 {
		t.Errorf("state %+v", st)
	}
}

// A certificate that does not cover the number: the signer itself refuses, so
// the PASSporT is made with a wider one, whose place a narrower one with the
// same key takes before the server looks.
func TestNumberOutsideCertificate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	key := newKey(t)
	wide, x5u := r.enrol(r.cfg.CA, key, "+120255501xx")
	passport, err := wide.Sign(stir.Call{From: "+12025550155", To: testTo}, "A", uuid.NewString(), time.Now())
	must(t, err)
	_, narrow := r.enrol(r.cfg.CA, key, "+1202555010x")
	entry, err := r.store.Get(t.Context(), store.Certificates, narrow)
	must(t, err)
	_, err = r.store.Put(t.Context(), store.Certificates, x5u, entry.Value)
	must(t, err)
	resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
		header: map[string]string{headerIdempotencyKey: uuid.NewString()},
		body:   CallRequest{Handler: r.register(token, testTG), Destination: testTo, Passport: passport}})
	expectProblem(t, resp, body, 403, "/problems/identity-number-not-covered")
}

// TestBridgeRefuses turns the bridge's cause into the problem.
func TestBridgeRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	handler := r.register(token, testTG)
	for _, c := range []bridge.Cause{
		bridge.CauseNoRoute, bridge.CauseShuttingDown, bridge.CauseForbidden, bridge.CauseStore,
		{Code: "overloaded", RetryAfter: 7 * time.Second},
	} {
		r.acceptor.set(func(context.Context, bridge.Leg) error { return c.With("because") })
		resp, body := r.do(r.h2, exchange{method: "POST", url: testTG + "/calls", token: token,
			header: map[string]string{headerIdempotencyKey: uuid.NewString()},
			body:   CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
		expectProblem(t, resp, body, c.HTTPStatus(), "/problems/"+string(c.Code))
		if c.RetryAfter != 0 && resp.Header.Get("Retry-After") != "7" {
			t.Errorf("Retry-After %q, want 7", resp.Header.Get("Retry-After"))
		}
	}
	if n := r.server.calls.count(); n != 0 {
		t.Errorf("%d calls are left", n)
	}
}

// TestPlacedCall checks what both sides of a new call are told.
func TestPlacedCall(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	d, leg := r.place(r.h2, r.token(testTG))
	if id, ok := strings.CutPrefix(d.URI, testTG+"/calls/"); !ok || uuid.Validate(id) != nil {
		t.Errorf("call URI %q holds no UUID", d.URI)
	}
	if d.From != testFrom || d.To != testTo || d.State != eventProceeding || d.Direction != "outbound" || d.Created.IsZero() {
		t.Errorf("description %+v", d)
	}
	if want := "1 to 1: PCMA; telephone-event; CN;"; d.ClientDirectives != want || d.ServerDirectives != want {
		t.Errorf("directives %q and %q, want %q", d.ClientDirectives, d.ServerDirectives, want)
	}
	info := leg.Info()
	if info.From != testFrom || info.To != testTo || info.Trunk != "office" || info.Protocol != "ript" || info.ID != d.URI || info.Hops != bridge.DefaultHops {
		t.Errorf("leg info %+v", info)
	}
	if info.Identity.Verdict.Status != stir.Valid || info.Identity.Verdict.Attestation != "A" || info.Identity.Passport == "" {
		t.Errorf("identity %+v", info.Identity.Verdict)
	}
	if m := info.Media; !slices.Equal(m.Speech, []bridge.Codec{bridge.PCMA, bridge.PCMU}) || !m.Digits || !m.ComfortNoise {
		t.Errorf("media %+v", m)
	}
	var state serverLegState
	rec := leg.Record()
	must(t, json.Unmarshal(rec.State, &state))
	if rec.ID != d.URI || !rec.Incoming || state.Version != serverLegStateVersion || state.Client != testClient || state.Handler != d.Handler || state.SeqOut != 1 {
		t.Errorf("record %+v, state %+v", rec, state)
	}
}

// TestIdempotency replays the 201 and refuses what is not the same request.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	handler := r.register(token, testTG)
	key := uuid.NewString()
	req := CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}
	post := func(key string, body any) (*http.Response, []byte) {
		x := exchange{method: "POST", url: testTG + "/calls", token: token, body: body, header: map[string]string{}}
		if key != "" {
			x.header[headerIdempotencyKey] = key
		}
		return r.do(r.h3, x)
	}
	resp, body := post("", req)
	expectProblem(t, resp, body, 400, "/problems/bad-request")
	resp, body = post(strings.Repeat("k", maxIdempotencyKey+1), req)
	expectProblem(t, resp, body, 400, "/problems/bad-request")

	// The bridge is asked while a second request with the key arrives.
	entered, leave := make(chan struct{}), make(chan struct{})
	r.acceptor.set(func(context.Context, bridge.Leg) error {
		close(entered)
		<-leave
		return nil
	})
	first := make(chan string, 1)
	go func() {
		resp, _ := post(key, req)
		first <- resp.Header.Get("Location")
	}()
	<-entered
	resp, body = post(key, req)
	expectProblem(t, resp, body, 409, "about:blank")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("409 without Retry-After")
	}
	resp, body = post(key, CallRequest{Handler: handler, Destination: testTo})
	expectProblem(t, resp, body, 422, "/problems/idempotency-key-reused")
	close(leave)
	location := <-first
	if location == "" {
		t.Fatal("the first request placed no call")
	}
	resp, body = post(key, req)
	if resp.StatusCode != 201 || resp.Header.Get("Location") != location {
		t.Errorf("replay: %d, Location %q, want %q: %s", resp.StatusCode, resp.Header.Get("Location"), location, body)
	}
	resp, body = post(key, CallRequest{Handler: handler, Destination: testTo})
	expectProblem(t, resp, body, 422, "/problems/idempotency-key-reused")
	if n := len(r.acceptor.legs); n != 1 {
		t.Errorf("%d calls were placed, want 1", n)
	}

	// A refused request gives its key free.
	r.acceptor.set(func(context.Context, bridge.Leg) error { return bridge.CauseOverloaded })
	key = uuid.NewString()
	resp, body = post(key, CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())})
	expectProblem(t, resp, body, 503, "/problems/overloaded")
	r.acceptor.set(nil)
	resp, body = post(key, CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())})
	if resp.StatusCode != 201 {
		t.Errorf("after a refusal: %d %s", resp.StatusCode, body)
	}
}

// TestStoreDown refuses calls that could not be made safe.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	st := &fragileStore{Store: store.NewMemory()}
	r := newRig(t, func(c *ServerConfig) { c.Store = st })
	token := r.token(testTG)
	handler := r.register(token, testTG)
	st.broken.Store(true)
	resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
		header: map[string]string{headerIdempotencyKey: uuid.NewString()},
		body:   CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
	expectProblem(t, resp, body, 503, "/problems/store-unavailable")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	resp, body = r.do(r.h3, exchange{method: "POST", url: testTG + "/handlers", token: token, body: Handler{HandlerID: "2", Advertisement: "1 in: PCMU;"}})
	expectProblem(t, resp, body, 503, "/problems/store-unavailable")
	if strings.Contains(string(body), errStoreDown.Error()) {
		t.Error("our own trouble is told to the client")
	}
}

// TestCallLimits refuses past the limits, with a hint when to come back.
func TestCallLimits(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.Limits.Calls = 1 })
	token := r.token(testTG)
	_, leg := r.place(r.h3, token)
	handler := r.register(token, testTG)
	post := func() (*http.Response, []byte) {
		return r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
			header: map[string]string{headerIdempotencyKey: uuid.NewString()},
			body:   CallRequest{Handler: handler, Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
	}
	resp, body := post()
	expectProblem(t, resp, body, 503, "/problems/overloaded")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	must(t, leg.End(t.Context(), bridge.CauseNormal))
	if resp, body := post(); resp.StatusCode != 201 {
		t.Errorf("after the call has ended: %d %s", resp.StatusCode, body)
	}

	slow := newRig(t, func(c *ServerConfig) { c.Limits.CallsPerSecond = 0.001 })
	token = slow.token(testTG)
	slow.place(slow.h3, token)
	resp, body = slow.do(slow.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
		header: map[string]string{headerIdempotencyKey: uuid.NewString()},
		body:   CallRequest{Handler: slow.register(token, testTG), Destination: testTo, Passport: slow.passport(testFrom, testTo, time.Now())}})
	expectProblem(t, resp, body, 429, "/problems/rate-limited")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
}

// TestCallBodies are bodies that are none, at the limit, and past it.
func TestCallBodies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	handler := r.register(token, testTG)
	post := func(body string) (*http.Response, []byte) {
		return r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token, body: body,
			header: map[string]string{headerIdempotencyKey: uuid.NewString()}})
	}
	secret := "eyJhbGciOiJFUzI1NiJ9.secret"
	for _, bad := range []string{``, `{`, `[]`, `"x"`, `null`, `{"destination":{"x":"` + secret + `"}}`, `{"hops":"` + secret + `"}`, `{"passport":["` + secret + `"]}`} {
		resp, body := post(bad)
		if resp.StatusCode != 400 && resp.StatusCode != 500 { // 500: handler-not-registered, of null
			t.Errorf("%q: %d %s", bad, resp.StatusCode, body)
		}
		if strings.Contains(string(body), "secret") {
			t.Errorf("%q: the value is repeated: %s", bad, body)
		}
	}
	full, err := json.Marshal(map[string]any{
		"handler": handler, "destination": testTo, "passport": r.passport(testFrom, testTo, time.Now()),
		"hops": 3, "something-new": map[string]any{"a": 1}, "pad": "",
	})
	must(t, err)
	pad := strings.Repeat("x", maxBody-len(full))
	at := strings.Replace(string(full), `"pad":""`, `"pad":"`+pad+`"`, 1)
	resp, body := post(strings.Replace(at, pad, pad+"x", 1))
	expectProblem(t, resp, body, 413, "about:blank")
	if resp, body := post(at); resp.StatusCode != 201 {
		t.Fatalf("%d bytes with unknown members: %d %s", len(at), resp.StatusCode, body)
	}
	leg := <-r.acceptor.legs
	if leg.Info().Hops != 3 {
		t.Errorf("hops %d, want 3", leg.Info().Hops)
	}
}

// TestMediaIncompatible refuses a handler that shares no codec with us.
func TestMediaIncompatible(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	resp, _ := r.do(r.h3, exchange{method: "POST", url: testTG + "/handlers", token: token, body: Handler{HandlerID: "odd", Advertisement: "1 in: wonder9;\n1 out: wonder9;"}})
	resp, body := r.do(r.h3, exchange{method: "POST", url: testTG + "/calls", token: token,
		header: map[string]string{headerIdempotencyKey: uuid.NewString()},
		body:   CallRequest{Handler: resp.Header.Get("Location"), Destination: testTo, Passport: r.passport(testFrom, testTo, time.Now())}})
	expectProblem(t, resp, body, 422, "/problems/media-incompatible")
}

// TestConfigMistakes are all reported.
func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	_, err := NewServer(ServerConfig{Authority: "https://x/", TGs: []TGConfig{{Name: "a b", ClientID: "nobody", Media: []string{"webtransport"}}}})
	if err == nil {
		t.Fatal("a configuration of mistakes was accepted")
	}
	for _, want := range []string{"acceptor", "certificate", "authority", `"a b"`, `"nobody"`, "put-get"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not mentioned in: %v", want, err)
		}
	}
	if errors.Unwrap(err) == nil {
		t.Error("the reason is not wrapped")
	}
}

// FuzzCSR: certificate requests in every dress.
func FuzzCSR(f *testing.F) {
	f.Add("application/json", []byte(`{"csr":"MIIB"}`))
	f.Add("application/json", []byte(`{"csr":"-----BEGIN X-----\nAA==\n-----END X-----"}`))
	f.Add("application/pkcs10", []byte("0"))
	f.Add("text/plain; charset=x", []byte("-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, contentType string, raw []byte) {
		if out, err := parseCSR(contentType, raw); err == nil && len(out) > len(raw) {
			t.Errorf("%d bytes came of %d", len(out), len(raw))
		}
	})
}
