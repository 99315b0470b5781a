package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
	"riptide/bridge/store"
	"riptide/policy/stir"
)

func newServer(t *testing.T, src Sources) *Server {
	t.Helper()
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler), Version: "1.2.3", Sources: src})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func start(t *testing.T, s *Server) string {
	t.Helper()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// scrape is GET /metrics without a network.
func scrape(s *Server) string {
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func TestPages(t *testing.T) {
	t.Parallel()
	var notReady error
	s := newServer(t, Sources{Ready: func() error { return notReady }})
	base := start(t, s)
	for _, tc := range []struct {
		path     string
		notReady error
		status   int
		body     string
	}{
		{"/healthz", nil, 200, "ok\n"},
		{"/healthz", errors.New("draining"), 200, "ok\n"},
		{"/readyz", nil, 200, "ready\n"},
		{"/readyz", errors.New("draining"), 503, "not ready: draining\n"},
		{"/", nil, 404, "404 page not found\n"},
		{"/debug/pprof/", nil, 404, "404 page not found\n"},
	} {
		notReady = tc.notReady
		if status, body := get(t, base+tc.path); status != tc.status || body != tc.body {
			t.Errorf("%s: %d %q", tc.path, status, body)
		}
	}
	resp, err := http.Post(base+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /metrics: %d", resp.StatusCode)
	}
}

func TestLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "192.0.2.1:9090", "[::]:0"} {
		if _, err := New(Config{Listen: netip.MustParseAddrPort(addr), Logger: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("%s was taken", addr)
		}
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	first := newServer(t, Sources{})
	start(t, first)
	second, err := New(Config{Listen: first.Addr(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "key admin") {
		t.Errorf("got %v", err)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newServer(t, Sources{
		ActiveCalls: func() int { return 3 },
		SIP: func() SIPCounts {
			return SIPCounts{Strangers: 6, Malformed: 7, Stray: 8, Full: 9, Refused: 10, Unsent: 11}
		},
		RIPT: func() RIPTCounts {
			return RIPTCounts{Refused: map[bridge.Code]uint64{"token-missing": 8, "identity-stale": 9}, Replayed: 1, Events: 2, Byways: 3, Strangers: 4,
				Reopened: map[string]uint64{"telco": 5}, Sessions: map[string]uint64{"telco": 2}, Seated: map[string]uint64{"telco": 17}}
		},
	})
	began := time.Unix(1000, 0)
	s.Ended(bridge.Summary{ProtoA: "sip", ProtoB: "ript", Cause: bridge.Cause{Code: "normal"},
		Created: began, Answered: began.Add(200 * time.Millisecond), Ended: began.Add(10200 * time.Millisecond),
		A:      bridge.MediaStats{Received: 500, Lost: 1, Duplicate: 2, Foreign: 3, Malformed: 4, UnknownPayload: 5, Unheard: 6, Sent: 499, SendDropped: 7, PeerLost: 8},
		B:      bridge.MediaStats{Received: 499, Sent: 500},
		Passed: 990, Dropped: 1, Converted: 2, Noise: 3})
	s.Ended(bridge.Summary{ProtoA: "sip", Cause: bridge.Cause{Code: "busy"}})
	_, body := get(t, start(t, s)+"/metrics")
	for _, line := range []string{
		`riptide_build_info{goversion="go`,
		`version="1.2.3"} 1`,
		`riptide_calls_active 3`,
		`riptide_calls_total{cause="normal",from="sip",to="ript"} 1`,
		`riptide_calls_total{cause="busy",from="sip",to="none"} 1`,
		`riptide_call_setup_seconds_bucket{from="sip",to="ript",le="0.1"} 0`,
		`riptide_call_setup_seconds_bucket{from="sip",to="ript",le="0.25"} 1`,
		`riptide_call_talk_seconds_total 10`,
		`riptide_media_received_packets_total{protocol="sip"} 500`,
		`riptide_media_received_packets_total{protocol="ript"} 499`,
		`riptide_media_lost_packets_total{protocol="sip"} 1`,
		`riptide_media_sent_packets_total{protocol="ript"} 500`,
		`riptide_media_peer_lost_packets_total{protocol="sip"} 8`,
		`riptide_media_dropped_packets_total{protocol="sip",reason="duplicate"} 2`,
		`riptide_media_dropped_packets_total{protocol="sip",reason="foreign"} 3`,
		`riptide_media_dropped_packets_total{protocol="sip",reason="malformed"} 4`,
		`riptide_media_dropped_packets_total{protocol="sip",reason="unknown-payload"} 5`,
		`riptide_media_dropped_packets_total{protocol="sip",reason="unheard"} 6`,
		`riptide_media_dropped_packets_total{protocol="sip",reason="not-sent"} 7`,
		`riptide_media_frames_total{done="passed"} 990`,
		`riptide_media_frames_total{done="converted"} 2`,
		`riptide_sip_dropped_total{reason="stranger"} 6`,
		`riptide_sip_dropped_total{reason="malformed"} 7`,
		`riptide_sip_dropped_total{reason="stray"} 8`,
		`riptide_sip_dropped_total{reason="full"} 9`,
		`riptide_sip_dropped_total{reason="connection"} 10`,
		`riptide_sip_unsent_total 11`,
		`riptide_ript_refused_total{cause="token-missing"} 8`,
		`riptide_ript_refused_total{cause="identity-stale"} 9`,
		`riptide_ript_replayed_total 1`,
		`riptide_ript_unknown_events_total 2`,
		`riptide_ript_byways_cut_total 3`,
		`riptide_ript_strangers_cut_total 4`,
		`riptide_ript_byways_reopened_total{trunk="telco"} 5`,
		"# TYPE riptide_ript_trunk_sessions gauge",
		`riptide_ript_trunk_sessions{trunk="telco"} 2`,
		`riptide_ript_trunk_session_calls{trunk="telco"} 17`,
		`go_goroutines `,
		`process_open_fds `,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

// TestCausesAreBounded: a label's values never grow with what peers send.
func TestCausesAreBounded(t *testing.T) {
	s := newServer(t, Sources{})
	for i := range 10 * maxCauses {
		s.Ended(bridge.Summary{ProtoA: fmt.Sprint("proto", i), Cause: bridge.Cause{Code: bridge.Code(fmt.Sprint("code", i))}})
	}
	if n := strings.Count(scrape(s), "\nriptide_calls_total{"); n > maxCauses+1 {
		t.Errorf("%d series", n)
	}
}

func TestCount(t *testing.T) {
	s := newServer(t, Sources{})
	refuse := refusing{bridge.Cause{Code: "no-route"}}
	for _, status := range []stir.Status{stir.NotVerified, stir.Valid, stir.Valid} {
		leg := bridgetest.NewLeg(bridge.LegInfo{Protocol: "ript", Identity: bridge.Identity{Verdict: stir.Verdict{Status: status}}})
		if err := s.Count(refuse).Accept(t.Context(), leg); bridge.CauseOf(err).Code != "no-route" {
			t.Errorf("got %v", err)
		}
	}
	s.Refused("sip")(bridge.Cause{Code: "identity-stale"})
	body := scrape(s)
	for _, line := range []string{
		`riptide_calls_refused_total{cause="no-route",from="ript"} 3`,
		`riptide_identity_verdicts_total{from="ript",status="valid"} 2`,
		`riptide_identity_verdicts_total{from="ript",status="not-verified"} 1`,
		`riptide_calls_refused_total{cause="identity-stale",from="sip"} 1`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

type refusing struct{ err error }

func (r refusing) Accept(context.Context, bridge.Leg) error { return r.err }

func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Sources{})
		st := s.Measure(store.NewMemory(), func(b store.Bucket) bool { return b == store.Calls })
		ctx := t.Context()
		rev, err := st.Create(ctx, store.Calls, "a", nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, conflict := st.Update(ctx, store.Calls, "a", nil, rev+1)
		_, absent := st.Get(ctx, store.Calls, "b")
		if !errors.Is(conflict, store.ErrConflict) || !errors.Is(absent, store.ErrNotFound) {
			t.Errorf("%v, %v", conflict, absent)
		}
		if _, err := st.Put(ctx, store.Calls, "a b", nil); err == nil {
			t.Error("took a bad key")
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		body := scrape(s)
		for _, line := range []string{
			`riptide_store_leads{bucket="calls"} 1`,
			`riptide_store_leads{bucket="peers"} 0`,
			`riptide_store_errors_total{operation="create"} 0`,
			`riptide_store_errors_total{operation="update"} 0`,
			`riptide_store_errors_total{operation="get"} 0`,
			`riptide_store_errors_total{operation="put"} 1`,
			`riptide_store_operation_seconds_count{operation="create"} 1`,
			`riptide_store_operation_seconds_count{operation="get"} 1`,
		} {
			if !strings.Contains(body, line) {
				t.Errorf("/metrics lacks %s", line)
			}
		}
	})
}

// TestBeforeTheParts: a process that waits for others at its start says so, and
// nothing is asked that is not there yet.
func TestBeforeTheParts(t *testing.T) {
	t.Parallel()
	there := false
	s := newServer(t, Sources{
		ActiveCalls: func() int {
			if !there {
				t.Error("asked for calls")
			}
			return 3
		},
		Ready: func() error {
			if !there {
				t.Error("asked whether it is ready")
			}
			return nil
		},
	})
	if err := s.Await(t.Context(), func() error { return errors.New("waiting for the others") }); err != nil {
		t.Fatal(err)
	}
	url := "http://" + s.Addr().String()
	for _, path := range []string{"/readyz", "/metrics"} {
		if status, text := get(t, url+path); status != 503 || text != "not ready: waiting for the others\n" {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, _ := get(t, url+"/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	there = true
	if again := start(t, s); again != url {
		t.Errorf("it moved from %s to %s", url, again)
	}
	if status, text := get(t, url+"/readyz"); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	if _, text := get(t, url+"/metrics"); !strings.Contains(text, "riptide_calls_active 3") {
		t.Errorf("%.500s", text)
	}
}
