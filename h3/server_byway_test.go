package h3

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"riptide/bridge"
)

const testWait = 20 * time.Second // far more than anything takes: a test that waits this long has failed

// stream is an open GET events.
type stream struct {
	t     *testing.T
	in    chan received // the last has an error
	close func()
}

func (r *rig) listen(c *http.Client, call, token string) *stream {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", call+"/events", nil)
	must(r.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(req)
	must(r.t, err)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get(headerIncremental) != "?1" ||
		resp.Header.Get("Cache-Control") != "no-store, no-transform" || resp.Header.Get("X-Accel-Buffering") != "no" {
		r.t.Fatalf("GET events: %d %v", resp.StatusCode, resp.Header)
	}
	s := &stream{t: r.t, in: make(chan received, 100), close: func() { _ = resp.Body.Close() }}
	go func() {
		in := newBywayReader(resp.Body)
		for {
			ev, err := in.Next()
			s.in <- received{event: ev, err: err}
			if err != nil {
				_, _ = io.Copy(io.Discard, resp.Body) // a connection is used again whose response was read
				return
			}
		}
	}()
	r.t.Cleanup(s.close)
	return s
}

// next is the next event, which must be of the type.
func (s *stream) next(typ string) Event {
	s.t.Helper()
	select {
	case got := <-s.in:
		ev := got.event
		if got.err != nil || ev.Type != typ {
			s.t.Fatalf("event %+v, error %v, want %s", ev, got.err, typ)
		}
		if ev.Direction != serverToClient || ev.Seq == 0 || ev.Timestamp.IsZero() || !strings.HasPrefix(ev.Call, testTG+"/calls/") {
			s.t.Errorf("event %+v is not complete", ev)
		}
		return ev
	case <-time.After(testWait):
		s.t.Fatalf("no event %s", typ)
	}
	return Event{}
}

// ends waits for the closing bracket.
func (s *stream) ends() {
	s.t.Helper()
	select {
	case got := <-s.in:
		if !errors.Is(got.err, io.EOF) {
			s.t.Fatalf("event %+v, error %v, want the closing bracket", got.event, got.err)
		}
	case <-time.After(testWait):
		s.t.Fatal("the stream does not end")
	}
}

// forward is an open PUT events.
type forward struct {
	t    *testing.T
	pipe *io.PipeWriter
	out  *bywayWriter
	done chan *http.Response // nil: the request failed
}

func (r *rig) command(c *http.Client, call, token string) *forward {
	r.t.Helper()
	body, pipe := io.Pipe()
	req, err := http.NewRequestWithContext(r.t.Context(), "PUT", call+"/events", body)
	must(r.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	f := &forward{t: r.t, pipe: pipe, out: newBywayWriter(pipe, nil), done: make(chan *http.Response, 1)}
	go func() {
		resp, err := c.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if err != nil {
			resp = nil
		}
		_ = body.CloseWithError(io.ErrClosedPipe)
		f.done <- resp
	}()
	r.t.Cleanup(func() { _ = pipe.CloseWithError(io.ErrClosedPipe) })
	must(r.t, f.out.Open())
	return f
}

func (f *forward) send(ev Event) {
	f.t.Helper()
	ev.Direction, ev.Timestamp = clientToServer, time.Now().UTC()
	must(f.t, f.out.Send(ev))
}

// status waits for the response: 0 = the request was reset.
func (f *forward) status() int {
	f.t.Helper()
	select {
	case resp := <-f.done:
		if resp == nil {
			return 0
		}
		return resp.StatusCode
	case <-time.After(testWait):
		f.t.Fatal("PUT events does not end")
	}
	return 0
}

func nextOf(t *testing.T, leg bridge.Leg) (bridge.Event, bool) {
	t.Helper()
	select {
	case ev, ok := <-leg.Events():
		return ev, ok
	case <-time.After(testWait):
		t.Fatal("the leg has no event")
	}
	return bridge.Event{}, false
}

// expectLegOver wants the leg's channel to be closed, after an Ended event that
// acknowledges if there is one.
func expectLegOver(t *testing.T, leg bridge.Leg) {
	t.Helper()
	if ev, ok := nextOf(t, leg); ok {
		t.Errorf("the leg has one more event: %+v", ev)
	}
}
