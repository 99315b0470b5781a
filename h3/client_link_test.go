package h3

import (
	"testing"
	"time"

	"riptide/bridge/bridgetest"
)

// TestAClockThatIsSetIsNoSilence: where it was, every call with a byway would have
// been without one for as long, and end.
func TestAClockThatIsSetIsNoSilence(t *testing.T) {
	t.Parallel()
	var set time.Duration
	k := &link{t: &trunk{client: &Client{cfg: ClientConfig{Now: func() time.Time { return bridgetest.Stepped(time.Now(), set) }}}}}
	k.opened = k.t.client.cfg.Now()
	k.heard.Store(int64(k.age()))
	for _, set = range []time.Duration{0, time.Hour, -time.Hour} {
		if s := k.silence(); s < 0 || s > 30*time.Minute {
			t.Errorf("the clock was set by %v: silent for %v", set, s)
		}
	}
}
