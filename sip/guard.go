package sip

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// How long a nonce is good, and of how many it is remembered which counts were
// used. When there are more, the oldest are stale before their time.
const (
	nonceLife    = 5 * time.Minute
	maxNonces    = 4096
	nonceMAC     = 16
	nonceSize    = 8 + 8 + nonceMAC
	countsBehind = 64 // that may come late: calls overtake each other on UDP
)

// guard asks peers who they are (RFC 7616, as a user agent server: RFC 3261
// section 22.2). A nonce says itself when we made it, and cannot be forged;
// only those that somebody proved to know a password with are remembered, so
// strangers cannot fill anything. The time that it goes by is its own: a clock
// that is set makes no nonce good again, nor new ones stale.
type guard struct {
	realm  string
	key    [32]byte
	dummy  Password             // of users that do not exist, so that they take as long
	uptime func() time.Duration // since it was made, whatever the clock was set to

	mu    sync.Mutex
	used  map[string]*counts
	floor time.Duration // nonces made until then and not in used are stale
}

// counts is which nc values of a nonce were seen: the highest, and a bit for
// each of those before it.
type counts struct {
	made time.Duration
	high uint32
	seen uint64
	once bool // RFC 2069: used, and good for nothing more
}

func newGuard(realm string) *guard {
	start := time.Now()
	g := &guard{realm: realm, used: map[string]*counts{}, floor: -1, uptime: func() time.Duration { return time.Since(start) }}
	_, _ = rand.Read(g.key[:]) // never fails (crypto/rand)
	g.dummy = Password(newToken())
	return g
}

// nonce makes a new one. Its second half says to which address it was sent, to
// us alone: whoever has it from there was reached there.
func (g *guard) nonce(source netip.Addr) string {
	b := make([]byte, 12, nonceSize)
	binary.BigEndian.PutUint64(b, uint64(g.uptime().Milliseconds()))
	_, _ = rand.Read(b[8:]) // never fails (crypto/rand)
	b = append(b, g.sentTo(b, source)...)
	return base64.RawURLEncoding.EncodeToString(append(b, g.mac(b)...))
}

// sentTo is the mark of an address in a nonce.
func (g *guard) sentTo(start []byte, source netip.Addr) []byte {
	addr := source.As16()
	return g.mac(append(addr[:], start[:12]...))[:4]
}

// returned tells whether a request answers a challenge that was sent to its
// source, and not too long ago. tried says that it answers some challenge. What
// the answer is worth is for judge to say.
func (g *guard) returned(req *sipgo.Request, source netip.Addr) (tried, back bool) {
	for i, value := range headerValues(req, authorization) {
		c, err := parseCredential(value)
		if i >= maxRealms || err != nil || c.realm != g.realm {
			continue
		}
		made, ours := g.made(c.nonce)
		if !ours || g.uptime()-made > nonceLife {
			return true, false
		}
		b, _ := base64.RawURLEncoding.DecodeString(c.nonce) // ours
		return true, hmac.Equal(b[12:16], g.sentTo(b, source))
	}
	return false, false
}

func (g *guard) mac(b []byte) []byte {
	h := hmac.New(sha256.New, g.key[:])
	h.Write(b)
	return h.Sum(nil)[:nonceMAC]
}

// made tells when we made a nonce; ok is false if we did not.
func (g *guard) made(nonce string) (at time.Duration, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceSize || !hmac.Equal(b[16:], g.mac(b[:16])) {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint64(b)) * time.Millisecond, true
}

// verdict is what credentials are worth.
type verdict uint8

const (
	unproven verdict = iota // none for our realm
	stale                   // the password is right, the nonce is not: ask again
	wrong                   // no such user, not the password, or a replay
	proven
)

// judge looks for credentials that hold, of those who may speak on a trunk, by
// an algorithm that they were offered: who can change messages on the way must
// not get answers by a weaker one (RFC 8760 section 3).
func (g *guard) judge(req *sipgo.Request, accept *Accept) (user string, v verdict) {
	for i, value := range headerValues(req, authorization) {
		c, err := parseCredential(value)
		if i >= maxRealms || err != nil || c.realm != g.realm || !c.algorithm.among(accept.Algorithms) {
			continue
		}
		return c.user, g.check(c, req, accept.Users)
	}
	return "", unproven
}

func (g *guard) check(c credential, req *sipgo.Request, users map[string]Password) verdict {
	password, exists := users[c.user]
	if !exists {
		password = g.dummy
	}
	want := c.algorithm.response(c.user, password, proof{
		realm: c.realm, nonce: c.nonce, method: string(req.Method), uri: c.uri, qop: c.qop, cnonce: c.cnonce, count: c.count,
	})
	same := subtle.ConstantTimeCompare([]byte(want), []byte(c.response)) == 1
	made, ours := g.made(c.nonce)
	switch {
	case !same || !exists || !sameCalled(c.uri, &req.Recipient):
		return wrong
	case !ours: // of our last life, perhaps
		return stale
	}
	return g.spend(c, made)
}

// sameCalled tells whether credentials were made for this request. Proxies on
// the way change hosts and parameters (RFC 3261 section 22.4); whom a call goes
// to must not be changed.
func sameCalled(uri string, called *sipgo.Uri) bool {
	var u sipgo.Uri
	if sipgo.ParseUri(uri, &u) != nil {
		return false
	}
	return u.User == called.User
}

// spend takes a count of a nonce that nobody used before.
func (g *guard) spend(c credential, made time.Duration) verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.uptime()
	n := g.used[c.nonce]
	if now-made > nonceLife || n == nil && made <= g.floor {
		return stale
	}
	if n == nil {
		n = &counts{made: made}
		g.used[c.nonce] = n
		g.shrink(now)
	}
	switch {
	case n.once:
		return stale
	case c.qop == "":
		if n.high > 0 {
			return stale
		}
		n.once = true
		return proven
	case !n.take(c.count):
		return stale // a replay learns no more than that
	}
	return proven
}

// take marks a count as seen, unless it was.
func (n *counts) take(count uint32) bool {
	if count > n.high {
		n.seen = n.seen<<min(count-n.high, 64) | 1
		n.high = count
		return true
	}
	back := n.high - count
	if back >= countsBehind || n.seen&(1<<back) != 0 {
		return false
	}
	n.seen |= 1 << back
	return true
}

// shrink forgets nonces that are too old, and the oldest if there are too many.
func (g *guard) shrink(now time.Duration) {
	if len(g.used) <= maxNonces {
		return
	}
	newest := g.floor
	for nonce, n := range g.used {
		if now-n.made > nonceLife {
			delete(g.used, nonce)
		} else {
			newest = max(newest, n.made)
		}
	}
	if len(g.used) <= maxNonces {
		return
	}
	oldest := now
	for _, n := range g.used {
		oldest = min(oldest, n.made)
	}
	// The older half of the time they span goes.
	limit := oldest + (newest-oldest)/2
	for nonce, n := range g.used {
		if n.made <= limit {
			delete(g.used, nonce)
		}
	}
	g.floor = limit
}

// challenges asks somebody at source for credentials: one header field for each
// algorithm, best first (RFC 8760 section 2.3).
func (g *guard) challenges(algorithms []string, isStale bool, source netip.Addr) []sipgo.Header {
	nonce := g.nonce(source)
	more := ""
	if isStale {
		more = ", stale=true"
	}
	var out []sipgo.Header
	for _, name := range algorithms {
		out = append(out, sipgo.NewHeader(wwwAuthenticate, "Digest realm="+quote(g.realm)+", nonce="+quote(nonce)+`, qop="auth", algorithm=`+name+more))
	}
	return out
}
