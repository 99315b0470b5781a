package bridgetest

import (
	"testing"
	"time"
)

func TestStepped(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, by := range []time.Duration{time.Hour, -time.Hour, 0} {
		set := Stepped(now, by)
		if passed := set.Sub(now); passed != 0 {
			t.Errorf("set by %v: %v have passed", by, passed)
		}
		if got := set.Round(0).Sub(now.Round(0)); got != by {
			t.Errorf("set by %v: it is %v later", by, got)
		}
	}
}
