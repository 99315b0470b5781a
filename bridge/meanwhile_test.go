package bridge_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"riptide/bridge"
	"riptide/bridge/bridgetest"
)

// TestWhoHungUpMeanwhile: a party that hung up while nobody served its call has ended
// it as any other does. The other one is told so, and nothing was lost.
func TestWhoHungUpMeanwhile(t *testing.T) {
	for gone, by := range map[string]bridge.Party{"a": bridge.ByCaller, "dialled-1": bridge.ByCallee} {
		t.Run(gone, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				oldA, _ := answeredCall(r)
				s := follow(r)
				s.fail[gone] = fmt.Errorf("cannot go on: %w", bridge.CauseNormal.With("hung up unheard").EndedBy(by))
				for _, l := range s.restore(bridge.Restored{Ended: 1}) {
					if act := s.await(l, bridgetest.Finished); act.Cause.Code != bridge.CauseNormal.Code || act.Cause.By != by || act.Cause.Text != "hung up unheard" {
						t.Errorf("%+v", act.Cause)
					}
				}
				if sum := s.summary(); sum.Cause.Code != bridge.CauseNormal.Code || sum.Answered.IsZero() {
					t.Errorf("%+v", sum)
				}
				oldA.HangUp(bridge.CauseNormal, nil)
				synctest.Wait()
			})
		})
	}
}
