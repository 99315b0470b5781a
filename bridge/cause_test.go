package bridge

import (
	"errors"
	"fmt"
	"testing"
)

// TestCauseSIP goes through the mapping SIP -> cause -> Q.850, RIPT event and
// HTTP status, row by row, as RFC 3398 section 8.2.6.1 and 20-protocol item 48
// want it.
func TestCauseSIP(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sip   int
		code  Code
		q850  int
		event string
		http  int
	}{
		{300, "moved", 23, "failed", 404},
		{302, "moved", 23, "failed", 404},
		{400, "bad-request", 41, "failed", 400},
		{401, "auth-required", 21, "failed", 403},
		{403, "forbidden", 21, "declined", 403},
		{404, "not-found", 1, "failed", 404},
		{405, "bad-request", 41, "failed", 400},
		{407, "auth-required", 21, "failed", 403},
		{408, "no-response", 18, "noanswer", 504},
		{410, "number-changed", 22, "failed", 404},
		{415, "media-type-unsupported", 79, "failed", 415},
		{420, "extension-required", 127, "failed", 400},
		{428, "identity-missing", 21, "failed", 400},
		{433, "identity-anonymous", 21, "failed", 403},
		{436, "identity-info-unavailable", 21, "failed", 424},
		{437, "identity-credential-unsupported", 21, "failed", 403},
		{438, "identity-invalid", 21, "failed", 403},
		{480, "no-answer", 19, "noanswer", 504},
		{481, "bad-request", 41, "failed", 400},
		{482, "loop", 25, "failed", 508},
		{483, "too-many-hops", 25, "failed", 508},
		{484, "number-incomplete", 28, "failed", 422},
		{485, "number-ambiguous", 1, "failed", 422},
		{486, "busy", 17, "declined", 409},
		{487, "cancelled", 16, "end", 410},
		{488, "media-incompatible", 65, "failed", 422},
		{500, "internal", 41, "failed", 500},
		{501, "not-implemented", 79, "failed", 501},
		{502, "peer-error", 38, "failed", 502},
		{503, "unreachable", 38, "failed", 503},
		{504, "peer-timeout", 102, "failed", 504},
		{580, "peer-error", 38, "failed", 502},
		{600, "busy-everywhere", 17, "declined", 409},
		{603, "declined", 21, "declined", 403},
		{604, "does-not-exist", 1, "failed", 404},
		{606, "not-acceptable", 65, "failed", 422},
		{607, "unwanted", 21, "declined", 403},
		{608, "rejected", 21, "declined", 403},
		{699, "declined", 21, "declined", 403},
	} {
		c := CauseFromSIP(tc.sip, 0)
		if c.Code != tc.code || c.Q850Cause() != tc.q850 || c.RIPTEvent(false) != tc.event || c.HTTPStatus() != tc.http {
			t.Errorf("%d: %s q850=%d event=%s http=%d, want %+v", tc.sip, c.Code, c.Q850Cause(), c.RIPTEvent(false), c.HTTPStatus(), tc)
		}
		if status, phrase := c.SIPStatus(); status != tc.sip || phrase == "" {
			t.Errorf("%d came back as %d %q", tc.sip, status, phrase)
		}
		if c.RIPTEvent(true) != "end" {
			t.Errorf("%d after the answer is %s", tc.sip, c.RIPTEvent(true))
		}
	}
}

// TestCauseRoundTrip sends every cause over RIPT, as event and as problem, and
// wants to find code, SIP status and Q.850 value again.
func TestCauseRoundTrip(t *testing.T) {
	t.Parallel()
	for _, row := range causeTable {
		c := Cause{Code: row.code}
		status, _ := c.SIPStatus()
		for _, back := range []Cause{
			CauseFromRIPT(c.RIPTEvent(false), c.Code, 0, status, c.Q850Cause()),
			CauseFromRIPT("", c.Code, c.HTTPStatus(), status, c.Q850Cause()),
		} {
			s, _ := back.SIPStatus()
			if back.Code != row.code || s != row.sip || back.Q850Cause() != row.q850 {
				t.Errorf("%s came back as %s, SIP %d, Q.850 %d", row.code, back.Code, s, back.Q850Cause())
			}
		}
	}
}

func TestCauseTableIsWhole(t *testing.T) {
	t.Parallel()
	seen := map[Code]bool{}
	for _, row := range causeTable {
		if seen[row.code] {
			t.Errorf("%s stands twice", row.code)
		}
		seen[row.code] = true
		if row.sip < 300 || row.sip > 699 || row.q850 < 1 || row.q850 > 127 || row.http < 400 || row.http > 599 || row.text == "" {
			t.Errorf("%s is incomplete: %+v", row.code, row)
		}
		switch row.event {
		case eventEnd, eventDeclined, eventNoAnswer, eventFailed:
		default:
			t.Errorf("%s has event %q", row.code, row.event)
		}
	}
}

func TestCauseFromRIPT(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		event     string
		code      Code
		http, sip int
		q850      int
		want      Code
	}{
		{"declined", "busy", 0, 486, 17, "busy"},
		{"declined", "", 0, 0, 0, "declined"},
		{"declined", "never-heard-of", 0, 486, 0, "busy"},
		{"noanswer", "", 0, 0, 0, "no-answer"},
		{"failed", "", 0, 0, 0, "peer-error"},
		{"failed", "", 0, 404, 0, "not-found"},
		{"end", "", 0, 0, 0, "normal"},
		{"ended", "", 0, 0, 0, "normal"},
		{"", "", 401, 0, 0, "token-invalid"},
		{"", "", 403, 0, 0, "forbidden"},
		{"", "", 404, 0, 0, "not-found"},
		{"", "", 425, 0, 0, "overloaded"},
		{"", "", 429, 0, 0, "overloaded"},
		{"", "", 503, 0, 0, "overloaded"},
		{"", "", 504, 0, 0, "peer-timeout"},
		{"", "", 500, 0, 0, "peer-error"},
		{"", "", 400, 0, 0, "bad-request"},
		{"", "identity-stale", 403, 403, 21, "identity-stale"},
	} {
		if got := CauseFromRIPT(tc.event, tc.code, tc.http, tc.sip, tc.q850); got.Code != tc.want {
			t.Errorf("%+v gave %s", tc, got.Code)
		}
	}
}

func TestCauseFromQ850(t *testing.T) {
	t.Parallel()
	for q850, want := range map[int]Code{0: "normal", 16: "normal", 31: "normal", 17: "busy", 19: "no-answer", 1: "not-found", 99: "normal"} {
		if c := CauseFromSIP(0, q850); c.Code != want || (q850 > 0 && c.Q850Cause() != q850) {
			t.Errorf("Q.850 %d gave %s, %d", q850, c.Code, c.Q850Cause())
		}
	}
}

func TestCauseOf(t *testing.T) {
	t.Parallel()
	wrapped := fmt.Errorf("dial trunk %q: %w", "telco", CauseUnreachable.With("connection refused"))
	c := CauseOf(wrapped)
	if c.Code != "unreachable" || c.Text != `dial trunk "telco": unreachable: connection refused` {
		t.Errorf("cause of %v is %s %q", wrapped, c.Code, c.Text)
	}
	if !errors.Is(wrapped, CauseUnreachable) || errors.Is(wrapped, CauseBusy) {
		t.Error("errors.Is does not compare codes")
	}
	if c := CauseOf(errors.New("disk on fire")); c.Code != "internal" || c.Text != "disk on fire" {
		t.Errorf("foreign error became %s %q", c.Code, c.Text)
	}
	if c := CauseOf(nil); c.Code != "normal" {
		t.Errorf("nil became %s", c.Code)
	}
	if s, _ := (Cause{Code: "no such code"}).SIPStatus(); s != 500 {
		t.Errorf("unknown code gave %d", s)
	}
}
