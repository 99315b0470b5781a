package bridge

import "sync"

// A peer that comes to the node which has its call by connections of its own, a
// client of RIPT or the server of one, has none there in the first moments after the
// call was given. What is for it meanwhile goes the other way round, too: to the node
// that gave the call, which still has those of before. So however long the peer takes
// to come, it hears everything.

// detour is the way to the peer of one side of a call by the node that gave it.
type detour struct {
	call string
	side side
	send func(data []byte)
}

// Push implements Sink.
func (d *detour) Push(f *Frame) {
	d.send(appendDetoured(nil, d.call, d.side, f))
}

// detour is that of a side of a call; nil: there is none.
func (c *call) detour(s side) Sink {
	via := c.via
	if via == "" {
		return nil
	}
	return &detour{call: c.rec.ID, side: s, send: func(data []byte) { c.bridge.cfg.Members.Relay(via, data) }}
}

// givenLegs are the calls that were given away, and whose peers are still reached
// from here.
type givenLegs struct {
	mu   sync.Mutex
	legs map[string][]Yielder // by call; those of a call never change
}

// keep has the legs of a call carry what is for their peers, until the function
// that is returned is called.
func (g *givenLegs) keep(call string, legs []Yielder) (forget func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.legs == nil {
		g.legs = map[string][]Yielder{}
	}
	g.legs[call] = legs
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if had := g.legs[call]; len(had) > 0 && had[0] == legs[0] { // it may have come back, and have been given once more
			delete(g.legs, call)
		}
	}
}

// push sends a peer what its node has for it.
func (g *givenLegs) push(r *relayed) {
	g.mu.Lock()
	legs := g.legs[r.call]
	g.mu.Unlock()
	if int(r.side) < len(legs) {
		legs[r.side].(Leg).Media().Push(&r.frame)
	}
}
