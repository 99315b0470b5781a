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
		want  ackVerdict
	}{
		"never acknowledged":    {{1000, time.Time{}, at(60_000), acksCome}},
		"acknowledged in time":  {{10, at(0), at(0), acksCome}, {60, at(990), at(1000), acksCome}, {110, at(1990), at(2000), acksCome}},
		"silent for a second":   {{10, at(0), at(0), acksCome}, {59, at(0), at(990), acksCome}, {60, at(0), at(1000), acksSilent}},
		"little to acknowledge": {{10, at(0), at(0), acksCome}, {34, at(0), at(9000), acksCome}, {35, at(0), at(9500), acksSilent}},
		"later each time": {
			{10, at(0), at(0), acksCome}, {60, at(0), at(1000), acksSilent}, {100, at(0), at(2900), acksCome}, {110, at(0), at(3000), acksSilent},
			{300, at(0), at(6900), acksCome}, {310, at(0), at(7000), acksSilent},
		},
		"acknowledged again": {
			{10, at(0), at(0), acksCome}, {60, at(0), at(1000), acksSilent}, {70, at(1500), at(1500), acksCome}, {130, at(1500), at(2500), acksSilent},
		},
		// 40 packets every 500 ms from here on.
		"no way helps": {
			{10, at(0), at(0), acksCome}, {50, at(0), at(500), acksCome}, {90, at(0), at(1000), acksSilent},
			{130, at(0), at(1500), acksCome}, {170, at(0), at(2000), acksCome}, {210, at(0), at(2500), acksCome}, {250, at(0), at(3000), acksSilent},
			{290, at(0), at(3500), acksCome}, {330, at(0), at(4000), acksCome}, {370, at(0), at(4500), acksCome}, {410, at(0), at(5000), acksOver},
		},
		"out of reach for long, and then a way helps": {
			{10, at(0), at(0), acksCome}, {50, at(0), at(500), acksCome}, {90, at(0), at(1000), acksSilent},
			{130, at(0), at(9000), acksSilent}, {170, at(0), at(9500), acksCome}, {210, at(9900), at(10_000), acksCome},
			{250, at(9900), at(10_500), acksCome}, {290, at(9900), at(10_900), acksSilent},
		},
		// Comfort noise, or a muted microphone: one packet every 500 ms.
		"little is sent, and a way helps": {
			{10, at(0), at(0), acksCome}, {11, at(0), at(500), acksCome}, {12, at(0), at(1000), acksCome}, {13, at(0), at(1500), acksCome},
			{14, at(0), at(2000), acksCome}, {15, at(0), at(2500), acksCome}, {16, at(0), at(3000), acksCome}, {17, at(0), at(3500), acksCome},
			{18, at(0), at(4000), acksCome}, {19, at(0), at(4500), acksCome}, {20, at(0), at(5000), acksCome}, {21, at(0), at(5500), acksCome},
			{35, at(0), at(6000), acksSilent}, {36, at(0), at(6500), acksCome}, {37, at(0), at(7000), acksCome},
			{38, at(7400), at(7500), acksCome},
		},
		"little is sent, and no way helps": {
			{10, at(0), at(0), acksCome}, {11, at(0), at(1000), acksCome}, {12, at(0), at(2000), acksCome}, {13, at(0), at(3000), acksCome},
			{14, at(0), at(4000), acksCome}, {15, at(0), at(5000), acksCome}, {36, at(0), at(6000), acksSilent}, {37, at(0), at(7000), acksCome},
			{38, at(0), at(8000), acksOver},
		},
		"nothing is sent": {
			{10, at(0), at(0), acksCome}, {90, at(0), at(1000), acksSilent}, {90, at(0), at(2000), acksCome}, {90, at(0), at(3000), acksCome},
			{90, at(0), at(4000), acksCome}, {90, at(0), at(5000), acksCome}, {90, at(0), at(6000), acksCome}, {90, at(0), at(7000), acksCome},
		},
	} {
		var w ackWatch
		for i, s := range steps {
			got := w.look(s.sent, s.acked, time.Time{}, s.now, ackSilence, 5*time.Second)
			if got == acksDoubt {
				got = acksCome // nobody answers
			}
			if got != s.want {
				t.Errorf("%s: step %d: %d, want %d", name, i, got, s.want)
			}
		}
	}
}

// TestAckWatchOfABusyPeer: one that acknowledges nothing, and answers on the
// byway when it is asked, has twice as long.
func TestAckWatchOfABusyPeer(t *testing.T) {
	t.Parallel()
	t0 := time.Unix(1_700_000_000, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	for name, steps := range map[string][]struct {
		sent       uint64
		heard, now time.Time
		want       ackVerdict
	}{
		"answers":         {{10, at(0), at(0), acksCome}, {40, at(0), at(600), acksDoubt}, {60, at(700), at(1000), acksCome}, {90, at(700), at(1900), acksCome}, {100, at(700), at(2000), acksSilent}},
		"answered before": {{10, at(0), at(0), acksCome}, {40, at(590), at(600), acksDoubt}, {60, at(590), at(1000), acksSilent}},
		"nothing is sent": {{10, at(0), at(0), acksCome}, {11, at(0), at(600), acksCome}, {12, at(0), at(1000), acksCome}},
	} {
		var w ackWatch
		for i, s := range steps {
			if got := w.look(s.sent, at(0), s.heard, s.now, ackSilence, 5*time.Second); got != s.want {
				t.Errorf("%s: step %d: %d, want %d", name, i, got, s.want)
			}
		}
	}
}
