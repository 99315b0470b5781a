package rtp

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestSourceExact sends random loss, duplicates and reordering through a source
// and compares with a count that remembers everything.
func TestSourceExact(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		const packets = 20_000 // wraps, whatever the first number
		first := uint64(r.IntN(1<<16)) + 1<<16 + 50_000
		var order []uint64
		for i := range uint64(packets) {
			switch r.IntN(20) {
			case 0: // lost
			case 1: // twice
				order = append(order, first+i, first+i)
			default:
				order = append(order, first+i)
			}
		}
		for range 500 { // overtaken by up to 30
			i := r.IntN(len(order) - 31)
			j := i + r.IntN(30)
			order[i], order[j] = order[j], order[i]
		}
		var s source
		seen := map[uint64]bool{}
		lowest, highest, duplicates, wantDuplicates := order[0], order[0], 0, 0
		for i, n := range order {
			if seen[n] {
				wantDuplicates++
			}
			seen[n] = true
			lowest, highest = min(lowest, n), max(highest, n)
			if i == 0 {
				s.start(1, uint16(n))
				continue
			}
			ext, ok, restarted := s.place(uint16(n))
			if restarted {
				t.Fatalf("seed %d: restart at %d", seed, n)
			}
			if !ok {
				duplicates++
			}
			if got, want := ext-s.highest, n-highest; got != want {
				t.Fatalf("seed %d: packet %d is %d from the highest, want %d", seed, n, int64(got), int64(want))
			}
		}
		if want := highest - lowest + 1 - uint64(len(seen)); s.lost() != want || duplicates != wantDuplicates {
			t.Errorf("seed %d: lost %d, duplicates %d; want %d, %d", seed, s.lost(), duplicates, want, wantDuplicates)
		}
	}
}

func TestSourceLimits(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name     string
		seqs     []uint16
		lost     uint64
		refused  int // seen before, or too old to place
		restarts int
	}{
		{"in order over the wrap", []uint16{65534, 65535, 0, 1}, 0, 0, 0},
		{"gap", []uint16{10, 13}, 2, 0, 0},
		{"gap filled late", []uint16{10, 13, 11, 12}, 0, 0, 0},
		{"late before the first", []uint16{10, 9, 11}, 0, 0, 0},
		{"late before the first, over the wrap", []uint16{0, 65535, 1}, 0, 0, 0},
		{"duplicate", []uint16{10, 10, 11, 10}, 0, 2, 0},
		{"oldest that can be placed", []uint16{2000, 2000 - seqWindow + 1}, seqWindow - 2, 0, 0},
		{"one older", []uint16{2000, 2000 - seqWindow}, 0, 1, 0},
		{"largest gap", []uint16{10, 10 + maxDropout - 1}, maxDropout - 2, 0, 0},
		{"one more needs a second packet", []uint16{10, 10 + maxDropout}, 0, 1, 0},
		{"and is a restart then", []uint16{10, 10 + maxDropout, 11 + maxDropout, 12 + maxDropout}, 0, 1, 1},
		{"a stray packet is not", []uint16{10, 40000, 11, 40001, 12}, 0, 2, 0},
	}
	for _, c := range cases {
		var s source
		s.start(1, c.seqs[0])
		refused, restarts := 0, 0
		for _, seq := range c.seqs[1:] {
			_, ok, restarted := s.place(seq)
			if !ok {
				refused++
			}
			if restarted {
				restarts++
			}
		}
		if s.lost() != c.lost || refused != c.refused || restarts != c.restarts {
			t.Errorf("%s: lost %d, refused %d, restarts %d; want %d, %d, %d", c.name, s.lost(), refused, restarts, c.lost, c.refused, c.restarts)
		}
	}
}

// The largest gap must not leave marks of before in the window.
func TestSourceWindowIsCleared(t *testing.T) {
	t.Parallel()
	for _, gap := range []uint16{1, 63, 64, 65, seqWindow - 1, seqWindow, seqWindow + 1, maxDropout - 1} {
		var s source
		s.start(1, 0)
		for seq := uint16(1); seq < 2*seqWindow; seq++ {
			s.place(seq)
		}
		next := 2*seqWindow - 1 + gap
		s.place(next)
		for back := uint16(1); back < min(gap, seqWindow); back++ {
			if _, ok, _ := s.place(next - back); !ok {
				t.Fatalf("after a gap of %d, late packet %d back taken for a duplicate", gap, back)
			}
		}
		if want := uint64(max(int(gap)-seqWindow, 0)); s.lost() != want {
			t.Errorf("after a gap of %d filled as far as it can be: lost %d, want %d", gap, s.lost(), want)
		}
	}
}

// TestJitter: packets that arrive alternately 0 and 10 ms late differ by 80
// units each time, which is what the estimate converges to.
func TestJitter(t *testing.T) {
	t.Parallel()
	var s source
	s.start(1, 0)
	ts := uint32(0xffffff00) // wraps on the way
	for i := range 500 {
		late := time.Duration(i%2) * 10 * time.Millisecond
		s.time(ts, 8000, start.Add(time.Duration(i)*20*time.Millisecond+late))
		ts += 160
	}
	if got := s.jitterUnits(); got < 79 || got > 81 {
		t.Errorf("jitter %d units, want 80", got)
	}
	if got := s.jitterTime(); got < 9800*time.Microsecond || got > 10200*time.Microsecond {
		t.Errorf("jitter %v, want 10ms", got)
	}
}

func TestFractionLost(t *testing.T) {
	t.Parallel()
	var s source
	s.start(1, 1)
	for seq := uint16(2); seq <= 100; seq++ {
		if seq%4 != 0 {
			s.place(seq)
		}
	}
	s.place(101)
	if got := s.fraction(); got != 25*256/101 {
		t.Errorf("first interval: %d/256, want %d", got, 25*256/101)
	}
	s.place(102)
	if got := s.fraction(); got != 0 {
		t.Errorf("second interval: %d/256, want 0", got)
	}
	s.place(4) // late by an interval
	if got := s.fraction(); got != 0 {
		t.Errorf("negative interval: %d/256, want 0", got)
	}
}
