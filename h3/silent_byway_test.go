package h3

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestSilentForwardByway: a PUT on which nothing comes for 15 s is reset, and
// white space is something. The call goes on with the byways it has left, and
// without any for 30 s more.
func TestSilentForwardByway(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"h2", "h1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				c := map[string]*http.Client{"h2": b.h2, "h1": b.h1}[version]
				token := b.token(testTG)
				call, leg := b.place(c, token)
				out := b.command(c, call.URI, token)
				for range 12 {
					time.Sleep(bywayDead - time.Second)
					must(t, out.out.Beat())
				}
				out.send(Event{Type: eventPing, Seq: 1, Nonce: "still there"})
				begun := time.Now()
				if status := out.status(); status != 0 {
					t.Errorf("the silent byway ended with %d, want a reset", status)
				}
				if lasted := time.Since(begun); lasted != bywayDead {
					t.Errorf("it lasted %v, want %v", lasted, bywayDead)
				}
				time.Sleep(signallingGrace - time.Second)
				if len(leg.Events()) > 0 {
					t.Fatal("the call is over too soon")
				}
				ev, _ := nextOf(t, leg)
				if gone := time.Since(begun); ev.Cause.Code != "signalling-lost" || gone < bywayDead+signallingGrace || gone > bywayDead+signallingGrace+2*time.Second {
					t.Errorf("the call ended after %v for %v", gone, ev.Cause)
				}
			})
		})
	}
}
