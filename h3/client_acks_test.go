package h3

import (
	"testing"
	"time"
)

func TestAckWatch(t *testing.T) {
	t.Parallel()
	t0 := time.Unix(1_700_000_000, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	for name, steps := range map[string][]struct {
		sent  uint64
		acked time.Time
		now   time.Time
		want  bool
	}{
		"never acknowledged":    {{1000, time.Time{}, at(60_000), false}},
		"acknowledged in time":  {{10, at(0), at(0), false}, {60, at(990), at(1000), false}, {110, at(1990), at(2000), false}},
		"silent for a second":   {{10, at(0), at(0), false}, {59, at(0), at(990), false}, {60, at(0), at(1000), true}},
		"little to acknowledge": {{10, at(0), at(0), false}, {34, at(0), at(9000), false}, {35, at(0), at(9500), true}},
		"later each time": {
			{10, at(0), at(0), false}, {60, at(0), at(1000), true}, {100, at(0), at(2900), false}, {110, at(0), at(3000), true},
			{300, at(0), at(6900), false}, {310, at(0), at(7000), true},
		},
		"acknowledged again": {
			{10, at(0), at(0), false}, {60, at(0), at(1000), true}, {70, at(1500), at(1500), false}, {130, at(1500), at(2500), true},
		},
	} {
		var w ackWatch
		for i, s := range steps {
			if got := w.silent(s.sent, s.acked, s.now); got != s.want {
				t.Errorf("%s: step %d: silent is %t", name, i, got)
			}
		}
	}
}
