package bridge_test

import (
	"testing"
	"testing/synctest"
	"time"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
)

// signalwire/freeswitch#1725: early media that was promised and does not come is
// dead silence, since the caller's telephone no longer rings by itself. Ours
// rings, until something comes.
func TestPain28PromisedEarlyMediaThatDoesNotCome(t *testing.T) {
	for name, kind := range map[string]bridge.EventKind{"183": bridge.Proceeding, "180": bridge.Alerting} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				a := leg("pbx", nil)
				b := r.start(a)
				ear := listen(a)
				b.Send(bridge.Event{Kind: bridge.Alerting})
				time.Sleep(time.Second)
				if got := ear.take(); len(got) != 0 {
					t.Errorf("%d frames to a telephone that rings by itself", len(got))
				}
				p := plan
				b.Send(bridge.Event{Kind: kind, Plan: &p})
				synctest.Wait()
				time.Sleep(1100 * time.Millisecond)
				if db := level(ear.take()); db < -25 {
					t.Errorf("it rings with %.0f dBm0", db)
				}
				time.Sleep(time.Second)
				ear.take()
				time.Sleep(time.Second)
				if got := ear.take(); len(got) < 45 || level(got) > -40 {
					t.Errorf("between two rings: %d frames of %.0f dBm0", len(got), level(got))
				}
				b.Peer().Push(&bridge.Frame{Codec: bridge.PCMU, Payload: make([]byte, 160)})
				time.Sleep(100 * time.Millisecond)
				ear.take()
				time.Sleep(5 * time.Second) // the announcement pauses
				if got := ear.take(); len(got) != 0 {
					t.Errorf("%d frames into a pause of what is heard", len(got))
				}
				b.PickUp(p)
				r.await(a, bridgetest.Accepted)
				time.Sleep(time.Second)
				if got := ear.take(); len(got) != 0 {
					t.Errorf("%d frames in the call", len(got))
				}
				a.HangUp(bridge.CauseNormal, nil)
				<-r.ended
			})
		})
	}
}
