package media

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"
)

// deafServer parks every GET, or refuses it, and counts.
type deafServer struct {
	Conns
	mu      sync.Mutex
	refuse  bool
	parked  int
	refused int
}

func (d *deafServer) Do(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	if r.Method != http.MethodGet {
		d.mu.Unlock()
		return nil, errors.New("no PUTs either")
	}
	if d.refuse {
		d.refused++
		d.mu.Unlock()
		return nil, errors.New("not now")
	}
	d.parked++
	d.mu.Unlock()
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func (d *deafServer) await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		d.mu.Lock()
		ok := f()
		d.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s: %d parked, %d refused", what, d.parked, d.refused)
		}
	}
}

// TestPanicParksMore: twice as many GETs with each panic, up to what the server
// wants.
func TestPanicParksMore(t *testing.T) {
	t.Parallel()
	d := &deafServer{}
	p := NewPort(Config{})
	defer p.Close()
	c, err := Dial(t.Context(), d, "https://ript.example/calls/1/media", p, Options{Rungs: []Rung{PutGet}, Parked: 11})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d.await(t, "parked at first", func() bool { return d.parked == startParks })
	for _, want := range []int{min(2*startParks, 11), 11, 11} {
		c.Panic()
		d.await(t, "parked after a panic", func() bool { return d.parked == want })
	}
}

// TestPanicEndsWaiting: GETs that wait because they failed go at once.
func TestPanicEndsWaiting(t *testing.T) {
	t.Parallel()
	d := &deafServer{refuse: true}
	q := &requests{
		p: NewPort(Config{}), conns: d, url: "https://ript.example/calls/1/media", ctx: t.Context(), life: t.Context(),
		cancel: func() {}, most: 1, least: 1, hurry: make(chan struct{}),
	}
	defer q.p.Close()
	q.resize(0)
	d.await(t, "refused often enough to wait long", func() bool { return d.refused >= 4 })
	d.mu.Lock()
	d.refuse = false
	d.mu.Unlock()
	q.panicked()
	d.await(t, "parked", func() bool { return d.parked == 1 })
}
