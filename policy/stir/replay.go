package stir

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"
	"sync"
)

// canonicalSignature is an ES256 signature with the smaller of s and n-s.
func canonicalSignature(sig []byte) []byte {
	s := new(big.Int).SetBytes(sig[es256Size/2:])
	other := new(big.Int).Sub(elliptic.P256().Params().N, s)
	out := bytes.Clone(sig)
	if other.Sign() > 0 && other.Cmp(s) < 0 {
		other.FillBytes(out[es256Size/2:])
	}
	return out
}

// maxReplays bounds the memory of a replay cache: 120 seconds of 2,000
// verified calls a second. Only PASSporTs that passed every other check get
// in, so that only trusted signers can fill it.
const maxReplays = 240_000

// replayCache remembers the PASSporTs that were accepted until they are stale.
type replayCache struct {
	mu     sync.Mutex
	limit  int // 0 = maxReplays
	seen   map[[sha256.Size]byte]struct{}
	expiry map[int64][][sha256.Size]byte // second of expiry -> keys
	purged int64
}

// Outcomes of replayCache.accept.
type replayOutcome int

const (
	firstSeen replayOutcome = iota
	seenBefore
	cacheFull
)

// accept records a key until the second `until`. A full cache takes no more:
// what cannot be remembered could be replayed.
func (r *replayCache) accept(key [sha256.Size]byte, now, until int64) replayOutcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[[sha256.Size]byte]struct{}{}
		r.expiry = map[int64][][sha256.Size]byte{}
	}
	r.purge(now)
	if _, ok := r.seen[key]; ok {
		return seenBefore
	}
	limit := r.limit
	if limit == 0 {
		limit = maxReplays
	}
	if len(r.seen) >= limit {
		return cacheFull
	}
	r.seen[key] = struct{}{}
	r.expiry[until] = append(r.expiry[until], key)
	return firstSeen
}

// purge forgets what is stale, once per second of the clock. There are only as
// many seconds as the freshness window has.
func (r *replayCache) purge(now int64) {
	if now <= r.purged {
		return
	}
	r.purged = now
	for until, keys := range r.expiry {
		if until >= now {
			continue
		}
		for _, key := range keys {
			delete(r.seen, key)
		}
		delete(r.expiry, until)
	}
}
