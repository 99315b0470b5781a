package media

import (
	"testing"

	"riptide/bridge"
	"riptide/h3/chunk"
)

// said is a packet of speech; short leaves out what the one before it tells.
func said(seq uint64, short bool) []byte {
	c := chunk.Chunk{
		Seq: chunk.FullNumber(seq), Timestamp: chunk.FullNumber(20 * seq), Clock: chunk.FullNumber(160 * seq),
		PayloadType: uint64(bridge.PCMU), Source: 1, Sink: 1, Media: []byte{1},
	}
	if short {
		c.Seq, c.Timestamp, c.Clock = chunk.Truncated(seq, 2), chunk.Truncated(20*seq, 2), chunk.Truncated(160*seq, 4)
	}
	return c.Append(nil)
}

// TestStripesThatAreOpenedAnewAtOnce are used again: each looks when others are
// there already, and none of them is the first.
func TestStripesThatAreOpenedAnewAtOnce(t *testing.T) {
	t.Parallel()
	p := NewPort(Config{Server: true})
	defer p.Close()
	s, err := p.striped.of(p, 1, stripeCount)
	if err != nil {
		t.Fatal(err)
	}
	open := func() {
		for range stripeCount {
			s.count(0, 1)
		}
		for range stripeCount {
			s.mu.Lock()
			s.use("peer")
			s.mu.Unlock()
		}
	}
	open()
	if p.carriers.uses(s) {
		t.Fatal("used before the client has seen an echo")
	}
	s.take(said(1, false), 0, "peer")
	if !p.carriers.uses(s) {
		t.Fatal("not used")
	}
	for range 3 {
		for range stripeCount {
			s.count(0, -1)
		}
		if p.carriers.current() != nil {
			t.Fatal("used without a stream")
		}
		open()
		if !p.carriers.uses(s) {
			t.Fatal("all streams are there again, and nothing is sent on them")
		}
	}
}
