package sip

import (
	"context"
	"testing"
	"time"

	"riptide/bridge"
)

// waitingAcceptor waits for a store that does not come back.
type waitingAcceptor struct{ asked, left chan struct{} }

func (a *waitingAcceptor) Accept(ctx context.Context, _ bridge.Leg) error {
	close(a.asked)
	<-ctx.Done()
	close(a.left)
	return bridge.CauseCancelled.With("nobody is left to wait")
}

// TestCancelWhileTheStoreIsWaitedFor: a caller whose call waits to be put on record
// hears 100 meanwhile, and may give up; then nobody waits any more.
func TestCancelWhileTheStoreIsWaitedFor(t *testing.T) {
	t.Parallel()
	acc := &waitingAcceptor{make(chan struct{}), make(chan struct{})}
	a := startAgent(t, acc, Trunk{})
	d := newPeer(t).caller(a)
	d.invite(offerSDP(1, 40000))
	d.status(100, "INVITE")
	<-acc.asked
	d.cancel()
	d.status(200, "CANCEL")
	d.ackRefusal(d.status(487, "INVITE"))
	select {
	case <-acc.left:
	case <-time.After(patience):
		t.Error("the store is waited for by nobody")
	}
}
