package sip

import (
	"net/netip"
	"sync"
)

// Limits of connections at once.
const (
	maxStreams   = 1024
	maxPerSource = 128 // from one address, or one /64 of IPv6, so that one peer cannot take all places
	maxStrangers = 256 // of peers that may be anybody until they show a certificate or know a password
	perStranger  = 16  // from one address, as long as there are any of those
)

// places counts the connections there are.
type places struct {
	mu       sync.Mutex
	all      int
	unknown  int // strangers
	bySource map[netip.Prefix]int
}

// placeOf is what counts as one source: an IPv6 host has a /64 to itself.
func placeOf(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // fits every address
	return p
}

// take takes a place for a connection that a peer makes. A fifth of all is kept
// for those that we make, and strangers cannot take what trunks need.
func (p *places) take(addr netip.Addr, stranger bool) bool {
	source := placeOf(addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= maxStreams*4/5 || p.bySource[source] >= maxPerSource {
		return false
	}
	if stranger && (p.unknown >= maxStrangers || p.bySource[source] >= perStranger) {
		return false
	}
	if stranger {
		p.unknown++
	}
	if p.bySource == nil {
		p.bySource = map[netip.Prefix]int{}
	}
	p.all++
	p.bySource[source]++
	return true
}

func (p *places) leave(addr netip.Addr) {
	source := placeOf(addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.bySource[source]--; p.bySource[source] == 0 {
		delete(p.bySource, source)
	}
}

// settle says that a stranger is none any more, or gone.
func (p *places) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unknown--
}

// takeOurs takes a place for a connection that we make.
func (p *places) takeOurs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= maxStreams {
		return false
	}
	p.all++
	return true
}

func (p *places) leaveOurs() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
}
