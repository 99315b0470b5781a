package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// badHTTP sends requests that are too big, too deep, or not what they say.
func badHTTP(t *testing.T, c *riptClient) {
	token := c.token(c.tg)
	big := strings.Repeat("x", 1<<20)
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	for _, tc := range []struct {
		name, method, path, kind, body string
		status                         int
	}{
		{"call: body of 1 MiB", "POST", "/calls", "application/json", `{"handler":"` + big + `"}`, 413},
		{"call: JSON 20000 deep", "POST", "/calls", "application/json", deep, 413},
		{"call: JSON 10000 deep", "POST", "/calls", "application/json", strings.Repeat("[", 10000) + strings.Repeat("]", 10000), 400},
		{"call: no JSON", "POST", "/calls", "application/json", "}{", 400},
		{"call: another type", "POST", "/calls", "application/json", `{"handler":7}`, 400},
		{"call: empty", "POST", "/calls", "application/json", "", 400},
		{"handler: no JSON", "POST", "/handlers", "application/json", "\x00\xff", 400},
		{"handler: absurd advertisement", "POST", "/handlers", "application/json", `{"handler-id":"x","advertisement":"` + strings.Repeat("1 in: PCMU;", 3000) + `"}`, 400},
		{"certificate: no CSR", "POST", "/certs", "application/pkcs10", "garbage", 400},
		{"certificate: 1 MiB", "POST", "/certs", "application/pkcs10", big, 413},
		{"a call that is not", "GET", "/calls/none", "", "", 404},
		{"events of a call that is not", "GET", "/calls/none/events", "", "", 404},
		{"no such method", "DELETE", "/calls", "", "", 405},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var body any = tc.body
			if tc.body == "" && tc.method != "POST" {
				body = nil
			}
			a, err := c.try(tc.method, c.tg+tc.path, token, tc.kind, body, "Idempotency-Key", `"`+tc.name+`"`)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != tc.status || a.header.Get("Content-Type") != "application/problem+json" || bytes.Contains(a.body, []byte("xxxx")) || len(a.body) > 1000 {
				t.Errorf("%d %s %.300s, want %d", a.status, a.header.Get("Content-Type"), a.body, tc.status)
			}
		})
	}
	t.Run("header fields of 100 KiB", func(t *testing.T) {
		a, err := c.try(http.MethodGet, c.tg, token, "", nil, "X-Big", strings.Repeat("x", 100<<10))
		if err == nil && a.status/100 != 4 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("token of 30 KiB", func(t *testing.T) {
		if a, err := c.try(http.MethodGet, c.tg, strings.Repeat("x", 30<<10), "", nil); err != nil || a.status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%d %s %v", a.status, a.body, err)
		}
	})
	t.Run("and the next request is served", func(t *testing.T) {
		if a := c.do(http.MethodGet, c.tg, token, "", nil); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

// badCall has a call of its own, and sends it what is neither events nor chunks.
func badCall(t *testing.T, n node, c *riptClient) {
	token := c.token(c.tg)
	a := c.call(token, c.enrol("+1202555xxxx").sign(officeNumber, telcoNumber, time.Now()), telcoNumber)
	if a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	call := a.header.Get("Location")
	// It lives, whatever comes, until it is asked to end.
	var d struct{ State string }
	answered := func() {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); d.State != "answered"; time.Sleep(20 * time.Millisecond) {
			if c.get(call, c.tg, &d); time.Now().After(deadline) {
				t.Fatalf("the call is %s", d.State)
			}
		}
		d.State = ""
	}
	answered()
	before := n.metrics(t)
	event := func(kind string, seq int) map[string]any {
		return map[string]any{"type": kind, "direction": "c2s", "call": call, "seq": seq, "timestamp": time.Now().UTC()}
	}
	for _, tc := range []struct {
		name, path, kind string
		body             any
		status           int
	}{
		{"events: no JSON", "/events", "application/json", "garbage", 400},
		{"events: an object", "/events", "application/json", "{}", 400},
		{"events: not closed", "/events", "application/json", `[{"type":`, 400},
		{"events: one of 100 KiB", "/events", "application/json", `[{"type":"` + strings.Repeat("x", 100<<10) + `"}]`, 413},
		{"events: of no type, nested 2000 deep, are ignored", "/events", "application/json", "[" + strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000) + "]", 204},
		{"events: numbers for words", "/events", "application/json", `[{"type":7}]`, 400},
		{"events: unknown ones are ignored", "/events", "application/json", []any{event("knock-knock", 1)}, 204},
		{"media: noise", "/media", "application/octet-stream", bytes.Repeat([]byte{0xff, 0x00, 0x7f}, 400), 400},
		{"media: cut off", "/media", "application/octet-stream", []byte{0x40, 0x80, 1, 1}, 400},
		{"media: 300 KiB", "/media", "application/octet-stream", make([]byte, 300<<10), 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := c.try(http.MethodPut, call+tc.path, token, tc.kind, tc.body)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != tc.status || len(a.body) > 1000 {
				t.Errorf("%d %.300s, want %d", a.status, a.body, tc.status)
			}
			if tc.status >= 400 && a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("Content-Type %q", a.header.Get("Content-Type"))
			}
		})
	}
	awaitCount(t, n, before, 2, "riptide_ript_unknown_events_total")
	awaitCount(t, n, before, 1, "riptide_ript_byways_cut_total")
	if a := c.do(http.MethodDelete, call, token, "", nil); a.status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: %d %s", a.status, a.body)
	}
	answered()
	end, err := json.Marshal([]any{event("end", 2)})
	if err != nil {
		t.Fatal(err)
	}
	if a := c.do(http.MethodPut, call+"/events", token, "application/json", end); a.status/100 != 2 {
		t.Errorf("end: %d %s", a.status, a.body)
	}
}
