package media

import (
	"reflect"
	"testing"
	"time"

	"riptide/bridge"
	"riptide/h3/chunk"
)

func TestNumbering(t *testing.T) {
	type step struct {
		seq, ts uint64
		after   time.Duration
		outSeq  uint64
		outTS   uint64
		drop    bool
	}
	const f = 20 * time.Millisecond
	for name, steps := range map[string][]step{
		"in order":            {{1000, 160, 0, 1, 160, false}, {1001, 320, f, 2, 320, false}, {1002, 480, f, 3, 480, false}},
		"a gap stays a gap":   {{7, 0, 0, 1, 0, false}, {10, 480, 3 * f, 4, 480, false}},
		"late keeps its own":  {{7, 0, 0, 1, 0, false}, {9, 320, f, 3, 320, false}, {8, 160, 0, 2, 160, false}, {10, 480, f, 4, 480, false}},
		"late without a past": {{7, 800, 0, 1, 800, false}, {6, 640, f, 0, 0, true}},
		"a source starts anew": {
			{7, 800, 0, 1, 800, false}, {500000, 99999999, f, 2, 960, false}, {500001, 100000159, f, 3, 1120, false},
			{499999, 0, 0, 0, 0, true},
		},
		"a source starts lower":    {{500000, 0, 0, 1, 0, false}, {1, 0, f, 2, 160, false}, {2, 160, f, 3, 320, false}},
		"event of an earlier time": {{1, 8000, 0, 1, 8000, false}, {2, 7000, f, 2, 7000, false}},
		"the clock alone jumps":    {{1, 8000, 0, 1, 8000, false}, {2, 1 << 40, f, 2, 8160, false}},
		"greatest gap":             {{1, 0, 0, 1, 0, false}, {1 + maxGap, 0, f, 1 + maxGap, 0, false}},
		"one more":                 {{1, 0, 0, 1, 0, false}, {2 + maxGap, 0, f, 2, 160, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var n numbering
			now := time.Unix(1e9, 0)
			for i, s := range steps {
				now = now.Add(s.after)
				seq, ts, ok := n.next(bridge.PCMU, s.seq, s.ts, now)
				if ok == s.drop || ok && (seq != s.outSeq || ts != s.outTS) {
					t.Fatalf("step %d: got %d, %d, %v, want %+v", i, seq, ts, ok, s)
				}
			}
		})
	}
}

// A source may change between codecs whose clocks run at different rates, and
// digits beside Opus have a clock of their own: what goes out goes on steadily.
func TestNumberingOfSeveralRates(t *testing.T) {
	type step struct {
		codec  bridge.Codec
		ts     uint64
		outTS  uint64
		rebase bool // another source
	}
	for name, steps := range map[string][]step{
		"digits beside Opus":         {{bridge.Opus, 48000, 48000, false}, {bridge.Opus, 48960, 48960, false}, {bridge.TelephoneEvent, 8160, 8160, false}, {bridge.Opus, 50880, 50880, false}},
		"and after another source":   {{bridge.Opus, 48000, 48000, false}, {bridge.Opus, 960000, 48960, true}, {bridge.TelephoneEvent, 160320, 8480, false}, {bridge.Opus, 962880, 51840, false}},
		"G.711 to Opus":              {{bridge.PCMU, 8000, 8000, false}, {bridge.PCMU, 8160, 8160, false}, {bridge.Opus, 8322, 49920, false}, {bridge.Opus, 9282, 50880, false}},
		"Opus to G.711":              {{bridge.Opus, 48000, 48000, false}, {bridge.PCMA, 48160, 8160, false}, {bridge.PCMA, 48320, 8320, false}},
		"noise beside Opus":          {{bridge.Opus, 48000, 48000, false}, {bridge.ComfortNoise, 8160, 8160, false}, {bridge.Opus, 49920, 49920, false}},
		"video":                      {{bridge.H264, 1 << 40, 1 << 40, false}, {bridge.H264, 1<<40 + 1800, 1<<40 + 1800, false}},
		"video and another source":   {{bridge.VP8, 90000, 90000, false}, {bridge.VP8, 5, 91800, true}, {bridge.VP8, 1805, 93600, false}},
		"packets of one picture":     {{bridge.VP8, 90000, 90000, false}, {bridge.VP8, 90000, 90000, false}},
		"a digit that began earlier": {{bridge.Opus, 480000, 480000, false}, {bridge.TelephoneEvent, 72000, 72000, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var n numbering
			now, seq := time.Unix(1e9, 0), uint64(7)
			for i, s := range steps {
				if seq++; s.rebase {
					seq += 1 << 40
				}
				if _, ts, ok := n.next(s.codec, seq, s.ts, now); !ok || ts != s.outTS {
					t.Fatalf("step %d: %d, %v; want %d", i, ts, ok, s.outTS)
				}
				now = now.Add(20 * time.Millisecond)
			}
		})
	}
}

func TestTracker(t *testing.T) {
	for name, tc := range map[string]struct {
		in   []uint64
		want []placed
		lost uint64
	}{
		"in order":            {[]uint64{1, 2, 3}, []placed{fresh, fresh, fresh}, 0},
		"the first ones lost": {[]uint64{4}, []placed{fresh}, 3},
		"we came late":        {[]uint64{5000, 5001}, []placed{fresh, fresh}, 0},
		"the first overtook":  {[]uint64{5000, 4999, 4998, 5001, 4998, 4936, 4935}, []placed{fresh, fresh, fresh, fresh, duplicate, fresh, duplicate}, 0},
		"and then a gap":      {[]uint64{5000, 4999, 5003, 5001}, []placed{fresh, fresh, fresh, fresh}, 1},
		"gap":                 {[]uint64{1, 5}, []placed{fresh, fresh}, 3},
		"late":                {[]uint64{1, 5, 3}, []placed{fresh, fresh, fresh}, 2},
		"twice":               {[]uint64{1, 2, 2, 1}, []placed{fresh, fresh, duplicate, duplicate}, 0},
		"twice, and late":     {[]uint64{1, 5, 3, 3}, []placed{fresh, fresh, fresh, duplicate}, 2},
		"the window's edge":   {[]uint64{1, 1026, 3, 2}, []placed{fresh, fresh, fresh, duplicate}, 1023},
		"the greatest gap":    {[]uint64{1, 1 + maxGap}, []placed{fresh, fresh}, maxGap - 1},
		"one rubbish number":  {[]uint64{1, 1 << 50, 2, 3}, []placed{fresh, duplicate, fresh, fresh}, 0},
		"many of them":        {[]uint64{1, 1 << 50, 1 << 49, 1 << 50, 1 << 48, 2}, []placed{fresh, duplicate, duplicate, duplicate, duplicate, fresh}, 0},
		"the peer restarts":   {[]uint64{1, 90000, 90001, 90002, 90004}, []placed{fresh, duplicate, duplicate, restarted, fresh}, 1},
		"restart at 1":        {[]uint64{9000, 1, 2, 3, 4}, []placed{fresh, duplicate, duplicate, restarted, fresh}, 0},
		"numbers from 0":      {[]uint64{0, 1}, []placed{fresh, fresh}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var tr tracker
			for i, seq := range tc.in {
				if got := tr.place(seq, false); got != tc.want[i] {
					t.Errorf("%d: got %v, want %v", seq, got, tc.want[i])
				}
			}
			if tr.lost != tc.lost {
				t.Errorf("lost %d, want %d", tr.lost, tc.lost)
			}
		})
	}
}

func TestTrackerKnowsTheTail(t *testing.T) {
	var tr tracker
	tr.sent(0)
	tr.place(1, false)
	tr.sent(1)
	tr.sent(4)
	if tr.lost != 3 {
		t.Errorf("lost %d of 2, 3 and 4", tr.lost)
	}
	tr.place(3, false)
	tr.sent(1 << 40)
	if tr.lost != 2 || tr.highest != 4 {
		t.Errorf("lost %d, highest %d", tr.lost, tr.highest)
	}
	want := []chunk.Range{{First: 3, Last: 3}, {First: 1, Last: 1}}
	if got := tr.ranges(nil); !reflect.DeepEqual(got, want) {
		t.Errorf("ranges %v, want %v", got, want)
	}
	var first tracker
	first.sent(3)
	if first.lost != 3 || len(first.ranges(nil)) != 0 {
		t.Errorf("lost %d of 3, ranges %v", first.lost, first.ranges(nil))
	}
}

func TestTrackerAgainstAPlainList(t *testing.T) {
	for loss := 2; loss < 6; loss++ {
		var tr tracker
		got := uint64(0)
		const n = 5000
		for seq := uint64(1); seq <= n; seq++ {
			if seq%uint64(loss) == 0 && seq < n {
				continue
			}
			if tr.place(seq, false) == fresh {
				got++
			}
		}
		if got+tr.lost != n {
			t.Errorf("1 in %d: %d came, %d lost, %d sent", loss, got, tr.lost, n)
		}
	}
}

func TestOutstanding(t *testing.T) {
	var o outstanding
	now := time.Unix(1e9, 0)
	for seq := uint64(1); seq <= 10; seq++ {
		o.sent(seq, now)
	}
	ack := chunk.Ack{Delay: 1000, Ranges: []chunk.Range{{First: 6, Last: 8}, {First: 1, Last: 3}}}
	if !o.ack(&ack, now.Add(51*time.Millisecond)) {
		t.Fatal("refused")
	}
	if o.roundTrip != 50*time.Millisecond {
		t.Errorf("round trip %v", o.roundTrip)
	}
	if n := o.peerLost(); n != 2 {
		t.Errorf("lost %d, want 4 and 5", n)
	}
	if o.ack(&chunk.Ack{Ranges: []chunk.Range{{First: 11, Last: 11}}}, now) {
		t.Error("an acknowledgement of what was never sent was taken")
	}
	o.unsent(5, 5)
	for seq := uint64(11); seq <= 11+sentWindow; seq++ {
		o.sent(seq, now)
	}
	if n := o.peerLost(); n != 1 {
		t.Errorf("lost %d, want 4", n)
	}
}

func TestOutstandingSurvivesAnyRange(t *testing.T) {
	var o outstanding
	o.sent(1000, time.Unix(1e9, 0))
	o.ack(&chunk.Ack{Ranges: []chunk.Range{{First: 0, Last: 1000}}}, time.Unix(1e9, 1))
	if o.largestAcked != 1000 || o.peerLost() != 0 {
		t.Errorf("acked %d, lost %d", o.largestAcked, o.peerLost())
	}
}
