package media

import (
	"slices"
	"testing"
	"time"

	"riptide/bridge"
)

type seqs []uint64

func (s *seqs) Push(f *bridge.Frame) {
	if len(f.Payload) != 1 || uint64(f.Payload[0]) != f.Seq {
		panic("a frame with the payload of another")
	}
	*s = append(*s, f.Seq)
}

func TestOrder(t *testing.T) {
	t.Parallel()
	type packet struct {
		seq uint64
		at  time.Duration
	}
	const ms = time.Millisecond
	for _, tc := range []struct {
		name string
		in   []packet
		want []uint64 // before the flush
		rest []uint64 // with it
	}{
		{"in order", []packet{{5, 0}, {6, 20 * ms}, {7, 40 * ms}}, []uint64{5, 6, 7}, nil},
		{"two swapped", []packet{{5, 0}, {7, 20 * ms}, {6, 21 * ms}, {8, 40 * ms}}, []uint64{5, 6, 7, 8}, nil},
		{"three turned round", []packet{{5, 0}, {8, ms}, {7, 2 * ms}, {6, 3 * ms}}, []uint64{5, 6, 7, 8}, nil},
		{"one lost", []packet{{5, 0}, {7, 20 * ms}, {8, 40 * ms}}, []uint64{5, 7, 8}, nil},
		{"the last is ahead", []packet{{5, 0}, {7, 20 * ms}}, []uint64{5}, []uint64{7}},
		{"late after all", []packet{{5, 0}, {7, 20 * ms}, {8, 40 * ms}, {6, 41 * ms}}, []uint64{5, 7, 8, 6}, nil},
		{"a burst with a hole", []packet{{1, 0}, {3, 0}, {4, 0}, {5, 0}, {6, 0}, {7, 0}}, []uint64{1, 3, 4, 5, 6, 7}, nil},
		{"old ones at the start", []packet{{5, 0}, {3, 0}, {6, 0}}, []uint64{5, 3, 6}, nil},
	} {
		var o order
		var got seqs
		began := time.Now()
		for _, p := range tc.in {
			o.take(&bridge.Frame{Seq: p.seq, Payload: []byte{byte(p.seq)}}, began.Add(p.at), &got)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
		got = nil
		o.flush(&got)
		if !slices.Equal(got, seqs(tc.rest)) {
			t.Errorf("%s: flush gave %v, want %v", tc.name, got, tc.rest)
		}
	}
}

// The first packet of a picture may overtake the others.
func TestOrderFromTheStart(t *testing.T) {
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		in   []uint64 // one a millisecond
		late uint64   // 20 ms later
		want []uint64
	}{
		"from 1":          {[]uint64{4, 1, 2, 3}, 5, []uint64{1, 2, 3, 4, 5}},
		"from elsewhere":  {[]uint64{104, 101, 102, 103}, 105, []uint64{101, 102, 103, 104, 105}},
		"1 is lost":       {[]uint64{3, 2}, 4, []uint64{2, 3, 4}},
		"one packet":      {[]uint64{7}, 8, []uint64{7, 8}},
		"in order from 1": {[]uint64{1, 2, 3}, 4, []uint64{1, 2, 3, 4}},
	} {
		o := order{most: orderMostVideo, patient: true}
		var got seqs
		at := time.Now()
		for _, seq := range tc.in {
			o.take(&bridge.Frame{Seq: seq, Payload: []byte{byte(seq)}}, at, &got)
			at = at.Add(ms)
		}
		o.take(&bridge.Frame{Seq: tc.late, Payload: []byte{byte(tc.late)}}, at.Add(20*ms), &got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestOrderAllocatesNothing(t *testing.T) {
	var o order
	var sink nothing
	f := bridge.Frame{Payload: make([]byte, 160)}
	seq, now := uint64(0), time.Now()
	swapped := func() {
		seq += 2
		f.Seq = seq
		o.take(&f, now, sink)
		f.Seq = seq - 1
		o.take(&f, now, sink)
	}
	swapped()
	swapped()
	if n := testing.AllocsPerRun(100, swapped); n != 0 {
		t.Errorf("%v allocations per pair", n)
	}
}

type nothing struct{}

func (nothing) Push(*bridge.Frame) {}
