package ops

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a capture.
const (
	captureQueued = 4096  // packets that wait for the reader
	captureCalls  = 10000 // Call-IDs it follows
	maxCaptures   = 4     // at once
)

// capture takes what belongs to the calls that somebody asked for, from now on.
type capture struct {
	order TraceOrder
	queue chan packet
	lost  atomic.Uint64 // the reader was too slow

	mu   sync.RWMutex
	legs map[string]struct{} // by Call-ID
}

// packet waits to be written.
type packet struct {
	at       time.Time
	from, to netip.AddrPort
	bytes    []byte
}

// newCapture follows the calls there are, as far as they are wanted.
func newCapture(o TraceOrder, running []RunningCall) *capture {
	c := &capture{order: o, queue: make(chan packet, captureQueued), legs: map[string]struct{}{}}
	for _, r := range running {
		if c.wants(r) {
			c.follow(r.Legs...)
		}
	}
	return c
}

// wants tells whether a call was asked for.
func (c *capture) wants(r RunningCall) bool {
	switch o := c.order; {
	case o.Call != "":
		return r.ID == o.Call || slices.Contains(r.Legs, o.Call)
	case o.Number != "":
		return sameNumber(r.From, o.Number) || sameNumber(r.To, o.Number)
	default:
		return slices.Contains(r.Trunks, o.Trunk)
	}
}

func (c *capture) follow(legs ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range legs {
		if len(c.legs) < captureCalls {
			c.legs[l] = struct{}{}
		}
	}
}

// takes tells whether a leg is followed.
func (c *capture) takes(leg string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.legs[leg]
	return ok
}

// placed follows a leg that belongs to a call that is followed, and the rest of
// the call where the leg is what was asked for.
func (c *capture) placed(l PlacedLeg, running []RunningCall) {
	i := slices.IndexFunc(running, func(r RunningCall) bool { return r.ID == l.Call })
	if i < 0 {
		return
	}
	r := running[i]
	itself := RunningCall{ID: l.Call, From: l.From, To: l.To, Trunks: []string{l.Trunk}}
	if c.wants(r) || c.wants(itself) || slices.ContainsFunc(r.Legs, c.takes) {
		c.follow(append(slices.Clone(r.Legs), l.Leg)...)
	}
}

// message takes a message of a leg that is followed, or of one that was asked
// for.
func (c *capture) message(m SIPMessage, about scanned) {
	if !c.takes(about.callID) {
		if !c.asked(m, about) {
			return
		}
		c.follow(about.callID)
	}
	c.put(m.At, m.Sent, m.Local, m.Remote, m.Bytes)
}

func (c *capture) asked(m SIPMessage, about scanned) bool {
	switch o := c.order; {
	case o.Call != "":
		return about.callID == o.Call
	case o.Number != "":
		return slices.ContainsFunc(about.users, func(u string) bool { return sameNumber(u, o.Number) })
	default:
		return m.Trunk == o.Trunk
	}
}

func (c *capture) media(p MediaPacket, local netip.AddrPort) {
	if c.order.Media {
		c.put(time.Now(), p.Sent, local, p.Remote, slices.Clone(p.Bytes))
	}
}

// put queues a packet, or drops and counts it: nobody waits for a reader.
func (c *capture) put(at time.Time, sent bool, local, remote netip.AddrPort, b []byte) {
	p := packet{at, local, remote, b}
	if !sent {
		p.from, p.to = p.to, p.from
	}
	select {
	case c.queue <- p:
	default:
		c.lost.Add(1)
	}
}
