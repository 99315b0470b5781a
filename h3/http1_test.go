package h3

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"riptide/bridge"
	"riptide/h3/media"
)

// TestHTTP1ConnectionGoesOn: a balancer uses a connection for one request after
// the other. What one of them did with its time must not hurt the next: a call that
// took longer to be placed than its body may take, a command whose call was over
// when it was done.
func TestHTTP1ConnectionGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		token := b.token(testTG)
		handler := b.register(token, testTG)
		b.acceptor.set(func(context.Context, bridge.Leg) error {
			time.Sleep(acceptLimit - time.Second) // longer than a body may take
			return nil
		})
		before := b.dialled.Load()
		for range 3 {
			resp, body := b.do(b.h1, exchange{method: "POST", url: testTG + "/calls", token: token,
				header: map[string]string{headerIdempotencyKey: uuid.NewString()},
				body:   CallRequest{Handler: handler, Destination: testTo, Passport: b.passport(testFrom, testTo, time.Now())}})
			if resp.StatusCode != http.StatusCreated {
				t.Fatalf("place call: %d %s", resp.StatusCode, body)
			}
			call := resp.Header.Get("Location")
			leg := <-b.acceptor.legs
			go func() {
				for ev := range leg.Events() {
					if ev.Stored != nil {
						ev.Stored()
					}
				}
			}()
			in := b.listen(b.h1, call, token) // on the connection on which the call was placed
			in.next(eventProceeding)
			time.Sleep(time.Minute)
			resp, body = b.do(b.h1, exchange{method: "PUT", url: call + "/events", token: token, body: []Event{{Type: eventEnd}}})
			if resp.StatusCode != http.StatusNoContent {
				t.Errorf("end: %d %s", resp.StatusCode, body)
			}
			in.next(eventEnd)
			in.ends()
			synctest.Wait()
		}
		if n := b.dialled.Load() - before; n > 2 {
			t.Errorf("%d connections for what two can do: some were lost", n)
		}
	})
}

// TestHTTP1AnswerDoesNotWaitForTheBody: net/http reads what a handler has left of
// a body before it answers. Who promises a body and sends none must not keep the
// connection, and the answer, for as long as it likes.
func TestHTTP1AnswerDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for line, status := range map[string]string{
		"POST " + strings.TrimPrefix(testTG, "https://"+testAuthority) + "/calls": "401",
		"GET " + wellKnownRIPT: "200",
		"GET " + pathOpenAPI:   "200", // longer than what is held back
		"POST /nowhere":        "401",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			conn, err := tls.Dial("tcp", r.server.Addr().String(), &tls.Config{RootCAs: r.roots, ServerName: testAuthority, NextProtos: []string{"http/1.1"}})
			must(t, err)
			defer func() { _ = conn.Close() }()
			must(t, conn.SetDeadline(time.Now().Add(2*bodyTime)))
			_, err = io.WriteString(conn, line+" HTTP/1.1\r\nHost: "+testAuthority+"\r\nContent-Length: 100\r\n\r\n{")
			must(t, err)
			answer := make([]byte, 12)
			if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 "+status {
				t.Errorf("%q %v", answer, err)
			}
		})
	}
}

// http1Proxy is a balancer that speaks HTTP/1.1 on both sides and holds request
// bodies back until they are complete.
func (r *rig) http1Proxy() netip.AddrPort {
	r.t.Helper()
	back := r.overTCP("http/1.1")
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: testAuthority})
	proxy.Transport, proxy.FlushInterval, proxy.ErrorLog = back, -1, r.server.h2.ErrorLog
	ln, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{r.cfg.Certificate}, NextProtos: []string{"http/1.1"}})
	must(r.t, err)
	front := &http.Server{ErrorLog: r.server.h2.ErrorLog, ReadHeaderTimeout: testWait, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if all, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 1<<20)); err == nil {
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(all)), int64(len(all))
			req.TransferEncoding = nil
			proxy.ServeHTTP(w, req)
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = front.Serve(ln) }()
	r.t.Cleanup(func() {
		_ = front.Close()
		<-done
		back.CloseIdleConnections()
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// TestOverHTTP1: whole calls through a balancer that knows HTTP/1.1 only, with
// single events and a request for each chunk.
func TestOverHTTP1(t *testing.T) {
	t.Parallel()
	p := &pair{rig: newRig(t)}
	p.at = p.http1Proxy()
	p.client = p.connect(media.Auto)
	for _, weEnd := range []bool{true, false} {
		out, in := p.dial()
		must(t, in.Progress(t.Context(), bridge.Progress{Alerting: true, Early: &testPlan}))
		awaitKind(t, out, bridge.Alerting)
		must(t, in.Answer(t.Context(), bridge.Answer{Media: testPlan}))
		awaitKind(t, out, bridge.Answered)
		p.heard(out, in)
		p.carriedBy(out, "put/get")
		ending, other := in, out
		if weEnd {
			ending, other = out, in
		}
		must(t, ending.End(t.Context(), bridge.CauseNormal))
		if c := awaitEnded(t, other); c.Code != "normal" {
			t.Errorf("the other side heard %v", c)
		}
	}
	if n := p.client.State().Trunks[0].Reattached; n != 0 {
		t.Errorf("%d byways were lost", n)
	}
}

// TestHTTP1Limits: header fields are bounded as they are elsewhere, by
// net/http before they are kept.
func TestHTTP1Limits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := tls.Dial("tcp", r.server.Addr().String(), &tls.Config{RootCAs: r.roots, ServerName: testAuthority})
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: ript.test\r\nX-Pad: ")
	must(t, err)
	pad := bytes.Repeat([]byte("x"), 1<<10)
	for n := 0; err == nil && n < 2*maxHeader; n += len(pad) {
		_, err = conn.Write(pad)
	}
	must(t, conn.SetReadDeadline(time.Now().Add(testWait)))
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 431" {
		t.Errorf("%q, %v", answer, err)
	}
}
