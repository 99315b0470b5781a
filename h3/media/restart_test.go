package media

import "testing"

// TestWhatComesAfterAnotherHasTheCall: a node that was paused, and wakes, goes on
// with its own numbers on the carrier that it has. They are not completed from those
// of the node that has the call by then, and three of them in a row begin nothing.
func TestWhatComesAfterAnotherHasTheCall(t *testing.T) {
	t.Parallel()
	const next = 1 << 40 // its numbers
	p := NewPort(Config{})
	defer p.Close()
	var heard listener
	p.Join(&heard)
	for i, step := range []struct {
		epoch          uint64
		seq            uint64
		short          bool
		received, late uint64
	}{
		{1, 1, false, 1, 0}, {1, 2, false, 2, 0}, {1, 3, true, 3, 0},
		{2, next, false, 4, 0}, // the first packet of who has the call now
		{2, next + 1, false, 5, 0},
		{1, 4, true, 5, 1}, {1, 5, true, 5, 2}, // short: they could be anything
		{1, 6, false, 5, 3}, {1, 7, false, 5, 4}, {1, 8, false, 5, 5}, // in full: they are of before
		{2, next + 2, true, 6, 5},
		{1, next + 3, false, 7, 5}, // in full, and of this numbering
		{2, next + 4, true, 8, 5},
		{3, next + 5, true, 9, 5},                                            // another carrier of the same
		{3, 100, false, 9, 5}, {3, 101, false, 9, 5}, {3, 102, false, 10, 5}, // of a carrier that was used: three show it
	} {
		p.receive(said(step.seq, step.short), Striped, step.epoch)
		if s := p.Stats(); s.Received != step.received || s.Late != step.late {
			t.Fatalf("step %d, number %d by epoch %d: received %d, late %d; want %d, %d", i, step.seq, step.epoch, s.Received, s.Late, step.received, step.late)
		}
	}
	if lost := p.Stats().Lost; lost != 0 {
		t.Errorf("%d are counted as lost", lost)
	}
}
