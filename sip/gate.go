package sip

import (
	"net/netip"
	"sync"
	"time"
)

// What a source may send, in messages a second, where its trunk says nothing
// else. One in a network that the trunk names may send what a softswitch sends at
// its busiest: nothing is worse than a filter that takes the own PBX for an
// attack. Where a trunk is open to the world, each may send what many telephones
// send.
const (
	knownRate = 10000
	openRate  = 200
	burst     = 2 * time.Second // of messages that may come at once

	netShare   = 8  // a network may send as much as so many of its addresses
	connection = 10 // messages that a new connection counts as
)

// The widest ranges that are somebody's network, such as 10.0.0.0/8, and not the
// world.
const (
	widest4 = 8
	widest6 = 16
)

// maxBuckets bounds what is remembered of sources. It is room for 10,000 of them
// in as many networks.
const maxBuckets = 20000

// gate limits what each source of a trunk may send, before anything is spent on
// reading it. It counts by address and by network (a /24 of IPv4, a /64 of IPv6),
// for who has one address mostly has its neighbours. Strangers do not get here:
// a flood from them leaves nothing behind.
type gate struct {
	now func() time.Time

	mu      sync.Mutex
	buckets map[bucketKey]bucket
	swept   time.Time
}

type bucketKey struct {
	trunk *trunk
	from  netip.Prefix
}

// bucket holds tokens. One that has filled up again is as good as none, which is
// how sources are forgotten.
type bucket struct {
	tokens float64
	at     time.Time
}

// rateFor is what a source of a trunk may send.
func (t *trunk) rateFor(source netip.AddrPort) float64 {
	if t.Rate > 0 {
		return float64(t.Rate)
	}
	widest := widest4
	if source.Addr().Is6() {
		widest = widest6
	}
	if closeness, ok := t.owns(source); ok && closeness >= widest {
		return knownRate
	}
	return openRate
}

// networkOf is the network that an address counts with.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := 24
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // fits every address
	return p
}

// pass takes n messages of a source, or says how long it is too early for them.
func (g *gate) pass(t *trunk, source netip.AddrPort, n float64) time.Duration {
	rate := t.rateFor(source)
	now := g.now()
	addr := source.Addr()
	one, all := bucketKey{t, netip.PrefixFrom(addr, addr.BitLen())}, bucketKey{t, networkOf(addr)}
	g.mu.Lock()
	defer g.mu.Unlock()
	first, second := g.find(&one, rate, now), g.find(&all, rate*netShare, now)
	if wait := max(lack(first, n, rate), lack(second, n, rate*netShare)); wait > 0 {
		return wait
	}
	first.tokens -= n
	if one != all {
		second.tokens -= n
		g.buckets[all] = second
	}
	g.buckets[one] = first
	return 0
}

// charge takes what a source may send in so many seconds, whether or not it has
// that much left.
func (g *gate) charge(t *trunk, source netip.AddrPort, seconds float64) {
	rate := t.rateFor(source)
	now := g.now()
	addr := source.Addr()
	g.mu.Lock()
	defer g.mu.Unlock()
	one, all := bucketKey{t, netip.PrefixFrom(addr, addr.BitLen())}, bucketKey{t, networkOf(addr)}
	first, second := g.find(&one, rate, now), g.find(&all, rate*netShare, now)
	first.tokens -= rate * seconds
	if one != all {
		second.tokens -= rate * seconds
		g.buckets[all] = second
	}
	g.buckets[one] = first
}

// find gets a bucket as it is now. If there is no room for one more, all that
// are without share one: they may be slowed down by each other, but not by
// anybody who was there before, nor do they cost memory.
func (g *gate) find(key *bucketKey, rate float64, now time.Time) bucket {
	full := rate * burst.Seconds()
	b, ok := g.buckets[*key]
	if !ok && len(g.buckets) >= maxBuckets {
		g.sweep(now)
		if len(g.buckets) >= maxBuckets {
			key.from = netip.Prefix{}
			b, ok = g.buckets[*key]
		}
	}
	if !ok {
		return bucket{full, now}
	}
	b.tokens = min(full, b.tokens+rate*now.Sub(b.at).Seconds())
	b.at = now
	return b
}

// lack is how long it takes until a bucket has n tokens.
func lack(b bucket, n, rate float64) time.Duration {
	if b.tokens >= n {
		return 0
	}
	return time.Duration((n - b.tokens) / rate * float64(time.Second))
}

// sweep forgets sources that have been quiet for long enough to be as good as
// new. It looks at all, and so does it once in a burst's time.
func (g *gate) sweep(now time.Time) {
	if now.Sub(g.swept) < burst {
		return
	}
	g.swept = now
	for key, b := range g.buckets {
		if now.Sub(b.at) >= burst {
			delete(g.buckets, key)
		}
	}
}

// hold lets the reader of a connection wait until its peer may send more, be it a
// message or a keep-alive, which TCP has the peer do in turn. It returns false if the connection ended.
func (a *Agent) hold(s *stream) bool {
	for {
		wait := a.gate.pass(s.trunk, s.peer, 1)
		if wait == 0 {
			return true
		}
		a.counts.limited.Add(1)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.gone:
			timer.Stop()
			return false
		case <-a.base.Done():
			timer.Stop()
			return false
		}
	}
}
