package media

import (
	"cmp"
	"slices"
	"time"

	"riptide/h3/chunk"
)

// Striped streams carry a call over balancers that pass no datagrams: a few
// PUTs and as many GETs on {call}/media/stripes/{n} that never end, with chunk
// s on stripe s mod N, so that a lost packet holds up every Nth chunk only.
// Each body is a stream of chunks behind their lengths.
//
// The first chunk on every PUT is a hello, which the server echoes on the GET
// of the same number: whatever holds a body back on the way is found out before
// any media goes that way. Hellos go on as long as the stripes do, because
// balancers end bodies that are silent.
const (
	// StripesHeader on each request says how many stripes there are.
	StripesHeader = "Ript-Stripes"

	stripeCount = 4 // of a client of ours
	maxStripes  = 8

	helloWait  = time.Second // for the echoes: longer, and something buffers
	helloEvery = 5 * time.Second
	stripeDead = 15 * time.Second // without a byte
)

var stripeTraits = traits{rung: Striped, limit: chunk.MaxChunk}

// lanes are those of one direction of the stripes.
type lanes []lane

func newLanes(p *Port, n int) lanes {
	ls := make(lanes, n)
	for i := range ls {
		ls[i].p = p
	}
	return ls
}

// push puts a chunk in its lane: media by its number; of control chunks it is
// all the same.
func (ls lanes) push(m message) {
	ls[m.first%uint64(len(ls))].push(m)
}

func (ls lanes) end() {
	for i := range ls {
		ls[i].end()
	}
}

// abandon ends the lanes, and gives what they still hold back to the port, in
// its order.
func (ls lanes) abandon() {
	var left []message
	for i := range ls {
		left = append(left, ls[i].abandon()...)
	}
	slices.SortStableFunc(left, func(a, b message) int { return cmp.Compare(a.first, b.first) })
	ls[0].p.giveBack(left)
}

// control is a hello, or its echo, as a chunk.
func control(kind uint64, body []byte) []byte {
	c := chunk.Chunk{Control: true, ControlType: kind, Body: body}
	return c.Append(nil)
}

// greeting tells whether a chunk is a hello or an echo, and of what.
func greeting(b []byte) (kind uint64, body []byte, ok bool) {
	if !chunk.IsControl(b) {
		return 0, nil, false
	}
	c, err := chunk.Parse(b)
	if err != nil || c.ControlType != chunk.ControlHello && c.ControlType != chunk.ControlEcho {
		return 0, nil, false
	}
	return c.ControlType, c.Body, true
}
