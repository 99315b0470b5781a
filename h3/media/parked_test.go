package media

import (
	"testing"
	"time"
)

// TestParkedByTheRoundTrip: as many GETs are parked as the way there and back
// takes packets, and two; never fewer than the least, nor more than the TG says.
func TestParkedByTheRoundTrip(t *testing.T) {
	t.Parallel()
	d := &deafServer{}
	q := &requests{
		p: NewPort(Config{}), conns: d, url: "https://ript.example/calls/1/media", ctx: t.Context(), life: t.Context(),
		cancel: func() {}, most: 20, least: 4, hurry: make(chan struct{}),
	}
	defer q.p.Close()
	want := func() int {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.want
	}
	for _, tc := range []struct {
		roundTrip time.Duration
		parked    int
	}{
		{0, startParks}, {time.Microsecond, 4}, {40 * time.Millisecond, 4}, {41 * time.Millisecond, 5}, {100 * time.Millisecond, 7},
		{360 * time.Millisecond, 20}, {361 * time.Millisecond, 20}, {10 * time.Second, 20},
	} {
		q.resize(tc.roundTrip)
		if got := want(); got != tc.parked {
			t.Errorf("%d are parked for a round trip of %v, want %d", got, tc.roundTrip, tc.parked)
		}
	}
	d.await(t, "all parked", func() bool { return d.parked == 20 })
	if extra := q.surplus(); extra {
		t.Error("one is sent home, though none is too many")
	}
	q.resize(time.Millisecond)
	home := 0
	for q.surplus() {
		home++
	}
	if home != 16 {
		t.Errorf("%d go home when the way is short again, want 16", home)
	}
}
