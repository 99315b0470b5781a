package h3

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/quic-go/quic-go"

	"riptide/bridge"
)

// TestShutdown ends calls with a cause and byways with their bracket, and
// leaves nothing behind.
func TestShutdown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token := r.token(testTG)
	var streams []*stream
	var legs []bridge.Leg
	for _, c := range []*http.Client{r.h3, r.h2, r.h1} {
		d, leg := r.place(c, token)
		in := r.listen(c, d.URI, token)
		in.next(eventProceeding)
		streams, legs = append(streams, in), append(legs, leg)
	}
	d, answered := r.place(r.h3, token)
	must(t, answered.Answer(t.Context(), bridge.Answer{Media: answerPCMA}))
	last := r.listen(r.h3, d.URI, token)
	last.next(eventAnswered)
	handler := r.register(token, testTG)
	passport := r.passport(testFrom, testTo, time.Now())

	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.server.Shutdown(ctx) }()
	for i, in := range streams {
		if ev := in.next(eventFailed); ev.Reason.Code != "shutting-down" {
			t.Errorf("reason %+v", ev.Reason)
		}
		in.ends()
		if ev, _ := nextOf(t, legs[i]); ev.Kind != bridge.Ended || ev.Cause.Code != "shutting-down" {
			t.Errorf("the bridge hears %+v", ev)
		}
		expectLegOver(t, legs[i])
	}
	last.next(eventEnd)
	last.ends()
	must(t, <-done)
	if _, err := r.server.placeOnce(context.WithValue(t.Context(), clientKey{}, testClient), "office", uuid.NewString(), bridge.Trace{},
		&body[CallRequest]{v: CallRequest{Handler: handler, Destination: testTo, Passport: passport}}); err == nil {
		t.Error("a call was placed after Shutdown")
	}
	if _, err := net.DialTimeout("tcp", r.server.Addr().String(), time.Second); err == nil {
		t.Error("the TCP port is still open")
	}
}

// TestNoEarlyDataNoOldTLS: a resumed connection has no 0-RTT, and TLS 1.2 is
// not spoken.
func TestNoEarlyDataNoOldTLS(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	addr := r.server.Addr().String()
	conf := &tls.Config{RootCAs: r.roots, ServerName: testAuthority, NextProtos: []string{"h3"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i := range 2 {
		conn, err := quic.DialAddrEarly(t.Context(), addr, conf, &quic.Config{EnableDatagrams: true})
		must(t, err)
		<-conn.HandshakeComplete()
		if s := conn.ConnectionState(); s.Used0RTT || s.TLS.Version != tls.VersionTLS13 || s.TLS.DidResume != (i > 0) {
			t.Errorf("connection %d: 0-RTT %v, resumed %v, version %x", i, s.Used0RTT, s.TLS.DidResume, s.TLS.Version)
		}
		if i == 0 { // the ticket comes a moment after the handshake
			for range 2000 {
				if _, ok := conf.ClientSessionCache.Get(testAuthority); ok {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		_ = conn.CloseWithError(0, "")
	}
	old := &tls.Config{RootCAs: r.roots, ServerName: testAuthority, MaxVersion: tls.VersionTLS12}
	if conn, err := tls.Dial("tcp", addr, old); err == nil {
		t.Error("TLS 1.2 is spoken")
		_ = conn.Close()
	}
}

// TestGoroutinesReturn: a server that ran hundreds of calls leaves no goroutine.
func TestGoroutinesReturn(t *testing.T) {
	before := runtime.NumGoroutine()
	calls := 300
	t.Run("calls", func(t *testing.T) {
		r := newRig(t)
		token := r.token(testTG)
		for i := range calls {
			c := r.h3
			if i%2 == 1 {
				c = r.h2
			}
			d, leg := r.place(c, token)
			in := r.listen(c, d.URI, token)
			in.next(eventProceeding)
			must(t, leg.Answer(t.Context(), bridge.Answer{Media: answerPCMA}))
			in.next(eventAnswered)
			must(t, leg.End(t.Context(), bridge.CauseNormal))
			in.next(eventEnd)
			in.ends()
		}
		if n := r.server.calls.count(); n != 0 {
			t.Errorf("%d calls are up", n)
		}
	})
	after := runtime.NumGoroutine()
	for range 400 {
		if after <= before {
			break
		}
		time.Sleep(25 * time.Millisecond)
		after = runtime.NumGoroutine()
	}
	t.Logf("goroutines: %d before, %d after %d calls", before, after, calls)
	if after > before {
		buf := make([]byte, 1<<20)
		t.Errorf("goroutines are left:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// TestShutdownBeforeServe: a signal may come while the server is starting.
func TestShutdownBeforeServe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 20 {
		s, err := NewServer(r.cfg)
		must(t, err)
		must(t, s.Listen(t.Context()))
		served := make(chan error, 1)
		go func() { served <- s.Serve(t.Context()) }()
		must(t, s.Shutdown(t.Context()))
		must(t, <-served)
	}
}

// answerPCMA is the plan of an answer to the handler of the tests, which prefers
// A-law.
var answerPCMA = bridge.MediaPlan{Speech: bridge.PCMA, Ptime: bridge.DefaultPtime}
