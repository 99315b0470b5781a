package h3

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"riptide/bridge"
)

// pause waits, or returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// jittered spreads clients that lost the same peer at the same moment.
func jittered(d time.Duration) time.Duration { return d + rand.N(d/8+1) }

// quickRetry is the pause before the first new attempt after a loss: as good
// as at once, but not all calls of a lost connection in the same instant
// (20-protocol.md A.4-6).
func quickRetry() time.Duration { return rand.N(50 * time.Millisecond) }

// maxPosts is how often a POST is sent that may or may not have arrived, and
// repeatPause the pause after the n-th time: at first as good as none, in the end
// long enough for a balancer to notice that a node is gone (its health check
// takes a second or two, and until then it answers 502).
const maxPosts = 7

func repeatPause(n int) time.Duration {
	if n <= 1 {
		return quickRetry()
	}
	return jittered(50 * time.Millisecond << min(n-1, maxPosts))
}

// reconnectPause is the pause after the n-th attempt in a row to connect. The
// first of them has tried hard for two seconds, and the second follows at once: a
// server that is started again is mostly there by then, and every tenth of a
// second is heard. What is still not there gets the time that core draft wants.
func reconnectPause(n int) time.Duration {
	if n <= 1 {
		return jittered(20 * time.Millisecond)
	}
	return jittered(min(minBackoff<<min(n-2, 4), 2*minBackoff))
}

// refusedPause is the pause after the n-th request in a row that was answered,
// but not served: by a balancer that has not noticed yet, or a node that is about
// to take the call up.
func refusedPause(n int) time.Duration {
	return jittered(min(20*time.Millisecond<<min(n-1, 10), 250*time.Millisecond))
}

// patience is how long the answer to GET events may take. A balancer that has
// sent a call that runs to a node which is gone would let it wait for long: it is
// asked anew then, and each time given more time.
func (l *clientLeg) patience() time.Duration {
	if !l.known {
		return attachLimit
	}
	return min(attachAgain<<min(l.slow, 4), attachLimit)
}

// leavePlace lets the balancer choose another node, where the one that the
// call's cookies lead to does not serve it. One failure is none: where nodes share
// nothing, only that one knows the call, and it may only have stood still.
func (l *clientLeg) leavePlace(err error) {
	var e *requestError
	unserved := errors.As(err, &e) && e.Status >= http.StatusInternalServerError
	switch {
	case l.failures < 2, !unserved && !errors.Is(err, bridge.CausePeerTimeout):
	case l.failures == 2:
		l.migrate("")
	default:
		l.jar.Empty()
	}
}

// flapLimit is how long a link must last for the next loss to be a new one.
const flapLimit = 2 * time.Second

// flapPause is the pause after the flaps-th link in a row that did not last: a
// peer that breaks each as soon as it is open is not asked forty times a second
// for as long as the call goes on. It stays well below the hold.
func flapPause(flaps int) time.Duration {
	return jittered(min(50*time.Millisecond<<min(flaps-1, 10), 4*time.Second))
}
