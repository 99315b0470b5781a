package media

import (
	"io"
	"net/http"
	"sync"
	"testing"
)

// TestPutsThatNeverEnd: a client that opens PUTs and does not finish them is
// held to a number of them, and each to a time.
func TestPutsThatNeverEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, false)
	server := s.call("1", nil)
	c := s.connect(t)
	var mu sync.Mutex
	statuses := map[int]int{}
	failed := 0
	var wg sync.WaitGroup
	for range maxOpenPuts + 10 {
		body, out := io.Pipe()
		t.Cleanup(func() { _ = out.Close() })
		wg.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.url("1"), body)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := c.Do(r)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++ // cut
				return
			}
			statuses[resp.StatusCode]++
			_ = resp.Body.Close()
		})
		go func() { _, _ = out.Write([]byte{0}) }()
	}
	wg.Wait()
	if statuses[http.StatusTooManyRequests] != 10 || failed != maxOpenPuts {
		t.Errorf("%v, and %d were cut; want 10 refused and %d cut", statuses, failed, maxOpenPuts)
	}
	eventually(t, "all places free again", func() bool { return server.open.puts.taken.Load() == 0 })
}

// TestSessionsOfOneCall: a client cannot open sessions without end.
func TestSessionsOfOneCall(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	server := s.call("1", nil)
	c := s.connect(t)
	for i := range maxSessions + 1 {
		sess, err := c.Session(t.Context(), s.url("1"), http.Header{})
		if (err == nil) != (i < maxSessions) {
			t.Errorf("session %d: %v", i, err)
		}
		if err == nil {
			defer func() { _ = sess.CloseWithError(0, "") }()
		}
	}
	server.Close()
	eventually(t, "all places free again", func() bool { return server.open.sessions.taken.Load() == 0 })
}
