package rtp

import (
	"testing"
	"time"

	"riptide/bridge"
)

// in is a frame that comes to the timeline, out what leaves, relative to the
// first packet.
type in struct {
	after  time.Duration // since the frame before
	codec  bridge.Codec
	seq    uint64
	ts     uint64
	skip   bool   // the peer has not negotiated the codec
	resume bool   // sending was forbidden until now
	dseq   uint16 // want
	dts    uint32
	fresh  bool
	late   bool // want: not sent
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	const (
		ms  = time.Millisecond
		s   = time.Second
		dtm = bridge.TelephoneEvent
		cn  = bridge.ComfortNoise
	)
	first := in{seq: 1000, ts: 50_000, fresh: true}
	cases := []struct {
		name   string
		frames []in
	}{
		{"in order", []in{first,
			{after: 20 * ms, seq: 1001, ts: 50_160, dseq: 1, dts: 160},
			{after: 20 * ms, seq: 1002, ts: 50_320, dseq: 2, dts: 320}}},
		{"a gap stays a gap", []in{first,
			{after: 80 * ms, seq: 1004, ts: 50_640, dseq: 4, dts: 640}}},
		{"overtaken frames keep their place", []in{first,
			{after: 60 * ms, seq: 1003, ts: 50_480, dseq: 3, dts: 480},
			{seq: 1001, ts: 50_160, dseq: 1, dts: 160},
			{seq: 1002, ts: 50_320, dseq: 2, dts: 320},
			{after: 20 * ms, seq: 1004, ts: 50_640, dseq: 4, dts: 640}}},
		{"ten seconds of silence suppression", []in{first,
			{after: 20 * ms, codec: cn, seq: 1001, ts: 50_160, dseq: 1, dts: 160},
			{after: 10 * s, seq: 1002, ts: 130_160, dseq: 2, dts: 80_160}}},
		{"an outage upstream is loss", []in{first,
			{after: 10 * s, seq: 1500, ts: 130_000, dseq: 500, dts: 80_000}}},
		{"the longest outage that still is loss", []in{first,
			{after: 60 * s, seq: 1000 + maxGap, ts: 50_000 + 480_000, dseq: maxGap, dts: 480_000}}},
		{"one more is a restart", []in{first,
			{after: 60 * s, seq: 1001 + maxGap, ts: 50_000 + 480_000, dseq: 1, dts: 480_000, fresh: true}}},
		{"another source: other time", []in{first,
			{after: 40 * ms, seq: 1001, ts: 9_000_000, dseq: 1, dts: 320, fresh: true},
			{after: 20 * ms, seq: 1002, ts: 9_000_160, dseq: 2, dts: 480}}},
		{"another source: other numbers", []in{first,
			{after: 40 * ms, seq: 7, ts: 50_320, dseq: 1, dts: 320, fresh: true},
			{after: 20 * ms, seq: 8, ts: 50_480, dseq: 2, dts: 480}}},
		{"a jump in numbers that time does not explain", []in{first,
			{after: 20 * ms, seq: 2000, ts: 50_160, dseq: 1, dts: 160, fresh: true}}},
		{"time runs backwards", []in{first,
			{after: 20 * ms, seq: 1001, ts: 49_999, dseq: 1, dts: 160, fresh: true}}},
		{"a restart in the same moment still moves on", []in{first,
			{seq: 5, ts: 0, dseq: 1, dts: 160, fresh: true}}},
		{"late frames of a numbering that is over", []in{first,
			{after: 20 * ms, seq: 5000, ts: 9_000_000, dseq: 1, dts: 160, fresh: true},
			{seq: 4999, ts: 8_999_840, late: true},
			{after: 20 * ms, seq: 5001, ts: 9_000_160, dseq: 2, dts: 320}}},
		{"a source whose numbers begin a little behind", []in{first,
			{after: 20 * ms, seq: 1010, ts: 51_600, dseq: 10, dts: 1600},
			{after: 20 * ms, seq: 1001, ts: 50_160, dseq: 1, dts: 160},
			{after: 20 * ms, seq: 1002, ts: 50_320, dseq: 2, dts: 320},
			{after: 20 * ms, seq: 1003, ts: 50_480, dseq: 3, dts: 480},
			{after: 20 * ms, seq: 1004, ts: 50_640, dseq: 4, dts: 640},
			{after: 20 * ms, seq: 1005, ts: 50_800, dseq: 5, dts: 800},
			{after: 20 * ms, seq: 1006, ts: 50_960, dseq: 6, dts: 960},
			{after: 20 * ms, seq: 1007, ts: 51_120, dseq: 7, dts: 1120},
			{after: 20 * ms, seq: 1008, ts: 51_280, dseq: 8, dts: 1280},
			{after: 20 * ms, seq: 1009, ts: 51_440, dseq: 11, dts: 3040, fresh: true}}},
		{"an event keeps its time, and speech after it goes on", []in{first,
			{after: 20 * ms, codec: dtm, seq: 1001, ts: 50_160, dseq: 1, dts: 160},
			{after: 20 * ms, codec: dtm, seq: 1002, ts: 50_160, dseq: 2, dts: 160},
			{after: 4 * s, codec: dtm, seq: 1003, ts: 50_160, dseq: 3, dts: 160},
			{after: 20 * ms, seq: 1004, ts: 82_480, dseq: 4, dts: 32_480}}},
		{"an event that began before the speech sent last", []in{first,
			{after: 20 * ms, seq: 1001, ts: 50_160, dseq: 1, dts: 160},
			{codec: dtm, seq: 1002, ts: 50_000, dseq: 2, dts: 0},
			{after: 20 * ms, seq: 1003, ts: 50_320, dseq: 3, dts: 320}}},
		{"events of a source whose clock stands still are apart", []in{first,
			{after: 5 * s, codec: dtm, seq: 1001, ts: 50_001, dseq: 1, dts: 40_000, fresh: true},
			{after: 20 * ms, codec: dtm, seq: 1002, ts: 50_001, dseq: 2, dts: 40_000},
			{after: 5 * s, codec: dtm, seq: 1003, ts: 50_002, dseq: 3, dts: 80_160, fresh: true}}},
		{"only events", []in{
			{codec: dtm, seq: 10, ts: 8_000, fresh: true},
			{after: 50 * ms, codec: dtm, seq: 11, ts: 8_000, dseq: 1},
			{after: 50 * ms, codec: dtm, seq: 12, ts: 8_000, dseq: 2},
			{after: 10 * s, codec: dtm, seq: 13, ts: 88_800, dseq: 3, dts: 80_800}}},
		{"what the peer cannot take leaves no gap", []in{first,
			{after: 20 * ms, codec: cn, seq: 1001, ts: 50_160, skip: true},
			{after: 20 * ms, codec: cn, seq: 1002, ts: 50_320, skip: true},
			{after: 20 * ms, seq: 1003, ts: 50_480, dseq: 1, dts: 480}}},
		{"but a gap before it stays", []in{first,
			{after: 40 * ms, codec: cn, seq: 1002, ts: 50_320, skip: true},
			{after: 20 * ms, seq: 1003, ts: 50_480, dseq: 2, dts: 480}}},
		{"after a hold there is no gap", []in{first,
			{after: 20 * ms, seq: 1001, ts: 50_160, dseq: 1, dts: 160},
			{after: 30 * s, seq: 2501, ts: 290_160, resume: true, dseq: 2, dts: 240_160, fresh: true},
			{after: 20 * ms, seq: 2502, ts: 290_320, dseq: 3, dts: 240_320}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			line := timeline{clock: 8000, seq: 65533, ts: 0xffffff00} // both wrap
			now := start
			var seq0 uint16
			var ts0 uint32
			for i, f := range c.frames {
				now = now.Add(f.after)
				if f.resume {
					line.fresh = true
				}
				frame := &bridge.Frame{Codec: f.codec, Seq: f.seq, Timestamp: f.ts}
				if f.skip {
					line.skip(frame, now)
					continue
				}
				seq, ts, fresh, ok := line.place(frame, now)
				if i == 0 {
					seq0, ts0 = seq, ts
				}
				if ok == f.late {
					t.Fatalf("frame %d: sent %v", i, ok)
				}
				if f.late {
					continue
				}
				if seq-seq0 != f.dseq || ts-ts0 != f.dts || fresh != f.fresh {
					t.Errorf("frame %d: seq +%d, ts +%d, fresh %v; want +%d, +%d, %v",
						i, int16(seq-seq0), int32(ts-ts0), fresh, f.dseq, f.dts, f.fresh)
				}
			}
		})
	}
}

func TestNumberingLeavesNoGapForWhatItLeavesOut(t *testing.T) {
	t.Parallel()
	n := numbering{clock: 8000}
	first := n.restart(100, 0, start)
	if got := n.number(101); got != first+1 {
		t.Errorf("second frame %d after %d", got, first)
	}
	n.leaveOut(103)
	if got := n.number(104); got != first+3 {
		t.Errorf("frame after one left out: %d, want %d", got, first+3)
	}
	if got := n.number(102); got != first+2 {
		t.Errorf("late frame from before: %d, want %d", got, first+2)
	}
	if got := n.restart(1<<16, 77, start.Add(time.Second)); got != first+4 {
		t.Errorf("first frame of a new source: %d, want %d", got, first+4)
	}
	if got, want := n.timestamp(77+160, start.Add(time.Second)), uint64(1<<32+8000+160); got != want {
		t.Errorf("its second timestamp %d, want %d", got, want)
	}
}
