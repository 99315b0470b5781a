package h3

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/bridge/store"
)

// TestTGsThatAreNotThere: what lies below a TG that is not ours is refused the
// same way whether the TG exists or not, and no path makes a handler stumble.
func TestTGsThatAreNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tokens := map[string]string{"of the root": r.token(testRoot), "of our TG": r.token(testTG)}
	for whose, token := range tokens {
		for _, tg := range []string{"elsewhere", "nowhere", "office%2Fx", "..%2Felsewhere", "%6fffice%2f"} {
			for _, x := range []exchange{
				{method: "GET", url: ""},
				{method: "POST", url: "/certs", body: "x"},
				{method: "POST", url: "/calls", body: CallRequest{Destination: testTo}},
				{method: "POST", url: "/handlers", body: Handler{HandlerID: "x", Advertisement: "1 in: PCMU; 1 out: PCMU;"}},
				{method: "GET", url: "/calls/" + uuid.NewString()},
				{method: "GET", url: "/calls/" + uuid.NewString() + "/events"},
				{method: "GET", url: "/handlers/" + uuid.NewString()},
			} {
				what := x.method + " " + tg + x.url + " with a token " + whose
				x.url = "https://ript.test" + pathTGPrefix + tg + x.url
				x.token, x.header = token, map[string]string{headerIdempotencyKey: uuid.NewString()}
				resp, body := r.do(r.h2, x)
				if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), "token-audience") {
					t.Errorf("%s: %d %.200s", what, resp.StatusCode, body)
				}
			}
		}
	}
	if resp, body := r.do(r.h3, exchange{method: "GET", url: strings.Replace(testTG, "/office", "/%6fffice", 1), token: tokens["of our TG"]}); resp.StatusCode != http.StatusOK {
		t.Errorf("our TG by another spelling: %d %s", resp.StatusCode, body)
	}
}

// TestHugeEndReasonIsCut: what a client says about its end is kept for an hour
// and goes into SIP messages.
func TestHugeEndReasonIsCut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	d, leg := r.place(r.h3, token)
	text := strings.Repeat("<\"\\r\\nX: y ", 600)
	done := make(chan bridge.Cause, 1)
	go func() {
		ev := <-leg.Events()
		ev.Stored()
		done <- ev.Cause
	}()
	resp, body := r.do(r.h3, exchange{method: "PUT", url: d.URI + "/events", token: token,
		body: []Event{{Type: eventEnd, Direction: clientToServer, Seq: 1, Reason: &Reason{Code: "normal", Text: text}}}})
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("end: %d %s", resp.StatusCode, body)
	}
	if c := <-done; len(c.Text) > maxReasonText {
		t.Errorf("the text has %d bytes", len(c.Text))
	}
	if _, body = r.do(r.h3, exchange{method: "GET", url: d.URI, token: token}); len(body) > 8<<10 {
		t.Errorf("the ended call has %d bytes", len(body))
	}
}

// TestPongOfAHugeNonce: a ping is answered only if the answer can be sent.
func TestPongOfAHugeNonce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	d, _ := r.place(r.h3, token)
	events := r.listen(r.h3, d.URI, token)
	events.next(eventProceeding)
	resp, body := r.do(r.h3, exchange{method: "PUT", url: d.URI + "/events", token: token, body: []Event{
		{Type: eventPing, Seq: 1, Nonce: strings.Repeat("<", maxNonce+1)},
		{Type: eventPing, Seq: 2, Nonce: strings.Repeat("<", maxNonce)},
	}})
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("ping: %d %s", resp.StatusCode, body)
	}
	if ev := events.next(eventPong); len(ev.Nonce) != maxNonce {
		t.Errorf("pong with a nonce of %d bytes", len(ev.Nonce))
	}
}

// TestPaceOfOneClient: one client's flood of calls and certificate requests is
// not refused to another.
func TestPaceOfOneClient(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *ServerConfig) { c.Limits.CallsPerSecond = 2 })
	token := r.token(testTG)
	other := "https://ript.test" + pathTGPrefix + "elsewhere"
	status, out := r.askToken(tokenForm(assertion(t, r.other, "other", uuid.NewString(), nil), other, scopeCall))
	theirs, _ := out["access_token"].(string)
	if theirs == "" {
		t.Fatalf("token of the other client: %d %v", status, out)
	}
	post := func(tg, token, what string, body any) int {
		resp, _ := r.do(r.h3, exchange{method: "POST", url: tg + what, token: token, body: body,
			header: map[string]string{headerIdempotencyKey: uuid.NewString()}})
		return resp.StatusCode
	}
	for what, burst := range map[string]int{"/calls": 2, "/certs": enrolBurst} {
		refused := 0
		for range burst + 10 {
			if post(testTG, token, what, CallRequest{}) == http.StatusTooManyRequests {
				refused++
			}
		}
		if refused == 0 {
			t.Errorf("POST %s is not limited", what)
		}
		if got := post(other, theirs, what, CallRequest{}); got == http.StatusTooManyRequests {
			t.Errorf("POST %s of another client is refused", what)
		}
	}
	keys, err := r.store.Keys(t.Context(), store.Idempotency)
	if err != nil || len(keys) > 0 {
		t.Errorf("%d keys are kept for refused calls, %v", len(keys), err)
	}
}
